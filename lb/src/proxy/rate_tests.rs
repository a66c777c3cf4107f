use std::net::{IpAddr, Ipv4Addr};

use super::{ClientRate, key};

#[test]
fn many_clients_are_not_taken_for_one() {
    let rate = ClientRate::default();
    let worst = (0..20_000).map(|n| rate.count(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)))).max();
    assert!(worst <= Some(10), "{worst:?}");
}

#[test]
fn one_client_is_counted() {
    let rate = ClientRate::default();
    let client: IpAddr = "2001:db8::1".parse().unwrap();
    // A second may end among them once; nobody is counted too low.
    assert!((0..1000).any(|_| rate.count(client) > 10));
}

#[test]
fn who_is_one_client() {
    let of = |text: &str| key(text.parse().unwrap());
    assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
    assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
    assert_ne!(of("0.0.0.0"), of("::"));
}
