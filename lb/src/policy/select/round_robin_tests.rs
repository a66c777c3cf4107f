use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::tests::{members, weights};
use super::{MAX_SLOTS, Schedule, spread};

fn schedule(weights: &[u32]) -> Schedule {
    Schedule::new(&members(weights), None)
}

fn picks(schedule: &Schedule, from: usize, n: usize) -> Vec<u16> {
    (from..from + n).map(|cursor| schedule.pick(cursor, |_| true).unwrap()).collect()
}

#[test]
fn equal_weights_take_turns() {
    assert_eq!(picks(&schedule(&[1, 1, 1]), 0, 7), [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(picks(&schedule(&[7, 7, 7]), 0, 7), [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn a_heavy_member_is_spread_over_the_cycle() {
    assert_eq!(picks(&schedule(&[5, 1, 1]), 0, 7), [0, 0, 0, 1, 2, 0, 0]);
    assert_eq!(picks(&schedule(&[2, 1]), 0, 6), [0, 1, 0, 0, 1, 0]);
}

#[test]
fn a_light_member_is_found_when_the_heavy_one_is_out() {
    let schedule = schedule(&[1000, 1]);
    for cursor in 0..1001 {
        assert_eq!(schedule.pick(cursor, |member| member != 0), Some(1), "cursor {cursor}");
    }
}

#[test]
fn huge_weights_stay_within_the_slots_and_leave_nobody_out() {
    let weights: Vec<u32> = (0..1024).map(|i| if i == 0 { 1 } else { 997 }).collect();
    let schedule = schedule(&weights);
    assert!(schedule.slots.len() as u64 <= MAX_SLOTS + 1024);
    for place in 0..1024 {
        assert!(schedule.slots.contains(&place), "{place}");
    }
    assert_eq!(Schedule::new(&members(&[u32::MAX, 1, 0]), None).len(), 3);
}

#[test]
fn the_turns_of_one_that_is_out_go_to_all_others_alike() {
    let schedule = schedule(&[1; 5]);
    let mut counts = [0; 5];
    for cursor in 0..5 * 4 {
        counts[usize::from(schedule.pick(cursor, |member| member != 2).unwrap())] += 1;
    }
    assert_eq!(counts, [5, 5, 0, 5, 5]);
}

#[test]
fn equal_slots_are_shared() {
    let first = schedule(&[3, 1, 2]);
    let mut renamed = members(&[3, 1, 2]);
    renamed.iter_mut().for_each(|member| member.index += 7);
    let second = Schedule::new(&renamed, Some(&first));
    assert!(Arc::ptr_eq(&first.slots, &second.slots));
    assert_eq!(picks(&second, 0, 6), picks(&first, 0, 6).iter().map(|member| member + 7).collect::<Vec<_>>());
    let third = Schedule::new(&members(&[3, 1, 1]), Some(&second));
    assert_eq!(third.slots, schedule(&[3, 1, 1]).slots);
}

/// A turn, compared without rounding.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    round: u64,
    count: u64,
    place: u16,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        let this = (2 * self.round + 1) * other.count;
        let that = (2 * other.round + 1) * self.count;
        this.cmp(&that).then(other.count.cmp(&self.count)).then(self.place.cmp(&other.place))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The slots by the definition.
fn exact_spread(counts: &[u64]) -> Vec<u16> {
    let all = (0u16..)
        .zip(counts)
        .flat_map(|(place, &count)| (0..count).map(move |round| Reverse(Due { round, count, place })));
    let mut due: BinaryHeap<Reverse<Due>> = all.collect();
    std::iter::from_fn(|| due.pop().map(|Reverse(next)| next.place)).collect()
}

#[test]
fn rounding_does_not_change_the_order_at_the_limit() {
    let half = MAX_SLOTS / 2;
    for counts in [vec![half, half - 1], vec![half - 1, 1, half], vec![MAX_SLOTS - 1, 1], vec![MAX_SLOTS]] {
        assert!(spread(&counts) == exact_spread(&counts), "{counts:?}");
    }
}

proptest! {
    #[test]
    fn the_order_is_exact(counts in prop::collection::vec(1u64..300, 1..30)) {
        prop_assert_eq!(spread(&counts), exact_spread(&counts));
    }

    #[test]
    fn each_cycle_gives_every_member_its_weight(weights in weights(1..20)) {
        let schedule = schedule(&weights);
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let cycle = schedule.slots.len() as u64;
        for (place, &weight) in (0u16..).zip(&weights) {
            let got = schedule.slots.iter().filter(|&&slot| slot == place).count() as u64;
            prop_assert_eq!(got * total, u64::from(weight) * cycle);
        }
    }

    #[test]
    fn a_member_is_never_more_than_a_turn_off_its_share_for_each_other(
        weights in weights(1..20), start in 0usize..5000, len in 1usize..300,
    ) {
        let schedule = schedule(&weights);
        let n = schedule.slots.len();
        for place in (0u16..).take(weights.len()) {
            let share = schedule.slots.iter().filter(|&&slot| slot == place).count() as f64 / n as f64;
            let got = (start..start + len).filter(|i| schedule.slots[i % n] == place).count() as f64;
            prop_assert!((got - share * len as f64).abs() <= 2.0 + weights.len() as f64 * share);
        }
    }

    #[test]
    fn two_members_never_differ_from_their_shares_by_more_than_a_turn(
        a in 1u32..200, b in 1u32..200, len in 1usize..500,
    ) {
        let schedule = schedule(&[a, b]);
        let got = picks(&schedule, 0, len).iter().filter(|&&member| member == 0).count() as f64;
        let share = f64::from(a) / f64::from(a + b) * len as f64;
        prop_assert!((got - share).abs() <= 1.0, "{got} of {share}");
    }
}
