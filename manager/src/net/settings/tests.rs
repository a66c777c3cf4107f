use super::{PeerRoute, Settings};
use crate::net::Error;

type Spoil = fn(&mut Settings);

fn settings() -> Settings {
    Settings {
        interface: "eth0".into(),
        bridge: "phx0".into(),
        pool: "10.77.11.0/24".parse().unwrap(),
        host_addr: "10.77.11.1".parse().unwrap(),
        peers: vec![peer("10.77.12.0/24", "10.77.0.12"), peer("10.77.13.0/24", "10.77.0.13")],
        vip: Some("10.77.0.100".parse().unwrap()),
    }
}

fn peer(pool: &str, via: &str) -> PeerRoute {
    PeerRoute { pool: pool.parse().unwrap(), via: via.parse().unwrap() }
}

#[test]
fn settings_that_can_never_work_are_refused_by_name() {
    assert!(settings().check().is_ok());
    let elsewhere = Some("192.0.2.7".parse().unwrap());
    assert!(Settings { vip: elsewhere, ..settings() }.check().is_ok(), "it need not be in the LAN's network");
    let table: [(&str, &str, Spoil); 20] = [
        ("network.interface", "no interface name", |s| s.interface = String::new()),
        ("network.interface", "no interface name", |s| s.interface = "a234567890123456".into()),
        ("network.interface", "no interface name", |s| s.interface = "../x".into()),
        ("network.bridge", "no interface name", |s| s.bridge = "..".into()),
        ("network.bridge", "no interface name", |s| s.bridge = "phx 0".into()),
        ("network.bridge", "is the LAN interface", |s| s.bridge = "eth0".into()),
        ("network.pool", "too small", |s| s.pool = "10.77.11.0/31".parse().unwrap()),
        ("network.pool", "not a host address", |s| s.host_addr = "10.77.12.1".parse().unwrap()),
        ("network.pool", "not a host address", |s| s.host_addr = "10.77.11.255".parse().unwrap()),
        ("peers[2].pool", "overlap", |s| s.peers.push(peer("10.77.12.128/25", "10.77.0.14"))),
        ("peers[2].pool", "overlap", |s| s.peers.push(peer("10.0.0.0/8", "192.168.0.14"))),
        ("peers[2].api", "not an address on the LAN", |s| s.peers.push(peer("10.77.14.0/24", "10.77.14.1"))),
        ("vip.addr", "of no pool", |s| s.vip = Some("10.77.11.5".parse().unwrap())),
        ("vip.addr", "of no pool", |s| s.vip = Some("10.77.13.255".parse().unwrap())),
        ("vip.addr", "peer's own", |s| s.vip = Some("10.77.0.13".parse().unwrap())),
        ("vip.addr", "not an address of one host", |s| s.vip = Some("0.0.0.0".parse().unwrap())),
        ("vip.addr", "not an address of one host", |s| s.vip = Some("127.0.0.9".parse().unwrap())),
        ("vip.addr", "not an address of one host", |s| s.vip = Some("169.254.0.9".parse().unwrap())),
        ("vip.addr", "not an address of one host", |s| s.vip = Some("224.0.0.18".parse().unwrap())),
        ("vip.addr", "not an address of one host", |s| s.vip = Some("255.255.255.255".parse().unwrap())),
    ];
    for (field, part, spoil) in table {
        let mut settings = settings();
        spoil(&mut settings);
        match settings.check() {
            Err(Error::Invalid { field: at, message }) => {
                assert_eq!(at, field, "{message}");
                assert!(message.contains(part), "{message:?} should say {part:?}");
            }
            other => panic!("{field}, {part}: {other:?}"),
        }
    }
}
