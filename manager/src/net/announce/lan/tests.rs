use super::*;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const LAN: Lan = Lan { index: 3, mac: MacAddr::new([2, 9, 0, 0, 0, 0]), addr: None, carrier: true };

fn station(last: u8, recent: bool) -> Station {
    Station { addr: Ipv4Addr::new(10, 77, 0, last), mac: MacAddr::new([2, 0, 0, 0, 0, last]), recent }
}

#[test]
fn gateways_are_told_first_and_then_who_was_heard_of_recently() {
    let known = vec![station(5, false), station(4, true), station(1, false), station(3, true)];
    let gateways = [Ipv4Addr::new(10, 77, 0, 1)].into();
    let told = choose(known, &gateways, &LAN, VIP);
    assert_eq!(told, [station(1, false), station(3, true), station(4, true), station(5, false)]);
}

#[test]
fn their_number_is_limited_and_the_gateway_is_among_them() {
    let known: Vec<_> = (1..=99).chain(101..=254).map(|last| station(last, last != 254)).collect();
    let told = choose(known, &[Ipv4Addr::new(10, 77, 0, 254)].into(), &LAN, VIP);
    assert_eq!(told.len(), MAX_TOLD);
    assert_eq!(told[0], station(254, false));
}

#[test]
fn neither_ourselves_nor_the_address_itself_nor_groups_are_told() {
    let own = Station { mac: LAN.mac, ..station(7, true) };
    let group = Station { mac: MacAddr::BROADCAST, ..station(8, true) };
    let owner = Station { addr: VIP, ..station(9, true) };
    assert_eq!(choose(vec![own, group, owner], &BTreeSet::new(), &LAN, VIP), []);
}

#[test]
fn questions_come_from_an_address_near_the_asked_one() {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Ipv4Net>>();
    let table: [(&[&str], Option<&str>); 5] = [
        (&[], None),
        (&["192.168.1.5/24"], Some("192.168.1.5")),
        (&["192.168.1.5/24", "10.77.0.11/24"], Some("10.77.0.11")),
        (&["10.77.0.100/24"], None),
        (&["10.77.0.100/24", "10.77.0.11/24", "10.77.0.12/24"], Some("10.77.0.11")),
    ];
    for (addrs, expected) in table {
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(own_addr(&nets(addrs), VIP), expected, "{addrs:?}");
    }
}
