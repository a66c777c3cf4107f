//! What holds for every policy, and what the tests of each share.

use std::net::{Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::{Balance, Hint, Member, Selector, below, mix};

pub(super) fn addr(n: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    (Ipv4Addr::new(10, 77, high, low), 8080).into()
}

/// Members with these weights, called 0, 1, 2, …
pub(super) fn members(weights: &[u32]) -> Vec<Member> {
    let member = |(index, &weight)| Member { index, weight, in_flight: 0, addr: addr(index) };
    (0u16..).zip(weights).map(member).collect()
}

pub(super) fn weights(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        prop::collection::vec(1u32..=5, n.clone()),
        prop::collection::vec(1u32..=1000, n.clone()),
        prop::collection::vec(Just(7u32), n),
    ]
}

/// How often each of `n` members is picked, the turn growing and the rest of the hint random. A member that is
/// picked has no request in flight when the next one comes.
fn counts(selector: &Selector, n: usize, picks: usize, accept: impl Fn(u16) -> bool) -> Vec<usize> {
    let mut counts = vec![0; n];
    for turn in 0..picks {
        let key = turn.to_string();
        let hint = Hint { turn, random: mix(turn as u64), key: key.as_bytes() };
        if let Some(member) = selector.pick(&hint, |_| 0, &accept) {
            counts[usize::from(member)] += 1;
        }
    }
    counts
}

#[test]
fn words() {
    for balance in Balance::ALL {
        assert_eq!(balance.as_str().parse(), Ok(balance));
    }
    let error = "ip_hash".parse::<Balance>().unwrap_err().to_string();
    assert_eq!(error, "\"ip_hash\" is not one of round_robin, least_conn, random_two, hash");
}

#[test]
fn nobody_to_pick() {
    let hint = Hint { turn: usize::MAX, random: u64::MAX, key: b"key" };
    for balance in Balance::ALL {
        let empty = Selector::new(balance, vec![], None);
        assert!(empty.is_empty() && empty.pick(&hint, |_| 0, |_| true).is_none(), "{balance}");
        empty.changed(0, 1);
        let full = Selector::new(balance, members(&[1, 9]), Some(&empty));
        assert_eq!((full.len(), full.pick(&hint, |_| 0, |_| false)), (2, None), "{balance}");
        full.changed(17, 1);
        let empty = Selector::new(balance, vec![], Some(&full));
        assert!(empty.is_empty() && empty.pick(&hint, |_| 0, |_| true).is_none(), "{balance}");
    }
}

#[test]
fn one_selector_can_follow_another_of_another_kind() {
    let hint = Hint { turn: 5, random: 5, key: b"key" };
    for before in Balance::ALL {
        for after in Balance::ALL {
            let before = Selector::new(before, members(&[1, 2, 3]), None);
            let after = Selector::new(after, members(&[1, 2]), Some(&before));
            assert!(after.pick(&hint, |_| 0, |member| member == 1) == Some(1));
        }
    }
}

#[test]
fn who_is_left_shares_the_load_of_who_is_out() {
    let picks = 60_000;
    for balance in Balance::ALL {
        for out in [vec![1u16], vec![0, 1], vec![2, 5], vec![0, 1, 2, 3, 4]] {
            let selector = Selector::new(balance, members(&[1; 8]), None);
            let counts = counts(&selector, 8, picks, |member| !out.contains(&member));
            let fair = picks / (8 - out.len());
            for member in (0u16..8).filter(|member| !out.contains(member)) {
                let got = counts[usize::from(member)];
                // A ring of 8 members is uneven by nature.
                let tolerance = if balance == Balance::Hash { fair * 2 / 5 } else { fair / 20 };
                assert!(got.abs_diff(fair) <= tolerance, "{balance} without {out:?}: {counts:?}");
            }
        }
    }
}

#[test]
fn idle_members_are_picked_by_weight() {
    let weights = [1, 2, 3, 10];
    for balance in [Balance::RoundRobin, Balance::LeastConn, Balance::Hash] {
        let selector = Selector::new(balance, members(&weights), None);
        let counts = counts(&selector, 4, 160_000, |_| true);
        for (got, weight) in counts.iter().zip(weights) {
            let share = weight as usize * 10_000;
            let tolerance = if balance == Balance::Hash { share * 2 / 5 } else { 1 };
            assert!(got.abs_diff(share) <= tolerance, "{balance}: {counts:?}");
        }
    }
}

#[test]
fn below_is_below_and_even() {
    assert_eq!((below(7, 0), below(7, u64::MAX), below(1, u64::MAX), below(0, u64::MAX)), (0, 6, 0, 0));
    let mut counts = [0u32; 10];
    (0..100_000).for_each(|n| counts[usize::try_from(below(10, mix(n))).unwrap()] += 1);
    assert!(counts.iter().all(|count| count.abs_diff(10_000) < 400), "{counts:?}");
}

proptest! {
    #[test]
    fn whoever_accepts_is_found_and_all_are_offered(
        weights in prop::collection::vec(1u32..=5, 1..40),
        loads in prop::collection::vec(0u32..5, 40),
        (turn, random, key) in any::<(usize, u64, [u8; 4])>(),
        only: prop::sample::Index,
    ) {
        let only = u16::try_from(only.index(weights.len())).unwrap();
        for balance in Balance::ALL {
            let selector = Selector::new(balance, members(&weights), None);
            let hint = Hint { turn, random, key: &key };
            let in_flight = |member: u16| loads[usize::from(member)];
            let mut offered = vec![0; weights.len()];
            let picked = selector.pick(&hint, in_flight, |member| {
                offered[usize::from(member)] += 1;
                member == only
            });
            prop_assert_eq!(picked, Some(only), "{}", balance);
            prop_assert_eq!(offered[usize::from(only)], 1);
            prop_assert!(offered.iter().sum::<usize>() <= 2 * weights.len() + 8, "{}: {:?}", balance, offered);

            let mut offered = vec![0; weights.len()];
            let none = selector.pick(&hint, in_flight, |member| {
                offered[usize::from(member)] += 1;
                false
            });
            prop_assert_eq!(none, None);
            prop_assert!(offered.iter().all(|&times| times > 0), "{}: {:?}", balance, offered);
        }
    }

    #[test]
    fn indices_need_not_be_places(weights in prop::collection::vec(1u32..=5, 1..20), (turn, random) in any::<(usize, u64)>()) {
        let mut members = members(&weights);
        members.iter_mut().for_each(|member| member.index = 3 * member.index + 100);
        members.reverse();
        for balance in Balance::ALL {
            let selector = Selector::new(balance, members.clone(), None);
            let hint = Hint { turn, random, key: b"key" };
            let picked = selector.pick(&hint, |_| 0, |_| true).unwrap();
            prop_assert!(members.iter().any(|member| member.index == picked));
            selector.changed(picked, 3);
            selector.changed(picked + 1, 3);
        }
    }
}
