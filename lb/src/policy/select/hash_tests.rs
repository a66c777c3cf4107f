use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::Member;
use super::super::tests::{addr, members};
use super::{MAX_POINTS, Points, Ring};

/// In what order nginx 1.22.1 tries `hash $arg_k consistent` upstreams for `key-0`, `key-1`, …, when each answers
/// 503. Recorded by its `$upstream_addr`; the digits are places in [`nginx_members`].
const NGINX_ORDERS: &str = "
    42310 41230 43210 12043 42103 32410 23410 43012 14203 41203 40123 24013 34210 23104 42103 04123
    21430 23410 04213 41302 14032 14203 41203 24013 24130 14203 24130 24130 24130 42103 14023 21043
    23410 04213 01432 21043 42310 04132 14230 24130 13204 24013 34201 34210 41302 24103 14302 41203
    20341 04231 10324 14023 42310 24103 42310 02143 42031 21430 41203 12403 21430 24310 20413 23104
    14320 04231 24130 42031 20413 43210 43021 20314 14023 41320 41230 24130 14230 21043 42013 41230
    21304 43201 32410 14320 32041 24013 43210 21430 12430 42103 04213 14302 42130 42130 14320 10423
    03214 04231 42013 23401 41203 43120 04213 12034 34201 41203 21430 41230 14320 02143 42103 21340
    42310 12340 23140 24301 04123 04321 42013 41023 42103 24103 14320 14230 42103 41203 24103 04321
    42130 42103 24013 42130 31042 42130 42013 24013 41320 04123 24031 24103 42130 40321 42310 42103
    34201 24103 03421 23410 43102 20143 41032 14230 24031 34021 03142 24130 24103 42013 40123 24013
";

fn nginx_members() -> Vec<Member> {
    let servers = [
        ("127.0.0.1:8080", 1),
        ("127.0.0.2:8080", 2),
        ("127.0.0.3:443", 3),
        ("[::1]:8080", 1),
        ("127.10.20.30:65535", 5),
    ];
    let member = |(index, (addr, weight)): (u16, (&str, u32))| Member {
        index,
        weight,
        in_flight: 0,
        addr: addr.parse().unwrap(),
    };
    (0u16..).zip(servers).map(member).collect()
}

fn ring(members: &[Member]) -> Ring {
    Ring::new(members, None)
}

/// All members in the order in which they are offered for a key.
fn order(ring: &Ring, key: &str) -> Vec<u16> {
    let mut offered = Vec::new();
    ring.pick(key.as_bytes(), |member| {
        offered.push(member);
        false
    });
    offered
}

/// Who gets each of some keys.
fn owners(members: &[Member], ring: &Ring) -> Vec<SocketAddr> {
    let addr_of: BTreeMap<u16, SocketAddr> =
        members.iter().map(|member| (member.index, member.addr)).collect();
    let owner = |n: u32| addr_of[&ring.pick(format!("/page/{n}").as_bytes(), |_| true).unwrap()];
    (0..2000).map(owner).collect()
}

fn without(members: &[Member], place: usize) -> Vec<Member> {
    let mut rest = members.to_vec();
    rest.remove(place);
    rest
}

#[test]
fn the_order_is_nginxs() {
    let ring = ring(&nginx_members());
    let mut checked = 0;
    for (n, expected) in NGINX_ORDERS.split_whitespace().enumerate() {
        let order: String = order(&ring, &format!("key-{n}")).iter().map(ToString::to_string).collect();
        assert_eq!(order, expected, "key-{n}");
        checked += 1;
    }
    assert_eq!(checked, 160);
}

#[test]
fn a_weight_is_160_points() {
    let ring = ring(&nginx_members());
    let mut counts = [0; 5];
    for &slot in &ring.points.owners {
        counts[ring.owners[usize::from(slot)] as usize] += 1;
    }
    assert_eq!(counts, [160, 320, 480, 160, 800]);
    assert!(ring.points.hashes.is_sorted());
}

#[test]
fn heavy_weights_get_fewer_points_and_keep_their_shares() {
    let weights: Vec<u32> = (0..100).map(|n| if n == 0 { 1 } else { 1000 }).collect();
    let ring = ring(&members(&weights));
    let points = ring.points.owners.len() as u64;
    assert!(points <= MAX_POINTS && points > MAX_POINTS / 2, "{points}");
    let count = |slot: u16| ring.points.owners.iter().filter(|&&owner| owner == slot).count();
    assert_eq!((count(0), count(1)), (160 >> 6, 160_000 >> 6));
}

#[test]
fn who_leaves_and_who_comes_back_does_not_change_the_ring() {
    let all = members(&[1, 2, 3, 1]);
    let first = ring(&all);
    let fewer = Ring::new(&without(&all, 1), Some(&first));
    let again = Ring::new(&all, Some(&fewer));
    assert!(Arc::ptr_eq(&first.points, &fewer.points) && Arc::ptr_eq(&first.points, &again.points));
    assert_eq!(order(&fewer, "key").len(), 3);
    assert_eq!(order(&again, "key"), order(&first, "key"));
}

#[test]
fn a_ring_that_stands_mostly_empty_is_made_anew() {
    let all = members(&[1; 10]);
    let first = ring(&all);
    let five = Ring::new(&all[..5], Some(&first));
    assert!(Arc::ptr_eq(&first.points, &five.points));
    let four = Ring::new(&all[..4], Some(&five));
    assert_eq!(four.points.owners.len(), 4 * 160);
}

