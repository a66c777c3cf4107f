mod refusals;

use std::fs;
use std::io::Write;

use wire::{Upstream, UpstreamState};

use super::{Config, HashKey, LogFormat, LogTarget, Protocol};
use crate::policy::retry::{Condition, Conditions};
use crate::policy::select::Balance;

fn parse(text: &str) -> Result<Config, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Config::load(file.path()).map_err(|e| e.to_string())
}

const LEAST: &str = "listen = \"127.0.0.1:0\"\n";

/// The file of the documentation, with every value there is a default for at its default.
const SAMPLE: &str = r#"
listen = ["0.0.0.0:80"]
admin = "127.0.0.1:9000"
threads = 1
state_file = "/var/lib/phalanx/lb-upstreams.json"
balance = "round_robin"
hash_key = "uri"
queue_ms = 2000
[retry]
on = ["error", "timeout", "invalid_header", "http_502", "http_503", "http_504"]
tries = 0
timeout_ms = 0
non_idempotent = false
body_limit_bytes = 65536
budget_percent = 20
[attempt]
connect_timeout_ms = 250
first_byte_min_ms = 25
first_byte_max_ms = 1000
read_timeout_ms = 60000
[upstream]
keepalive = 128
max_fails = 1
fail_timeout_ms = 10000
slow_start_ms = 0
[limits]
header_bytes = 32768
header_timeout_ms = 10000
body_bytes = 16777216
connections = 10000
requests_per_second_per_client = 0
[[upstreams]]
id = "a"
addr = "10.0.0.1:8080"
"#;

#[test]
fn the_sample_has_these_values() {
    let config = parse(SAMPLE).unwrap();
    assert_eq!(config.listen, ["0.0.0.0:80".parse().unwrap()]);
    assert_eq!(config.admin.listen, "127.0.0.1:9000".parse().unwrap());
    assert_eq!(config.admin.token, None);
    assert_eq!(config.threads.get(), 1);
    assert_eq!(config.state_file.as_deref(), Some("/var/lib/phalanx/lb-upstreams.json".as_ref()));
    assert_eq!(config.balance, Balance::RoundRobin);
    assert_eq!(config.hash_key, HashKey::Uri);
    assert_eq!(config.queue_ms.get(), 2000);
    let rules = config.rules();
    assert_eq!(rules.on, Conditions::default());
    assert_eq!((rules.tries, rules.timeout_ms, rules.non_idempotent), (0, 0, false));
    assert_eq!(config.retry.body_limit_bytes.get(), 65536);
    assert_eq!(config.retry.budget_percent.get(), 20);
    assert_eq!(config.attempt.connect_timeout_ms.get(), 250);
    assert_eq!(config.attempt.first_byte_min_ms.get(), 25);
    assert_eq!(config.attempt.first_byte_max_ms.get(), 1000);
    assert_eq!(config.attempt.read_timeout_ms.get(), 60_000);
    assert_eq!(config.upstream.keepalive.get(), 128);
    assert_eq!(config.upstream.max_fails.get(), 1);
    assert_eq!(config.upstream.fail_timeout_ms.get(), 10_000);
    assert_eq!(config.upstream.slow_start_ms.get(), 0);
    assert_eq!(config.limits.header_bytes.get(), 32_768);
    assert_eq!(config.limits.header_timeout_ms.get(), 10_000);
    assert_eq!(config.limits.body_bytes.get(), 16_777_216);
    assert_eq!(config.limits.connections.get(), 10_000);
    assert_eq!(config.limits.requests_per_second_per_client.get(), 0);
    let upstream = Upstream {
        id: "a".to_owned(),
        incarnation: 1,
        addr: "10.0.0.1:8080".parse().unwrap(),
        weight: 1,
        state: UpstreamState::Up,
        backup: false,
        max_conns: 0,
    };
    assert_eq!(config.upstreams, [upstream]);
}

