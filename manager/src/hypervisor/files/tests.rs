use std::time::Duration;

use super::*;

fn log(domain: &str, len: u64, age: u64) -> Found {
    Found {
        path: format!("/run/{domain}.console").into(),
        domain: domain.into(),
        is_log: true,
        len,
        modified: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age),
    }
}

#[test]
fn the_dead_keep_their_newest_logs_and_the_living_short_ones() {
    let active = ["alive".to_owned(), "chatty".to_owned()];
    let mut found = vec![log("alive", MAX_LOG, 9), log("chatty", MAX_LOG + 1, 0)];
    found.push(Found { path: "/run/alive.sock".into(), is_log: false, ..log("alive", 0, 9) });
    found.push(Found { path: "/run/dead0.sock".into(), is_log: false, ..log("dead0", 0, 0) });
    found.extend((0..KEPT_LOGS + 2).map(|i| log(&format!("dead{i}"), 1, i as u64)));
    let steps = plan_sweep(found, &active);
    let expected = [
        Step::Truncate("/run/chatty.console".into()),
        Step::Remove("/run/dead0.sock".into()),
        Step::Remove(format!("/run/dead{KEPT_LOGS}.console").into()),
        Step::Remove(format!("/run/dead{}.console", KEPT_LOGS + 1).into()),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn other_files_are_not_seen_and_missing_ones_are_fine() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.sock", "a.console", "manager.lock", "sock", "b.sock.tmp"] {
        fs::write(dir.path().join(name), "12345").unwrap();
    }
    let mut found = scan(dir.path()).unwrap();
    found.sort_by_key(|f| f.is_log);
    let seen: Vec<_> = found.iter().map(|f| (f.domain.as_str(), f.is_log, f.len)).collect();
    assert_eq!(seen, [("a", false, 5), ("a", true, 5)]);

    let log = dir.path().join("a.console");
    Step::Truncate(log.clone()).run().unwrap();
    assert_eq!(fs::read(&log).unwrap(), b"");
    for step in [Step::Remove(log.clone()), Step::Remove(log.clone()), Step::Truncate(log)] {
        step.run().unwrap();
    }
    assert!(scan(&dir.path().join("nope")).is_err());
}

#[test]
fn uuids_are_new_each_time() {
    let (a, b) = (random_uuid().unwrap(), random_uuid().unwrap());
    assert_eq!(a.len(), 36);
    assert_ne!(a, b);
}
