//! Every value that is refused, and by which name.

use super::Config;

const GOOD: &str = r#"
node = "host1"
[api]
listen = "10.77.0.11:7700"
[network]
interface = "eth0"
pool = "10.77.11.0/24"
[[peers]]
node = "host2"
api = "10.77.0.12:7700"
pool = "10.77.12.0/24"
"#;

fn load(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manager.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).map_err(|error| error.to_string())
}

#[test]
fn the_rest_has_defaults() {
    let config = load(GOOD).unwrap();
    assert_eq!(config.network.bridge, "phx0");
    assert_eq!((config.lb.port, config.lb.admin_port, config.service.port), (80, 9000, 8080));
    let core = config.core().unwrap();
    assert_eq!(core.pool.host().to_string(), "10.77.11.1");
    assert_eq!(core.peers.len(), 1);
}

#[test]
fn a_bad_value_is_refused_by_name() {
    let cases = [
        ("node = \"host1\"", "node = \"Host_1\"", "node: \"Host_1\" must be"),
        ("node = \"host1\"", "node = \"\"", "node: \"\" must be"),
        ("node = \"host1\"", "", "missing field `node`"),
        ("node = \"host1\"", "node = \"host1\"\nnod = 1", "unknown field `nod`"),
        ("10.77.0.11:7700", "0.0.0.0:7700", "api.listen: 0.0.0.0 is not one host's address"),
        ("10.77.0.11:7700", "10.77.0.11:0", "api.listen: 0 is not within"),
        ("10.77.0.11:7700", "10.77.11.9:7700", "network.pool: must not contain api.listen"),
        ("10.77.11.0/24", "10.77.11.5/24", "network.pool: pool 10.77.11.5/24 is not a network address"),
        ("10.77.11.0/24", "10.77.11.0/31", "network.pool: pool 10.77.11.0/31 must have"),
        ("10.77.11.0/24", "10.77.11.0/33", "invalid"),
        ("\"eth0\"", "\"an-interface-too-long\"", "network.interface: "),
        ("\"eth0\"", "\"phx0\"", "network.bridge: must differ"),
        ("10.77.12.0/24", "10.77.0.0/16", "peers[0].pool: 10.77.0.0/16 overlaps network.pool"),
        ("node = \"host2\"", "node = \"host1\"", "peers[0].node: host1 stands twice"),
        ("10.77.0.12:7700", "10.77.0.11:7700", "peers[0].api: is this node's own"),
        ("[[peers]]", "[heartbeat]\ntimeout_ms = 1\n[[peers]]", "heartbeat.timeout_ms: 1 is not within"),
        ("[[peers]]", "[heartbeat]\nretries = 11\n[[peers]]", "heartbeat.retries: 11 is not within"),
        ("[[peers]]", "[hypervisor]\nmemory_mib = 8\n[[peers]]", "hypervisor.memory_mib: 8 is not within"),
        ("[[peers]]", "[hypervisor]\naccel = \"xen\"\n[[peers]]", "xen"),
        ("[[peers]]", "[lb]\nport = 9000\n[[peers]]", "lb.admin_port: must differ"),
        ("[[peers]]", "[service]\nport = 0\n[[peers]]", "service.port: 0 is not within"),
    ];
    for (from, to, expected) in cases {
        let error = load(&GOOD.replace(from, to)).expect_err(to);
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn an_error_of_form_names_file_and_line() {
    let error = load("node = \n").unwrap_err();
    assert!(error.contains("manager.toml") && error.contains("line 1"), "{error}");
}