#[test]
fn all_but_a_listener_has_a_default() {
    let config = parse(LEAST).unwrap();
    let mut sample = parse(SAMPLE).unwrap();
    sample.listen.clone_from(&config.listen);
    sample.state_file = None;
    sample.upstreams.clear();
    assert_eq!(config, sample);
    assert_eq!(config.queue_requests.get(), 1024);
    assert_eq!(config.retry.budget_min_per_second.get(), 10);
    assert_eq!(config.attempt.first_byte_multiple_percent.get(), 300);
    assert_eq!(config.attempt.write_timeout_ms.get(), 60_000);
    assert_eq!(config.upstream.protocol, Protocol::Http1);
    assert_eq!(config.upstream.idle_timeout_ms.get(), 30_000);
    assert_eq!(config.upstream.ack_timeout_ms.get(), 1000);
    assert_eq!(config.limits.upstreams.get(), 4096);
    assert_eq!(config.client.idle_timeout_ms.get(), 60_000);
    assert_eq!(config.client.read_timeout_ms.get(), 10_000);
    assert_eq!(config.client.write_timeout_ms.get(), 30_000);
    assert_eq!(config.client.requests.get(), 100_000);
    assert_eq!(config.client.h2_streams.get(), 128);
    assert!(!config.client.trust_forwarded);
    assert_eq!(config.heartbeat.interval_ms.get(), 100);
    assert_eq!((config.drain.linger_ms.get(), config.drain.timeout_ms.get()), (1000, 10_000));
    assert_eq!(config.drain.upgrade_timeout_ms.get(), 3_600_000);
    assert!(config.check.is_none() && config.access_log.is_none() && config.tls.is_empty());
    for (path, hidden) in [("/heartbeat", true), ("/metrics", true), ("/healthz", true), ("/", false)] {
        assert_eq!(config.hidden_paths.contains(path), hidden, "{path}");
    }
}

#[test]
fn empty_tables_switch_on_what_is_off() {
    let config = parse(&format!("{LEAST}[check]\n[access_log]\n")).unwrap();
    let check = config.check.unwrap();
    assert_eq!(check.path.as_str(), "/healthz");
    assert_eq!((check.interval_ms.get(), check.timeout_ms.get()), (1000, 500));
    assert_eq!((check.rise.get(), check.fall.get(), check.expect_status.get()), (2, 2, 200));
    let log = config.access_log.unwrap();
    assert_eq!((log.path, log.format), (LogTarget::Stdout, LogFormat::Text));
    assert_eq!((log.sample.get(), log.queue.get()), (1, 4096));
}

#[test]
fn words_are_read() {
    for (text, key) in [
        ("uri", HashKey::Uri),
        ("client", HashKey::Client),
        ("header:X-User", HashKey::Header("x-user".parse().unwrap())),
        ("cookie:Session", HashKey::Cookie("Session".to_owned())),
    ] {
        assert_eq!(parse(&format!("{LEAST}hash_key = {text:?}\n")).unwrap().hash_key, key);
    }
    for (text, balance) in [
        ("round_robin", Balance::RoundRobin),
        ("least_conn", Balance::LeastConn),
        ("random_two", Balance::RandomTwo),
        ("hash", Balance::Hash),
    ] {
        assert_eq!(parse(&format!("{LEAST}balance = {text:?}\n")).unwrap().balance, balance);
    }
    for (text, target) in [
        ("stdout", LogTarget::Stdout),
        ("stderr", LogTarget::Stderr),
        ("/a/b", LogTarget::File("/a/b".into())),
    ] {
        let config = parse(&format!("{LEAST}[access_log]\npath = {text:?}\nformat = \"json\"\n")).unwrap();
        assert_eq!(config.access_log.unwrap().path, target);
    }
    let config = parse(&format!("{LEAST}[upstream]\nprotocol = \"h2\"\n[retry]\non = [\"off\"]\n")).unwrap();
    assert_eq!(config.upstream.protocol, Protocol::H2);
    assert_eq!(config.retry.on, Conditions::new(&[Condition::Off]).unwrap());
}

