use std::io::Write;

use super::Config;

fn parse(text: &str) -> Result<Config, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Config::load(file.path()).map_err(|e| e.to_string())
}

const LEAST: &str = "[admin]\ntoken = \"0123456789abcdef\"\n";

#[test]
fn all_but_the_token_has_a_default() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.listen, "0.0.0.0:8080".parse().unwrap());
    assert_eq!(config.admin.listen, "127.0.0.1:9000".parse().unwrap());
    assert_eq!(config.heartbeat.interval_ms.get(), 100);
    assert_eq!(config.upstream.connect_timeout_ms.get(), 500);
    assert!(config.workers() >= 1);
    assert!(config.state_file.is_none());
    let rules = config.rules();
    assert_eq!((rules.max_attempts, rules.budget_ms, rules.wrap), (3, 10_000, false));
    assert_eq!(rules.statuses, [502, 503, 504]);
    assert!(config.admin.allows("203.0.113.9".parse().unwrap()));
    for (path, hidden) in [("/heartbeat", true), ("/metrics", true), ("/healthz", true), ("/", false)] {
        assert_eq!(config.hidden_paths.contains(path), hidden, "{path}");
    }
}

#[test]
fn hidden_paths_are_exact() {
    let config = parse(&format!("hidden_paths = [\"/a\", \"/b/\"]\n{LEAST}")).unwrap();
    for (path, hidden) in [("/a", true), ("/b/", true), ("/a/", false), ("/b", false), ("/heartbeat", false)]
    {
        assert_eq!(config.hidden_paths.contains(path), hidden, "{path}");
    }
    let config = parse(&format!("hidden_paths = []\n{LEAST}")).unwrap();
    assert!(!config.hidden_paths.contains("/heartbeat"));
    assert!(parse(&format!("hidden_paths = {:?}\n{LEAST}", ["/a"; 16])).is_ok());
}

#[test]
fn networks_and_addresses_are_allowed() {
    let config = parse(&format!("{LEAST}allow = [\"10.0.0.0/8\", \"192.0.2.1\"]\n")).unwrap();
    for (addr, allowed) in [
        ("10.9.9.9", true),
        ("::ffff:10.9.9.9", true),
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("::1", false),
    ] {
        assert_eq!(config.admin.allows(addr.parse().unwrap()), allowed, "{addr}");
    }
}

#[test]
fn errors_name_line_and_key() {
    for (text, line, key) in [
        ("listen = \"nowhere\"\n", 1, "listen"),
        ("\nport = 80\n", 2, "port"),
        ("hidden_paths = [\"/a\", \"b\"]\n", 1, "hidden_paths"),
        ("hidden_paths = [\"/a?b\"]\n", 1, "hidden_paths"),
        ("hidden_paths = [\"\"]\n", 1, "hidden_paths"),
        (&format!("hidden_paths = {:?}\n", ["/a"; 17]), 1, "hidden_paths"),
        ("[upstream]\nread_timeout_ms = 0\n", 2, "read_timeout_ms"),
        ("workers = 0\n", 1, "workers"),
        ("workers = -1\n", 1, "workers"),
        ("request_timeout_ms = 0\n", 1, "request_timeout_ms"),
        ("request_timeout_ms = \"1s\"\n", 1, "request_timeout_ms"),
        ("[retry]\nmax_attempts = 11\n", 2, "max_attempts"),
        ("[retry]\nstatuses = [404]\n", 2, "statuses"),
        ("[upstream]\nconnect_timeout = 5\n", 2, "connect_timeout"),
        ("[heartbeat]\ninterval_ms = 0\n", 2, "interval_ms"),
        ("[limits]\nmax_upstreams = 5000\n", 2, "max_upstreams"),
        ("[drain]\nlinger_ms = 999999999\n", 2, "linger_ms"),
    ] {
        let error = parse(&format!("{text}{LEAST}")).unwrap_err();
        assert!(error.contains(&format!("line {line}")) && error.contains(key), "{text}: {error}");
    }
    for (text, key) in [
        ("", "admin"),
        ("[admin]\n", "token"),
        ("[admin]\ntoken = \"short\"\n", "token"),
        ("[admin]\ntoken = \"0123456789abcdef\"\nallow = [\"10.0.0.0/33\"]\n", "allow"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(key), "{text}: {error}");
    }
}

#[test]
fn the_token_is_not_printed() {
    assert!(!format!("{:?}", parse(LEAST).unwrap()).contains("0123456789abcdef"));
}
