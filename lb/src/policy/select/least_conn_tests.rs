use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::super::Member;
use super::super::tests::{members, weights};
use super::{LeastConn, REFUSALS};

/// Loads as the pool knows them.
fn load_in(loads: &[u32]) -> impl Fn(u16) -> u32 {
    |member| loads[usize::from(member)]
}

#[test]
fn equals_take_turns_by_weight() {
    let tree = LeastConn::new(&members(&[1, 1, 1]), None);
    let picks: Vec<u16> = (0..7).map(|turn| tree.pick(turn, |_| 0, |_| true).unwrap()).collect();
    assert_eq!(picks, [0, 1, 2, 0, 1, 2, 0]);
    let tree = LeastConn::new(&members(&[2, 1]), None);
    let picks: Vec<u16> = (0..6).map(|turn| tree.pick(turn, |_| 0, |_| true).unwrap()).collect();
    assert_eq!(picks.iter().filter(|&&member| member == 0).count(), 4, "{picks:?}");
}

#[test]
fn turns_go_on_in_the_next_set() {
    let mut tree = LeastConn::new(&members(&[1; 10]), None);
    let mut picks = Vec::new();
    for turn in 0..10 {
        picks.push(tree.pick(turn, |_| 0, |_| true).unwrap());
        tree = LeastConn::new(&members(&[1; 10]), Some(&tree));
    }
    assert_eq!(picks, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_newcomer_and_one_that_was_busy_have_saved_up_no_time() {
    let tree = LeastConn::new(&members(&[1, 1, 1]), None);
    let loads = [0, 0, 5];
    for turn in 0..1000 {
        tree.pick(turn, load_in(&loads), |_| true);
    }
    let tree = LeastConn::new(&members(&[1, 1, 1, 1]), Some(&tree));
    let mut counts = [0; 4];
    for turn in 0..40 {
        counts[usize::from(tree.pick(turn, |_| 0, |_| true).unwrap())] += 1;
    }
    assert!(counts.iter().all(|count| (9..=11).contains(count)), "{counts:?}");
}

#[test]
fn one_that_refuses_does_not_upset_the_weights_of_the_others() {
    let tree = LeastConn::new(&members(&[1, 3, 1]), None);
    let mut counts = [0u32; 3];
    for turn in 0..4000 {
        counts[usize::from(tree.pick(turn, |_| 0, |member| member != 0).unwrap())] += 1;
    }
    assert!(counts[0] == 0 && counts[1].abs_diff(3000) <= 1, "{counts:?}");
}

#[test]
fn an_idle_member_that_is_believed_busy_is_found_out() {
    let mut believed = members(&[1; 20]);
    believed[7].in_flight = 1000;
    let tree = LeastConn::new(&believed, None);
    let mut loads = [1u32; 20];
    loads[7] = 0;
    let found = (0..20).find(|&turn| tree.pick(turn, load_in(&loads), |_| true) == Some(7));
    assert_eq!(found, Some(7), "its turn to be looked at");
}

#[test]
fn one_that_is_believed_idle_is_found_out_at_once() {
    let tree = LeastConn::new(&members(&[1; 20]), None);
    let mut loads = [5u32; 20];
    loads[3] = 4;
    tree.changed(3, 4);
    for member in 8..20 {
        tree.changed(member, 5);
    }
    assert_eq!(tree.pick(0, load_in(&loads), |_| true), Some(3));
}

#[test]
fn one_that_always_refuses_is_offered_now_and_then_and_found_when_it_is_back() {
    let tree = LeastConn::new(&members(&[1; 100]), None);
    let loads: Vec<u32> = (0..100).map(|member| u32::from(member != 42)).collect();
    let mut offered = 0;
    for turn in 0..1000 {
        tree.pick(turn, load_in(&loads), |member| {
            offered += u32::from(member == 42);
            member != 42
        });
    }
    assert!((10..=20).contains(&offered), "{offered} times in 1000");
    let next = LeastConn::new(&members(&[1; 100]), Some(&tree));
    for tree in [tree, next] {
        let found = (0..100).find(|&turn| tree.pick(turn, load_in(&loads), |_| true) == Some(42));
        assert!(found <= Some(42) && found.is_some());
    }
    let alone = LeastConn::new(&members(&[1]), None);
    (0..20).for_each(|turn| assert_eq!(alone.pick(turn, |_| 0, |_| false), None));
    assert_eq!(alone.pick(0, |_| 0, |_| true), Some(0), "whoever is last is still offered");
}

#[test]
fn threads_agree() {
    let loads: Vec<AtomicU32> = (0..10).map(|_| AtomicU32::new(0)).collect();
    let tree = LeastConn::new(&members(&[1; 10]), None);
    let load = |member: u16| loads[usize::from(member)].load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for thread in 0..3usize {
            let (tree, loads) = (&tree, &loads);
            scope.spawn(move || {
                for turn in 0..3000 {
                    let take = |member: u16| {
                        loads[usize::from(member)].fetch_add(1, Ordering::Relaxed);
                        true
                    };
                    let member = tree.pick(turn + thread, load, take).unwrap();
                    let left = loads[usize::from(member)].fetch_sub(1, Ordering::Relaxed) - 1;
                    tree.changed(member, left);
                }
            });
        }
    });
    assert!(loads.iter().all(|load| load.load(Ordering::Relaxed) == 0));
    // What crossed is put right by as many choices as there are members.
    for turn in 0..10 {
        tree.pick(turn, load, |_| true);
    }
    assert!(tree.lock().players.iter().all(|player| player.in_flight == 0));
}

