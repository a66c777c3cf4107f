use proptest::prelude::*;

use super::{MAX_SLOTS, Schedule};

fn picks(schedule: &Schedule, from: usize, n: usize) -> Vec<u16> {
    (from..from + n).map(|cursor| schedule.pick(cursor, |_| true).unwrap()).collect()
}

#[test]
fn equal_weights_take_turns() {
    let schedule = Schedule::new(&[(0, 1), (1, 1), (2, 1)]);
    assert_eq!(picks(&schedule, 0, 7), [0, 1, 2, 0, 1, 2, 0]);
    let same = Schedule::new(&[(0, 7), (1, 7), (2, 7)]);
    assert_eq!(picks(&same, 0, 7), [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn a_heavy_member_is_spread_over_the_cycle() {
    let schedule = Schedule::new(&[(0, 5), (1, 1), (2, 1)]);
    assert_eq!(picks(&schedule, 0, 7), [0, 0, 0, 1, 2, 0, 0]);
    let schedule = Schedule::new(&[(0, 2), (1, 1)]);
    assert_eq!(picks(&schedule, 0, 6), [0, 1, 0, 0, 1, 0]);
}

#[test]
fn nobody_to_pick() {
    assert_eq!(Schedule::new(&[]).pick(3, |_| true), None);
    assert_eq!(Schedule::new(&[(0, 1), (1, 9)]).pick(3, |_| false), None);
}

#[test]
fn a_light_member_is_found_when_the_heavy_one_is_out() {
    let schedule = Schedule::new(&[(0, 1000), (1, 1)]);
    for cursor in 0..1001 {
        assert_eq!(schedule.pick(cursor, |member| member != 0), Some(1), "cursor {cursor}");
    }
}

#[test]
fn huge_weights_stay_within_the_slots_and_leave_nobody_out() {
    let members: Vec<(u16, u32)> = (0..1024).map(|i| (i, if i == 0 { 1 } else { 997 })).collect();
    let schedule = Schedule::new(&members);
    assert!(schedule.slots.len() as u64 <= MAX_SLOTS + 1024);
    for (member, _) in members {
        assert!(schedule.slots.contains(&member), "{member}");
    }
}

fn members() -> impl Strategy<Value = Vec<(u16, u32)>> {
    prop::collection::vec(1u32..=1000, 1..20).prop_map(|weights| (0u16..).zip(weights).collect())
}

proptest! {
    #[test]
    fn each_cycle_gives_every_member_its_weight(members in members()) {
        let schedule = Schedule::new(&members);
        let total: u64 = members.iter().map(|&(_, weight)| u64::from(weight)).sum();
        let cycle = schedule.slots.len() as u64;
        for (member, weight) in members {
            let got = schedule.slots.iter().filter(|&&slot| slot == member).count() as u64;
            prop_assert_eq!(got * total, u64::from(weight) * cycle);
        }
    }

    #[test]
    fn in_any_window_a_member_is_at_most_one_and_a_bit_off_its_share(
        members in members(), start in 0usize..5000, len in 1usize..300,
    ) {
        let schedule = Schedule::new(&members);
        let n = schedule.slots.len();
        for (member, _) in &members {
            let share = schedule.slots.iter().filter(|&slot| slot == member).count() as f64 / n as f64;
            let got = (start..start + len).filter(|i| schedule.slots[i % n] == *member).count() as f64;
            prop_assert!((got - share * len as f64).abs() <= 2.0 + members.len() as f64 * share);
        }
    }

    #[test]
    fn whoever_accepts_is_found(members in members(), cursor in any::<usize>(), only in any::<prop::sample::Index>()) {
        let only = members[only.index(members.len())].0;
        let mut offered = 0;
        let picked = Schedule::new(&members).pick(cursor, |member| { offered += 1; member == only });
        prop_assert_eq!(picked, Some(only));
        prop_assert!(offered <= 2 * members.len());
    }
}
