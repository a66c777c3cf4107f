use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::{Schedule, phase};

const SECOND: Duration = Duration::from_secs(1);

fn members(keys: impl IntoIterator<Item = u64>) -> Vec<(u64, ())> {
    keys.into_iter().map(|key| (key, ())).collect()
}

/// Whose check is due when, over so long a time, with checks that take no time.
fn run(schedule: &mut Schedule<()>, from: Instant, until: Instant) -> Vec<(Duration, u64)> {
    let mut all = Vec::new();
    while let Some(due) = schedule.next_due().filter(|due| *due < until) {
        let (key, was_due, ()) = schedule.take(due).unwrap();
        assert_eq!(was_due, due);
        schedule.put_back(due, key, due, ());
        all.push((due - from, key));
    }
    all
}

#[test]
fn everyone_is_asked_once_in_an_interval_evenly_spread() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(SECOND);
    schedule.update(begin, members(1..=100), drop);
    let first = run(&mut schedule, begin, begin + SECOND);
    let mut keys: Vec<u64> = first.iter().map(|(_, key)| *key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (1..=100).collect::<Vec<_>>());
    for tenth in 0..10 {
        let from = SECOND / 10 * tenth;
        let n = first.iter().filter(|(at, _)| (from..from + SECOND / 10).contains(at)).count();
        assert!((8..=12).contains(&n), "{n} in the tenth {tenth}");
    }
    let second = run(&mut schedule, begin + SECOND, begin + SECOND * 2);
    assert_eq!(second, first, "the beat stays");
}

#[test]
fn a_large_set_has_a_slower_beat() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(Duration::from_millis(10));
    schedule.update(begin, members(1..=16_384), drop);
    assert_eq!(schedule.beat(), Duration::from_millis(8192));
    let n = run(&mut schedule, begin, begin + SECOND * 5).len();
    assert!((9_900..=10_100).contains(&n), "{n} in 5 seconds");
    schedule.update(begin, members(1..=10), drop);
    assert_eq!(schedule.beat(), Duration::from_millis(10));
}

#[test]
fn who_is_away_is_neither_due_nor_asked_twice() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(SECOND);
    schedule.update(begin, members([1]), drop);
    let (key, due, ()) = schedule.take(begin + SECOND).unwrap();
    assert_eq!(schedule.next_due(), None);
    schedule.update(begin, members([1]), |()| panic!("it is not new"));
    let late = due + SECOND * 3;
    schedule.put_back(late, key, due, ());
    assert_eq!(schedule.next_due(), Some(late), "it does not catch up");
    let (key, due, ()) = schedule.take(late).unwrap();
    schedule.update(begin, members([2]), drop);
    schedule.put_back(late, key, due, ());
    assert_eq!(schedule.waiting.len(), 1, "it is no member any more");
}

#[test]
fn nothing_is_due_before_its_time() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(SECOND);
    assert!(schedule.take(begin + SECOND).is_none());
    schedule.update(begin, members([1]), drop);
    let due = schedule.next_due().unwrap();
    assert!(schedule.take(due - Duration::from_nanos(1)).is_none());
    assert!(schedule.take(due).is_some());
}

proptest! {
    #[test]
    fn the_phase_is_within_the_beat(key: u64, nanos in 1u64..4_000_000_000_000_000) {
        let beat = Duration::from_nanos(nanos);
        prop_assert!(phase(key, beat) < beat);
    }
}
