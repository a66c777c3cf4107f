use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::{CONNECTIONS, Caller, Full, Held, Place, Places};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 12));

fn stranger(last: u8) -> IpAddr {
    IpAddr::from([10, 77, 0, last])
}

fn with_peer(addr: IpAddr) -> Places {
    Places::new([], [("host2".to_owned(), addr)].into())
}

/// As many places of `addr` as it gets, and why there is no more.
fn all_of(places: &Places, addr: IpAddr) -> (Vec<Place>, Full) {
    let mut held = Vec::new();
    loop {
        match places.connection(addr) {
            Ok(place) => held.push(place),
            Err(full) => return (held, full),
        }
    }
}

#[test]
fn one_address_has_its_part_and_strangers_have_theirs() {
    let places = with_peer(PEER);
    let mut held = Vec::new();
    for last in 101..=104 {
        let addr = stranger(last);
        let (its, full) = all_of(&places, addr);
        assert_eq!((its.len(), full), (32, Full::Address { addr, held: 32 }));
        held.extend(its);
    }
    assert_eq!(places.connection(stranger(105)).unwrap_err(), Full::Strangers(128));
    let (its, full) = all_of(&places, PEER);
    assert_eq!((its.len(), full), (32, Full::Address { addr: PEER, held: 32 }));

    // What is given back can be had by others.
    held.pop();
    let _one = places.connection(stranger(105)).unwrap();
    assert_eq!(places.connection(stranger(105)).unwrap_err(), Full::Strangers(128));
    drop(its);
    assert_eq!(all_of(&places, PEER).0.len(), 32);
}

#[test]
fn members_fill_all_there_is_and_no_more() {
    let members: Vec<_> = (1..=10).map(stranger).collect();
    let places = Places::new(members.clone(), BTreeMap::new());
    let mut held = Vec::new();
    for addr in &members[..8] {
        held.extend(all_of(&places, *addr).0);
    }
    assert_eq!(held.len(), 256);
    assert_eq!(places.connection(members[9]).unwrap_err(), Full::All(256));
}

#[test]
fn who_joins_has_a_share_from_then_on_and_who_leaves_has_none() {
    let places = with_peer(PEER);
    let _held: Vec<_> = (101..=104).flat_map(|last| all_of(&places, stranger(last)).0).collect();
    let (joins, none) = (stranger(105), Err(Full::Strangers(128)));
    assert_eq!(places.connection(joins).map(drop), none);
    places.set_peers([("host2".to_owned(), joins)].into());
    assert_eq!(places.connection(joins).map(drop), Ok(()));
    assert_eq!(places.connection(PEER).map(drop), none);
}

#[test]
fn streams_are_counted_for_themselves() {
    let places = with_peer(PEER);
    let caller = |addr| Caller { places: places.clone(), addr };
    let (member, one, other) = (caller(PEER), caller(stranger(8)), caller(stranger(9)));
    let mut strangers: Vec<_> = (0..8).map(|_| one.stream().unwrap()).collect();
    assert_eq!(one.stream().unwrap_err(), Full::Address { addr: stranger(8), held: 8 });
    strangers.extend((0..4).map(|_| other.stream().unwrap()));
    assert_eq!(other.stream().unwrap_err(), Full::Strangers(12));
    let members: Vec<_> = (0..4).map(|_| member.stream().unwrap()).collect();
    assert_eq!(member.stream().unwrap_err(), Full::All(16));
    assert_eq!(all_of(&places, stranger(9)).0.len(), 32);
    drop(strangers);
    drop(members);
    assert_eq!((0..16).map_while(|_| member.stream().ok()).collect::<Vec<_>>().len(), 8);
}

proptest! {
    /// Whatever strangers do, a member that is within its own part is refused only by other members.
    #[test]
    fn strangers_never_keep_a_member_out(
        steps in proptest::collection::vec((0_u8..12, any::<bool>()), 0..2_000),
    ) {
        // Addresses below 4 are members.
        let members = (0..4).map(stranger).collect();
        let mut held = Held::new(CONNECTIONS);
        for (last, takes) in steps {
            let addr = stranger(last);
            if !takes {
                held.give_back(addr);
                continue;
            }
            let before = held.by.clone();
            let own = before.get(&addr).copied().unwrap_or_default();
            let outcome = held.take(addr, &members);
            if last < 4 {
                prop_assert_eq!(outcome.is_ok(), own < CONNECTIONS.address);
            }
            if outcome.is_err() {
                prop_assert_eq!(&held.by, &before);
            }
            let strangers: usize = held.by.iter().filter(|(addr, _)| !members.contains(addr)).map(|it| it.1).sum();
            prop_assert!(strangers <= CONNECTIONS.strangers);
            prop_assert!(held.by.values().all(|count| (1..=CONNECTIONS.address).contains(count)));
            prop_assert!(held.by.values().sum::<usize>() <= CONNECTIONS.all);
        }
    }
}
