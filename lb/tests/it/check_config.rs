//! `--check-config` says what is wrong with which file, and touches none.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::program::config;
use super::signals::Certificate;

/// Whether this configuration is fine, and what is said of it.
fn check(dir: &Path, top: &str, tables: &str) -> (bool, String) {
    let path = dir.join("lb.toml");
    fs::write(&path, config(dir, top, tables)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
    let output = command.args(["--check-config", "--config"]).arg(&path).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_file_that_is_named_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (one, other) = (Certificate::new(dir, "one"), Certificate::new(dir, "other"));
    let tls =
        |certificate: &Certificate| format!("[[tls]]\nlisten = \"127.0.0.1:0\"\n{}", certificate.keys());
    let state = "state_file = \"{dir}/state.json\"";
    let log = "[access_log]\npath = \"{dir}/access\"\n";
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = format!("listen = \"{}\"", taken.local_addr().unwrap());
    for (top, tables) in [
        ("", String::new()),
        (state, tls(&one) + &tls(&other) + log),
        ("", "[access_log]\npath = \"/dev/full\"\n".to_owned()),
        // A program that runs has its addresses.
        (in_use.as_str(), String::new()),
    ] {
        assert_eq!(check(dir, top, &tables), (true, String::new()), "{top} {tables}");
    }
    assert!(!dir.join("access").exists() && !dir.join("state.json").exists());

    fs::write(dir.join("file"), "no PEM").unwrap();
    for (top, tables, says) in [
        ("", tls(&one).replace("one.key", "other.key"), "tls[0].key"),
        ("", tls(&one) + &tls(&one).replace("one.pem", "file"), "tls[1].certificate"),
        ("", tls(&one).replace("one.pem", "missing"), "missing"),
        ("", "[access_log]\npath = \"{dir}/missing/access\"\n".to_owned(), "access_log.path"),
        ("", "[access_log]\npath = \"{dir}\"\n".to_owned(), "access_log.path"),
        ("state_file = \"{dir}/missing/state\"", String::new(), "state_file"),
        ("state_file = \"{dir}/file/state\"", String::new(), "state_file"),
        ("state_file = \"{dir}\"", String::new(), "state_file"),
    ] {
        let (ok, error) = check(dir, top, &tables);
        assert!(!ok && error.contains(says), "{top} {tables}: {error}");
    }
    let with_file = |name: &str| {
        let text = config(dir, "", "").replace("token = ", "token_file = ");
        let path = dir.join("lb.toml");
        fs::write(&path, text.replace(super::support::TOKEN, &dir.join(name).display().to_string())).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
        let output = command.args(["--check-config", "--config"]).arg(&path).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    for (name, content) in [("no-token", None), ("short-token", Some("short"))] {
        if let Some(content) = content {
            fs::write(dir.join(name), content).unwrap();
        }
        let (ok, error) = with_file(name);
        assert!(!ok && error.contains(name) && error.contains("admin.token_file"), "{error}");
    }
    fs::write(dir.join("token"), "a-token-that-is-long-enough\n").unwrap();
    assert_eq!(with_file("token"), (true, String::new()));
}
