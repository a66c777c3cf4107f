//! Every value that is refused, and by which name.

use super::Config;

/// A whole configuration, with one peer.
pub(crate) const GOOD: &str = r#"
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
        ("[[peers]]", "[service]\nmax_vms = 513\n[[peers]]", "service.max_vms: 513 is not within 0 to 512"),
        ("[[peers]]", "[service]\nmax_vms = -1\n[[peers]]", "invalid value: integer `-1`"),
    ];
    for (from, to, expected) in cases {
        let error = load(&GOOD.replace(from, to)).expect_err(to);
        assert!(error.contains(expected), "{to}: {error}");
    }
}

/// The good configuration with a section before the peers.
fn with(section: &str) -> String {
    GOOD.replace("[[peers]]", &format!("{section}\n[[peers]]"))
}

#[test]
fn a_public_address_or_a_cluster_that_cannot_be_is_refused_by_name() {
    let good = "[vip]\naddr = \"10.77.0.100\"";
    let cases = [
        ("[vip]".to_owned(), "missing field `addr`"),
        ("[vip]\naddr = \"10.77.0\"".to_owned(), "invalid IPv4 address"),
        ("[vip]\naddr = \"fe80::1\"".to_owned(), "invalid IPv4 address"),
        ("[vip]\naddr = \"0.0.0.0\"".to_owned(), "vip.addr: 0.0.0.0 is not one host's address"),
        ("[vip]\naddr = \"224.0.0.1\"".to_owned(), "vip.addr: 224.0.0.1 is not one host's address"),
        ("[vip]\naddr = \"255.255.255.255\"".to_owned(), "vip.addr: 255.255.255.255 is not one host's"),
        (
            "[vip]\naddr = \"127.0.0.9\"".to_owned(),
            "vip.addr: 127.0.0.9 is not an address that a LAN can share",
        ),
        ("[vip]\naddr = \"169.254.7.9\"".to_owned(), "vip.addr: 169.254.7.9 is not an address that a LAN"),
        ("[vip]\naddr = \"10.77.11.9\"".to_owned(), "vip.addr: 10.77.11.9 is of host1's pool 10.77.11.0/24"),
        ("[vip]\naddr = \"10.77.12.9\"".to_owned(), "vip.addr: 10.77.12.9 is of host2's pool 10.77.12.0/24"),
        ("[vip]\naddr = \"10.77.0.11\"".to_owned(), "vip.addr: 10.77.0.11 is host1's own address"),
        ("[vip]\naddr = \"10.77.0.12\"".to_owned(), "vip.addr: 10.77.0.12 is host2's own address"),
        (format!("{good}\nadr = 1"), "unknown field `adr`"),
        (format!("{good}\ncheck_interval_ms = 19"), "vip.check_interval_ms: 19 is not within 20 to 10000"),
        (
            format!("{good}\ncheck_timeout_ms = 10001"),
            "vip.check_timeout_ms: 10001 is not within 20 to 10000",
        ),
        (format!("{good}\ncheck_failures = 0"), "vip.check_failures: 0 is not within 1 to 20"),
        (format!("{good}\nsilence_ms = 199"), "vip.silence_ms: 199 is not within 200 to 60000"),
        (format!("{good}\nhold_down_ms = 60001"), "vip.hold_down_ms: 60001 is not within 0 to 60000"),
        (format!("{good}\nrelease_ms = 600001"), "vip.release_ms: 600001 is not within 0 to 600000"),
        ("[cluster]\nname = \"\"".to_owned(), "cluster.name: \"\" must be 1 to 32"),
        ("[cluster]\nname = \"Phalanx\"".to_owned(), "cluster.name: \"Phalanx\" must be 1 to 32"),
        (format!("[cluster]\nname = \"{}\"", "a".repeat(33)), "must be 1 to 32"),
        ("[cluster]\ngossip_port = 0".to_owned(), "cluster.gossip_port: 0 is not within 1 to 65535"),
        ("[cluster]\ngossip_port = 65536".to_owned(), "invalid value: integer `65536`"),
        ("[cluster]\nnam = \"x\"".to_owned(), "unknown field `nam`"),
    ];
    for (section, expected) in cases {
        let error = load(&with(&section)).expect_err(&section);
        assert!(error.contains(expected), "{section}: {error}");
    }
}

#[test]
fn the_public_address_has_times_that_the_machine_gets() {
    assert!(load(GOOD).unwrap().vip.is_none());
    let text = "[vip]\naddr = \"10.77.0.100\"\nsilence_ms = 400\nhold_down_ms = 0\nrelease_ms = 7";
    let config = load(&with(text)).unwrap();
    let core = config.vip_core(config.vip.as_ref().unwrap());
    assert_eq!((core.addr.to_string().as_str(), core.peers), ("10.77.0.100", vec!["host2".to_owned()]));
    let timing = manager_core::vip::Timing::default();
    assert_eq!((core.timing.silence.as_millis(), core.timing.release.as_millis()), (400, 7));
    assert_eq!((core.timing.hold_down.as_millis(), core.timing.beat), (0, timing.beat));
    let config = load(&with("[cluster]\nname = \"lab-2\"\ngossip_port = 9")).unwrap();
    assert_eq!((config.cluster.name.as_str(), config.cluster.gossip_port), ("lab-2", 9));
}

#[test]
fn the_number_of_vms_is_the_hosts_unless_it_is_given() {
    let most = |text: &str| load(text).unwrap().core().unwrap().max_vms;
    assert_eq!(most(&with("[service]\nmax_vms = 7")), 7);
    assert_eq!(most(GOOD), crate::capacity::of_this_host(192));
    assert_eq!(most(&with("[hypervisor]\nmemory_mib = 65536")), crate::capacity::of_this_host(65_536));
}

#[test]
fn an_error_of_form_names_file_and_line() {
    let error = load("node = \n").unwrap_err();
    assert!(error.contains("manager.toml") && error.contains("line 1"), "{error}");
}
