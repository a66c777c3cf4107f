use std::net::Ipv4Addr;

use proptest::prelude::{any, proptest};
use wire::{Identity, Role};

use super::{check, same};

/// An identity that passes.
pub(crate) fn sound() -> Identity {
    Identity {
        id: "host1/svc-11".to_owned(),
        role: Role::Service,
        incarnation: 3,
        hostname: "svc-11".to_owned(),
        addr: Ipv4Addr::new(10, 77, 11, 11),
        gateway: Ipv4Addr::new(10, 77, 11, 1),
        gateway_mac: Some("02:00:00:00:00:0f".to_owned()),
        vip: None,
        config: "listen = \"0.0.0.0:8080\"\n".to_owned(),
        env: [("RUST_LOG".to_owned(), "info".to_owned())].into(),
        unix_ms: 1_780_000_000_000,
        seed: "0f".repeat(32),
    }
}

fn refused(change: impl FnOnce(&mut Identity)) -> String {
    let mut identity = sound();
    change(&mut identity);
    check(&identity).expect_err("must be refused").to_string()
}

#[test]
fn a_sound_identity_becomes_a_plan() {
    let plan = check(&sound()).unwrap();
    assert_eq!(plan.gateway_mac, Some([2, 0, 0, 0, 0, 15]));
    assert_eq!(plan.seed, [15; 32]);
    let env: Vec<String> = plan.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        env,
        [
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/",
            "RUST_LOG=info",
            "PHALANX_INSTANCE=host1/svc-11",
            "PHALANX_ADDR=10.77.11.11",
            "PHALANX_INCARNATION=3",
        ]
    );
}

#[test]
fn a_load_balancer_may_have_the_public_address() {
    let vip = Some(Ipv4Addr::new(10, 77, 0, 100));
    assert_eq!(check(&Identity { role: Role::Lb, vip, ..sound() }).unwrap().vip, vip);
    assert_eq!(check(&sound()).unwrap().vip, None);
}

#[test]
fn the_environment_may_replace_a_default() {
    let mut identity = sound();
    identity.env.insert("PATH".to_owned(), "/opt".to_owned());
    let plan = check(&identity).unwrap();
    let paths: Vec<_> = plan.env.iter().filter(|(name, _)| name == "PATH").collect();
    assert_eq!(paths, [&("PATH".to_owned(), "/opt".to_owned())]);
}

#[test]
fn each_field_is_refused_by_name() {
    for id in ["", "host1", "/x", "x/", "a/b/c", "a b/c", "a/b\n"] {
        assert!(refused(|i| i.id = id.to_owned()).starts_with("assign.id:"), "{id:?}");
    }
    for hostname in ["", "-a", "a-", "a.b", "a_b", "ä", "a b", &"a".repeat(64)] {
        assert!(
            refused(|i| i.hostname = hostname.to_owned()).starts_with("assign.hostname:"),
            "{hostname:?}"
        );
    }
    for addr in
        [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [240, 0, 0, 1]]
    {
        assert!(refused(|i| i.addr = addr.into()).starts_with("assign.addr:"), "{addr:?}");
        assert!(refused(|i| i.gateway = addr.into()).starts_with("assign.gateway:"), "{addr:?}");
    }
    assert!(refused(|i| i.gateway = i.addr).starts_with("assign.gateway:"));
    for mac in [
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:01:02",
        "2:0:0:0:0:1",
        "0g:00:00:00:00:01",
        "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "+2:00:00:00:00:01",
    ] {
        assert!(
            refused(|i| i.gateway_mac = Some(mac.to_owned())).starts_with("assign.gateway_mac:"),
            "{mac:?}"
        );
    }
    for vip in [[127, 0, 0, 1], [224, 0, 0, 1], [0, 0, 0, 0]] {
        let text = refused(|i| (i.role, i.vip) = (Role::Lb, Some(vip.into())));
        assert!(text.starts_with("assign.vip:"), "{text}");
    }
    assert!(refused(|i| (i.role, i.vip) = (Role::Lb, Some(i.addr))).starts_with("assign.vip:"));
    assert!(refused(|i| (i.role, i.vip) = (Role::Lb, Some(i.gateway))).starts_with("assign.vip:"));
    let text = refused(|i| i.vip = Some(Ipv4Addr::new(10, 77, 0, 100)));
    assert_eq!(text, "assign.vip: the public address is for load balancers only");
    for seed in [
        "".to_owned(),
        "0f".repeat(31),
        "0F".repeat(32),
        "0g".repeat(32),
        format!("{}0", "0f".repeat(32)),
        "0f".repeat(513),
    ] {
        assert!(refused(|i| i.seed.clone_from(&seed)).starts_with("assign.seed:"), "{seed:?}");
    }
    for unix_ms in [0, 1_577_836_799_999, 4_102_444_800_000, u64::MAX] {
        assert!(refused(|i| i.unix_ms = unix_ms).starts_with("assign.unix_ms:"), "{unix_ms}");
    }
    assert!(refused(|i| i.incarnation = 0).starts_with("assign.incarnation:"));
    assert!(refused(|i| i.config.push('\0')).starts_with("assign.config:"));
    for name in ["", "A=B", "A\0", "PHALANX_ADDR"] {
        assert!(
            refused(|i| _ = i.env.insert(name.to_owned(), String::new())).starts_with("assign.env:"),
            "{name:?}"
        );
    }
    assert!(refused(|i| _ = i.env.insert("A".to_owned(), "x".repeat(4096))).starts_with("assign.env:"));
    assert!(
        refused(|i| i.env.extend((0..64).map(|n| (n.to_string(), String::new())))).starts_with("assign.env:")
    );
}

#[test]
fn only_the_clock_and_the_seed_may_differ_in_the_same_identity() {
    let identity = sound();
    assert!(same(&identity, &Identity { unix_ms: 1, seed: "other".to_owned(), ..sound() }));
    assert!(!same(&identity, &Identity { incarnation: 4, ..sound() }));
    assert!(!same(&identity, &Identity { vip: Some([10, 77, 0, 100].into()), ..sound() }));
    assert!(!same(&identity, &Identity { config: String::new(), ..sound() }));
}

proptest! {
    #[test]
    fn no_text_makes_the_check_fail_otherwise(
        id in any::<String>(), hostname in any::<String>(), mac in any::<String>(), seed in any::<String>(),
        addr in any::<u32>(), gateway in any::<u32>(), unix_ms in any::<u64>(),
    ) {
        let identity = Identity {
            id, hostname, gateway_mac: Some(mac), seed, unix_ms, addr: addr.into(), gateway: gateway.into(), ..sound()
        };
        if let Ok(plan) = check(&identity) {
            assert!(plan.hostname.len() <= 63 && plan.seed.len() >= 32);
        }
    }
}