#[test]
fn listeners_with_and_without_tls() {
    let text = "listen = []\n[[tls]]\nlisten = \"127.0.0.1:443\"\ncertificate = \"a.pem\"\nkey = \"a.key\"\n\
                [[tls]]\nlisten = \"127.0.0.1:443\"\ncertificate = \"b.pem\"\nkey = \"b.key\"\n";
    let config = parse(text).unwrap();
    assert_eq!(config.listen, []);
    assert_eq!(config.tls[1].certificate, std::path::Path::new("b.pem"));
    assert_eq!(parse("listen = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"[::1]:80\"]").unwrap().listen.len(), 3);
}

#[test]
fn the_admin_api_is_an_address_or_a_table() {
    assert_eq!(parse(LEAST).unwrap().admin, parse(&format!("{LEAST}[admin]\n")).unwrap().admin);
    let short = parse(&format!("{LEAST}admin = \"127.0.0.1:9\"\n")).unwrap().admin;
    let long = parse(&format!("{LEAST}[admin]\nlisten = \"127.0.0.1:9\"\n")).unwrap().admin;
    assert_eq!(short, long);
    assert!(short.allows("203.0.113.9".parse().unwrap()));
    let config = parse(&format!("{LEAST}[admin]\ntoken = \"0123456789abcdef\"\n")).unwrap();
    assert_eq!(config.admin.token.as_ref().unwrap().as_bytes(), b"0123456789abcdef");
    assert!(!format!("{config:?}").contains("0123456789abcdef"), "the token is not printed");
}

#[test]
fn the_token_is_the_first_line_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let text = format!("{LEAST}[admin]\ntoken_file = {:?}\n", file.to_str().unwrap());
    let error = parse(&text).unwrap_err();
    assert!(error.contains("admin.token_file") && error.contains(file.to_str().unwrap()), "{error}");
    for content in ["0123456789abcdef", "0123456789abcdef\n", "0123456789abcdef\r\nmore\n"] {
        fs::write(&file, content).unwrap();
        assert_eq!(parse(&text).unwrap().admin.token.unwrap().as_bytes(), b"0123456789abcdef");
    }
    for content in ["", "\n0123456789abcdef\n", "short\n", "0123456789 abcdef\n"] {
        fs::write(&file, content).unwrap();
        let error = parse(&text).unwrap_err();
        assert!(error.contains("admin.token_file") && error.contains("at least 16"), "{content:?}: {error}");
    }
    let error = parse(&format!("{text}token = \"0123456789abcdef\"\n")).unwrap_err();
    assert!(error.contains("admin.token_file") && error.contains("admin.token "), "{error}");
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
    let config = parse(&format!("{LEAST}[admin]\nallow = [\"10.0.0.0/8\", \"192.0.2.1\"]\n")).unwrap();
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
fn a_reload_takes_what_it_can_and_names_the_rest() {
    let tls = |port: u16, file: &str| {
        format!("[[tls]]\nlisten = \"127.0.0.1:{port}\"\ncertificate = {file:?}\nkey = \"k\"\n")
    };
    let old = parse(&format!("{LEAST}{}", tls(1, "a"))).unwrap();
    assert_eq!(old.reloaded(old.clone()), (old.clone(), vec![]));

    let new = parse(&format!("{LEAST}queue_ms = 7\n[retry]\ntries = 2\n{}", tls(1, "b"))).unwrap();
    assert_eq!(old.reloaded(new.clone()), (new, vec![]));

    let new = parse(&format!(
        "listen = \"127.0.0.1:7\"\nadmin = \"127.0.0.1:8\"\nthreads = 2\nstate_file = \"s\"\nqueue_ms = 7\n\
         [limits]\nconnections = 1\nheader_bytes = 999\n[access_log]\n{}",
        tls(2, "b")
    ))
    .unwrap();
    let (taken, kept) = old.reloaded(new);
    assert_eq!(
        kept,
        ["tls.listen", "listen", "admin", "threads", "state_file", "limits.connections", "access_log"]
    );
    let mut expected = old.clone();
    expected.queue_ms = taken.queue_ms;
    expected.limits.header_bytes = taken.limits.header_bytes;
    assert_eq!(taken, expected);
    assert_eq!((taken.queue_ms.get(), taken.limits.header_bytes.get()), (7, 999));
}
