use super::{Lans, whose};

#[test]
fn a_peer_is_known_by_its_address_and_nobody_else_is() {
    let addr = |last: u8| std::net::Ipv4Addr::new(10, 77, 0, last);
    let lans = Lans::from([("host2".to_owned(), addr(12)), ("host3".to_owned(), addr(13))]);
    for (found, name) in [
        (vec![], None),
        (vec![addr(5)], None),
        (vec![addr(13)], Some("host3")),
        (vec![addr(200), addr(12)], Some("host2")),
    ] {
        assert_eq!(whose(&found, &lans).as_deref(), name, "{found:?}");
    }
}
