use super::{Error, PeerRoute, Settings};

type Spoil = fn(&mut Settings);

fn settings() -> Settings {
    Settings {
        interface: "eth0".into(),
        bridge: "phx0".into(),
        pool: "10.77.11.0/24".parse().unwrap(),
        host_addr: "10.77.11.1".parse().unwrap(),
        peers: vec![peer("10.77.12.0/24", "10.77.0.12"), peer("10.77.13.0/24", "10.77.0.13")],
    }
}

fn peer(pool: &str, via: &str) -> PeerRoute {
    PeerRoute { pool: pool.parse().unwrap(), via: via.parse().unwrap() }
}

#[test]
fn settings_that_can_never_work_are_refused_by_name() {
    assert!(settings().check().is_ok());
    let table: [(&str, &str, Spoil); 12] = [
        ("interface", "no interface name", |s| s.interface = String::new()),
        ("interface", "no interface name", |s| s.interface = "a234567890123456".into()),
        ("interface", "no interface name", |s| s.interface = "../x".into()),
        ("bridge", "no interface name", |s| s.bridge = "..".into()),
        ("bridge", "no interface name", |s| s.bridge = "phx 0".into()),
        ("bridge", "is the LAN interface", |s| s.bridge = "eth0".into()),
        ("pool", "too small", |s| s.pool = "10.77.11.0/31".parse().unwrap()),
        ("pool", "not a host address", |s| s.host_addr = "10.77.12.1".parse().unwrap()),
        ("pool", "not a host address", |s| s.host_addr = "10.77.11.255".parse().unwrap()),
        ("peers", "overlap", |s| s.peers.push(peer("10.77.12.128/25", "10.77.0.14"))),
        ("peers", "overlap", |s| s.peers.push(peer("10.0.0.0/8", "192.168.0.14"))),
        ("peers", "not an address on the LAN", |s| s.peers.push(peer("10.77.14.0/24", "10.77.14.1"))),
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
