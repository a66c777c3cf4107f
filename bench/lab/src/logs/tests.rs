use super::*;

#[test]
fn consoles_are_found_where_the_manager_puts_them() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("vm/deeper")).expect("made");
    for name in ["vm/host1-svc-3-1.console", "vm/host1-svc-3-1.sock", "manager.lock", "vm/deeper/x.log"] {
        fs::write(dir.path().join(name), b"text\n").expect("written");
    }
    let expected = ["vm/deeper/x.log", "vm/host1-svc-3-1.console"].map(|name| dir.path().join(name));
    assert_eq!(logs_below(dir.path(), 3), expected);
}
