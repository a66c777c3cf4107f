use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::{MacAddr, bridge_mac, vm_mac};

#[test]
fn text_that_is_no_mac_is_refused() {
    for bad in [
        "",
        "02",
        "02:00:0a:4d:0b",
        "02:00:0a:4d:0b:01:02",
        "2:0:a:4d:b:1",
        "02-00-0a-4d-0b-01",
        "02:00:0a:4d:0b:0g",
        "+2:00:0a:4d:0b:01",
        " 02:00:0a:4d:0b:01",
        "02:00:0a:4d:0b:01 ",
        "02::0a:4d:0b:01",
    ] {
        assert!(bad.parse::<MacAddr>().is_err(), "{bad:?}");
    }
    assert_eq!("02:00:0A:4d:0b:01".parse(), Ok(bridge_mac(Ipv4Addr::new(10, 77, 11, 1))));
}

#[test]
fn serde_uses_the_text_form() {
    let mac = vm_mac(Ipv4Addr::new(10, 77, 11, 11), 3);
    assert_eq!(serde_json::to_string(&mac).unwrap(), r#""02:03:0a:4d:0b:0b""#);
    assert_eq!(serde_json::from_str::<MacAddr>(r#""02:03:0a:4d:0b:0b""#).unwrap(), mac);
    assert!(serde_json::from_str::<MacAddr>(r#""nonsense""#).is_err());
}

#[test]
fn two_hundred_and_fifty_six_lives_have_different_macs() {
    let addr = Ipv4Addr::new(10, 77, 11, 11);
    let macs: BTreeSet<_> = (1000..1256).map(|incarnation| vm_mac(addr, incarnation)).collect();
    assert_eq!(macs.len(), 256);
    assert_eq!(vm_mac(addr, 1), vm_mac(addr, 257));
}

proptest! {
    #[test]
    fn text_and_back(octets: [u8; 6]) {
        let mac = MacAddr::new(octets);
        prop_assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn no_two_addresses_share_a_mac(a: u32, b: u32, life_a: u64, life_b: u64) {
        prop_assume!(a != b);
        let (a, b) = (Ipv4Addr::from(a), Ipv4Addr::from(b));
        prop_assert_ne!(vm_mac(a, life_a), vm_mac(b, life_b));
        prop_assert_ne!(bridge_mac(a), vm_mac(b, life_b));
        prop_assert_eq!(vm_mac(a, life_a).octets()[0] & 0b11, 0b10, "locally administered, unicast");
        prop_assert_ne!(vm_mac(a, life_a).host_side(), vm_mac(a, life_a));
    }
}
