//! Defaults, limits, and errors that say where.

use super::{Config, ConfigError};

#[test]
fn nothing_set_gives_the_defaults() {
    let config = Config::parse("", "x.toml").expect("valid");
    assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.heartbeat.interval_ms, 100);
    assert_eq!((config.drain.linger_ms, config.drain.timeout_ms), (1_000, 10_000));
    assert!(!config.instance.is_empty());
    assert_eq!(config.manager_addr, None);
    assert_eq!((config.limits.manager_connections, config.limits.manager_readers), (8, 8));
}

#[test]
fn everything_can_be_set() {
    let text = r#"
        listen = "127.0.0.1:9"
        instance = "host1/svc-11"
        manager_addr = "10.77.11.1"
        [heartbeat]
        interval_ms = 10
        max_readers = 2
        [drain]
        linger_ms = 0
        timeout_ms = 5
        [limits]
        max_connections = 3
        manager_connections = 4
        manager_readers = 5
        header_bytes = 8192
        max_headers = 8
        header_timeout_ms = 11
        body_bytes = 0
        body_timeout_ms = 12
        idle_timeout_ms = 13
        write_timeout_ms = 14
        send_buffer_bytes = 4096
    "#;
    let config = Config::parse(text, "x.toml").expect("valid");
    assert_eq!(config.instance, "host1/svc-11");
    assert_eq!(config.heartbeat.max_readers, 2);
    assert_eq!(config.manager_addr, Some("10.77.11.1".parse().expect("an address")));
    assert_eq!((config.limits.manager_connections, config.limits.manager_readers), (4, 5));
    assert_eq!(config.drain.timeout_ms, 5);
    assert_eq!(config.limits.idle_timeout_ms, 13);
    assert_eq!(config.limits.send_buffer_bytes, 4096);
}

#[test]
fn errors_name_file_line_and_field() {
    let cases = [
        ("instance = \"\"", 1, "instance"),
        ("\ninstance = \"a b\"", 2, "instance"),
        ("[heartbeat]\ninterval_ms = 9", 2, "heartbeat.interval_ms"),
        ("heartbeat.interval_ms = 60001", 1, "heartbeat.interval_ms"),
        ("heartbeat = { interval_ms = 5 }", 1, "heartbeat.interval_ms"),
        ("[heartbeat]\nmax_readers = 0", 2, "heartbeat.max_readers"),
        ("[drain]\n\nlinger_ms = 600001", 3, "drain.linger_ms"),
        ("[drain]\ntimeout_ms = 600001", 2, "drain.timeout_ms"),
        ("[limits]\nmax_connections = 0", 2, "limits.max_connections"),
        ("[limits]\nmanager_connections = 0", 2, "limits.manager_connections"),
        ("[limits]\nmanager_readers = 1025", 2, "limits.manager_readers"),
        ("[limits]\nheader_bytes = 1", 2, "limits.header_bytes"),
        ("[limits]\nmax_headers = 0", 2, "limits.max_headers"),
        ("[limits]\nheader_timeout_ms = 0", 2, "limits.header_timeout_ms"),
        ("[limits]\nbody_bytes = 16777217", 2, "limits.body_bytes"),
        ("[limits]\nbody_timeout_ms = 0", 2, "limits.body_timeout_ms"),
        ("[limits]\nidle_timeout_ms = 0", 2, "limits.idle_timeout_ms"),
        ("[limits]\nwrite_timeout_ms = 0", 2, "limits.write_timeout_ms"),
        ("[limits]\nsend_buffer_bytes = 0", 2, "limits.send_buffer_bytes"),
    ];
    for (text, line, expected) in cases {
        let error = Config::parse(text, "x.toml").expect_err(text);
        let said = error.to_string();
        assert!(said.starts_with(&format!("x.toml, line {line}: {expected}: must be ")), "{text}: {said}");
        assert!(matches!(error, ConfigError::Value { field, .. } if field == expected), "{text}");
    }
}

#[test]
fn unknown_fields_and_wrong_types_are_named() {
    let cases = [
        ("instanze = \"a\"", ["line 1", "instanze"]),
        ("\n[drain]\nlinger = 5", ["line 3", "linger"]),
        ("[heartbeat]\ninterval_ms = \"100\"", ["line 2", "interval_ms"]),
        ("[heartbeat]\ninterval_ms = -1", ["line 2", "interval_ms"]),
        ("listen = \"nowhere\"", ["line 1", "listen"]),
        ("manager_addr = \"10.0.0.0/8\"", ["line 1", "manager_addr"]),
        ("listen =", ["line 1", "listen"]),
    ];
    for (text, words) in cases {
        let said = Config::parse(text, "x.toml").expect_err(text).to_string();
        assert!(said.starts_with("x.toml: "), "{said}");
        for word in words {
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}

#[test]
fn the_instance_given_beside_the_file_wins_and_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("service.toml");
    std::fs::write(&path, "instance = \"file\"").expect("written");
    assert_eq!(Config::load(Some(&path), None).expect("valid").instance, "file");
    assert_eq!(Config::load(Some(&path), Some("env".to_owned())).expect("valid").instance, "env");
    let said = Config::load(None, Some(String::new())).expect_err("empty").to_string();
    assert!(said.starts_with("PHALANX_INSTANCE or --instance: instance: must be"), "{said}");
    let said = Config::load(Some(&folder.path().join("none.toml")), None).expect_err("missing").to_string();
    assert!(said.contains("none.toml: No such file"), "{said}");
}