#[derive(Debug, Clone)]
enum Step {
    Pick { refused: Vec<u16> },
    Change { member: prop::sample::Index, in_flight: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        // Some refuse all the time.
        (0u16..30, prop::collection::vec(0u16..30, 0..10))
            .prop_map(|(from, more)| Step::Pick { refused: (from.max(22)..30).chain(more).collect() }),
        (any::<prop::sample::Index>(), 0u32..20)
            .prop_map(|(member, in_flight)| Step::Change { member, in_flight }),
    ];
    prop::collection::vec(step, 1..100)
}

/// Less load by weight, by definition.
fn is_less(one: usize, other: usize, loads: &[u32], members: &[Member]) -> bool {
    u64::from(loads[one]) * u64::from(members[other].weight)
        < u64::from(loads[other]) * u64::from(members[one].weight)
}

proptest! {
    #[test]
    fn the_least_loaded_of_those_that_accept(weights in weights(1..30), steps in steps()) {
        let members = members(&weights);
        let n = members.len();
        let tree = LeastConn::new(&members, None);
        let mut loads = vec![0u32; n];
        let mut refusals = vec![0u8; n];
        for (turn, step) in steps.into_iter().enumerate() {
            match step {
                Step::Change { member, in_flight } => {
                    let member = member.index(n);
                    loads[member] = in_flight;
                    tree.changed(u16::try_from(member).unwrap(), in_flight);
                }
                Step::Pick { refused } => {
                    let accepts = |member: usize| !refused.contains(&u16::try_from(member).unwrap());
                    let mut offered = Vec::new();
                    let picked = tree.pick(turn, load_in(&loads), |member| {
                        offered.push(usize::from(member));
                        accepts(usize::from(member))
                    });
                    // Who is looked at has another chance.
                    refusals[turn % n] = refusals[turn % n].min(REFUSALS - 1);
                    let is_last = refusals.iter().map(|&refusals| refusals >= REFUSALS).collect::<Vec<_>>();
                    for pair in offered.windows(2) {
                        let (one, next) = (pair[0], pair[1]);
                        prop_assert!(is_last[one] <= is_last[next], "{:?}", offered);
                        prop_assert!(is_last[one] != is_last[next] || !is_less(next, one, &loads, &members));
                    }
                    offered.iter().for_each(|&member| refusals[member] = refusals[member].saturating_add(1));
                    let Some(picked) = picked.map(usize::from) else {
                        prop_assert!(!(0..n).any(accepts));
                        continue;
                    };
                    prop_assert!(accepts(picked));
                    refusals[picked] = 0;
                    let better = (0..n).find(|&other| {
                        accepts(other) && !is_last[other] && (is_last[picked] || is_less(other, picked, &loads, &members))
                    });
                    prop_assert_eq!(better, None);
                    loads[picked] += 1;
                    tree.changed(u16::try_from(picked).unwrap(), loads[picked]);
                }
            }
        }
    }

    #[test]
    fn among_idle_members_shares_follow_weights(weights in weights(1..12)) {
        let tree = LeastConn::new(&members(&weights), None);
        let total: u32 = weights.iter().sum();
        let picks = 2000;
        let mut counts = vec![0u32; weights.len()];
        (0..picks).for_each(|turn| counts[usize::from(tree.pick(turn, |_| 0, |_| true).unwrap())] += 1);
        for (&got, &weight) in counts.iter().zip(&weights) {
            let share = 2000.0 * f64::from(weight) / f64::from(total);
            prop_assert!((f64::from(got) - share).abs() <= 2.0 + weights.len() as f64 * f64::from(weight) / f64::from(total));
        }
    }
}
