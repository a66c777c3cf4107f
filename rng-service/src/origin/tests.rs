//! Who is the manager, and that nobody takes the other's places.

use super::{Origin, Places};

#[test]
fn the_manager_is_known_by_its_address() {
    let cases = [
        ("10.77.11.1:5", Some("10.77.11.1"), Origin::Manager),
        ("[::ffff:10.77.11.1]:5", Some("10.77.11.1"), Origin::Manager),
        ("10.77.11.1:5", Some("::ffff:10.77.11.1"), Origin::Manager),
        ("[fd00::1]:5", Some("fd00::1"), Origin::Manager),
        ("10.77.11.2:5", Some("10.77.11.1"), Origin::Public),
        ("[fd00::2]:5", Some("fd00::1"), Origin::Public),
        ("10.77.11.1:5", None, Origin::Public),
    ];
    for (peer, manager, expected) in cases {
        let manager = manager.map(|addr| addr.parse().expect("an address"));
        let peer = peer.parse().expect("an address and a port");
        assert_eq!(Origin::of(peer, manager), expected, "{peer} {manager:?}");
    }
}

#[test]
fn nobody_takes_the_others_places() {
    for (greedy, other) in [(Origin::Public, Origin::Manager), (Origin::Manager, Origin::Public)] {
        let places = Places::new(2, 2);
        let held = [places.take(greedy), places.take(greedy)];
        assert!(held.iter().all(Option::is_some));
        assert!(places.take(greedy).is_none());
        assert!(places.take(other).is_some());
        drop(held);
        assert!(places.take(greedy).is_some());
    }
}