#[test]
fn points_that_lie_unevenly_are_found_too() {
    let hashes: Box<[u32]> = (0..10_000).chain([u32::MAX - 1]).collect();
    let points = Points { owners: vec![0; hashes.len()].into(), hashes, ..Points::default() };
    for (hash, first) in [(0, 0), (9_999, 9_999), (10_000, 10_000), (u32::MAX / 2, 10_000), (u32::MAX, 0)] {
        assert_eq!(points.first_from(hash), first, "{hash}");
    }
}

#[test]
fn memory_stays_flat_while_all_members_are_replaced() {
    let mut ring = ring(&members(&[1; 10]));
    for round in 0..300u16 {
        let mut next = members(&[1; 10]);
        next.iter_mut().for_each(|member| member.addr = addr(round + member.index));
        ring = Ring::new(&next, Some(&ring));
        assert!(ring.owners.len() <= 20 && ring.points.owners.len() <= 20 * 160);
    }
}

fn weights(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(1u32..=8, n)
}

/// A change of the set: a member at one of 20 addresses comes, goes, or gets another weight.
fn changes() -> impl Strategy<Value = Vec<(u16, u32)>> {
    prop::collection::vec((0u16..20, 0u32..4), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn only_the_keys_of_the_one_that_leaves_move(weights in weights(2..12), leaver: prop::sample::Index) {
        let all = members(&weights);
        let leaver = leaver.index(all.len());
        let rest = without(&all, leaver);
        let before = ring(&all);
        for after in [Ring::new(&rest, Some(&before)), ring(&rest)] {
            for (old, new) in owners(&all, &before).iter().zip(owners(&rest, &after)) {
                prop_assert!(*old == new || *old == all[leaver].addr);
                prop_assert!(new != all[leaver].addr);
            }
        }
    }

    #[test]
    fn one_that_joins_takes_about_its_share_and_nothing_else_moves(n in 2usize..12) {
        let all = members(&vec![1; n + 1]);
        let (before, after) = (ring(&all[..n]), ring(&all));
        let joined = all[n].addr;
        let mut moved = 0;
        for (old, new) in owners(&all, &before).iter().zip(owners(&all, &after)) {
            prop_assert!(*old == new || new == joined);
            moved += usize::from(*old != new);
        }
        // 160 points are off their share by 8 % (one standard deviation), and so is the sample.
        let share = 2000 / (n + 1);
        prop_assert!(moved < share * 3 / 2 && moved > share / 2, "{} of 2000, share {}", moved, share);
    }

    #[test]
    fn a_ring_that_grew_is_the_ring_made_at_once(changes in changes()) {
        let mut set: BTreeMap<u16, u32> = BTreeMap::new();
        let mut grown = ring(&[]);
        for (n, weight) in changes {
            if weight == 0 { set.remove(&n); } else { set.insert(n, weight); }
            let members: Vec<Member> = (0u16..).zip(&set).map(|(index, (&n, &weight))| {
                Member { index, weight, in_flight: 0, addr: addr(n) }
            }).collect();
            grown = Ring::new(&members, Some(&grown));
            let fresh = ring(&members);
            prop_assert_eq!(grown.len(), set.len());
            for key in ["a", "b", "c", "/", "/index.html", ""] {
                prop_assert_eq!(order(&grown, key), order(&fresh, key));
            }
        }
    }

    #[test]
    fn the_ring_does_not_depend_on_the_order_of_members(
        shuffled in Just((0..8).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let listed = members(&[1, 2, 1, 3, 1, 1, 5, 1]);
        let shuffled: Vec<Member> = shuffled.into_iter().map(|place| listed[place]).collect();
        let (one, other) = (ring(&listed), ring(&shuffled));
        for n in 0..50 {
            let key = n.to_string();
            prop_assert_eq!(order(&one, &key), order(&other, &key));
        }
    }

    #[test]
    fn each_member_is_offered_once(weights in weights(1..20), key: String) {
        let mut offered = order(&ring(&members(&weights)), &key);
        offered.sort_unstable();
        prop_assert_eq!(offered, (0u16..).take(weights.len()).collect::<Vec<_>>());
    }

    #[test]
    fn the_guess_finds_what_a_search_finds(n in 1u16..60, hashes: [u32; 32]) {
        let ring = ring(&members(&vec![1; usize::from(n)]));
        let points = &ring.points;
        for hash in hashes.into_iter().chain([0, u32::MAX]).chain(points.hashes.iter().copied().step_by(50)) {
            let first = points.hashes.partition_point(|&point| point < hash);
            prop_assert_eq!(points.first_from(hash), first % points.hashes.len());
        }
    }
}

/// Two members own the same point: the lower address has it, whoever was there first.
#[test]
fn a_point_with_two_owners() {
    let all = members(&[6; 250]);
    let full = ring(&all);
    let hashes = &full.points.hashes;
    let shared: Vec<usize> = (1..hashes.len()).filter(|&i| hashes[i - 1] == hashes[i]).collect();
    assert!(!shared.is_empty(), "some points of 240,000 coincide");
    let addr_of = |ring: &Ring, i: usize| all[ring.owners[usize::from(ring.points.owners[i])] as usize].addr;
    for &i in &shared {
        assert!(addr_of(&full, i - 1) < addr_of(&full, i));
    }
    let halves = all.split_at(125);
    let crosses =
        |&&i: &&usize| (addr_of(&full, i - 1) < halves.1[0].addr) != (addr_of(&full, i) < halves.1[0].addr);
    assert!(shared.iter().filter(crosses).count() > 0, "some of them are owned in both halves");
    for first in [halves.0, halves.1] {
        let late = Ring::new(&all, Some(&ring(first)));
        assert!(hashes == &late.points.hashes);
        assert!((0..hashes.len()).all(|i| addr_of(&full, i) == addr_of(&late, i)));
    }
}
