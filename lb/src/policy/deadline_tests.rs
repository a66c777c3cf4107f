use std::time::Duration;

use proptest::prelude::*;

use super::{BUCKETS, FirstByte, LONGEST_US, SHORTEST_US, index_of, upper_end_us};

const MIN_MS: u64 = 25;
const MAX_MS: u64 = 1000;

fn first_byte() -> FirstByte {
    FirstByte::new(MIN_MS, MAX_MS, 300)
}

/// One refresh interval with so many attempts at a service that takes so long. Answers how many responses got
/// through before the deadline.
fn tick(first_byte: &FirstByte, attempts: u32, service: Duration) -> u32 {
    let deadline = first_byte.deadline();
    for _ in 0..attempts {
        first_byte.record(service.min(deadline));
    }
    first_byte.refresh();
    if service < deadline { attempts } else { 0 }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn buckets_are_narrow_and_cover_all() {
    let mut before = 0;
    for us in (SHORTEST_US..100_000).chain((100_000..LONGEST_US).step_by(997)) {
        let end = upper_end_us(index_of(us));
        assert!(end > u64::from(us), "{us} is above the end of its bucket, {end}");
        assert!(
            (end - u64::from(us)) * 100 <= u64::from(us) * 6,
            "{us} is in a wide bucket that ends at {end}"
        );
        assert!(index_of(us) >= before);
        before = index_of(us);
    }
    assert_eq!(index_of(0), index_of(SHORTEST_US));
    assert_eq!(index_of(u32::MAX), BUCKETS - 1);
}

#[test]
fn the_maximum_until_something_is_known() {
    let first_byte = first_byte();
    for _ in 0..19 {
        assert_eq!(first_byte.deadline(), ms(MAX_MS));
        tick(&first_byte, 1, ms(1));
    }
    assert_eq!(first_byte.deadline(), ms(MAX_MS));
    tick(&first_byte, 1, ms(1));
    assert_eq!(first_byte.deadline(), ms(MIN_MS));
}

#[test]
fn a_multiple_of_the_99th_percentile() {
    let first_byte = first_byte();
    for _ in 0..100 {
        for n in 0..1000 {
            first_byte.record(if n < 985 { ms(10) } else { ms(40) });
        }
        first_byte.refresh();
    }
    let deadline = first_byte.deadline();
    assert!(deadline >= ms(120) && deadline <= ms(124), "{deadline:?}");
}

#[test]
fn one_slow_answer_in_two_hundred_does_not_count() {
    let first_byte = first_byte();
    for _ in 0..100 {
        tick(&first_byte, 199, ms(1));
        tick(&first_byte, 1, ms(900));
    }
    assert_eq!(first_byte.deadline(), ms(MIN_MS));
}

#[test]
fn a_service_that_becomes_slow_gets_through_again_and_the_deadline_comes_back() {
    for per_tick in [1, 5, 50, 500] {
        let first_byte = first_byte();
        for _ in 0..100 {
            tick(&first_byte, per_tick, ms(1));
        }
        assert_eq!(first_byte.deadline(), ms(MIN_MS));
        let ticks = (1..).find(|_| tick(&first_byte, per_tick, ms(200)) > 0).unwrap();
        assert!(ticks <= 4, "{ticks} refreshes until a response of 200 ms got through");
        for _ in 0..30 {
            tick(&first_byte, per_tick, ms(200));
        }
        let deadline = first_byte.deadline();
        assert!(deadline >= ms(600) && deadline <= ms(620), "{deadline:?}");
        let back = (1..).find(|_| {
            tick(&first_byte, per_tick, ms(1));
            first_byte.deadline() == ms(MIN_MS)
        });
        assert!(back.unwrap() <= 70, "{back:?} refreshes until the deadline was back");
    }
}

#[test]
fn silence_teaches_nothing() {
    let first_byte = first_byte();
    for _ in 0..100 {
        tick(&first_byte, 50, ms(30));
    }
    let before = first_byte.deadline();
    for _ in 0..100_000 {
        first_byte.refresh();
    }
    assert_eq!(first_byte.deadline(), before);
    assert!(before > ms(89) && before < ms(95), "{before:?}");
}

#[test]
fn other_bounds_are_in_force_at_once() {
    let first_byte = first_byte();
    for _ in 0..100 {
        tick(&first_byte, 50, ms(100));
    }
    first_byte.reconfigure(25, 150, 300);
    assert_eq!(first_byte.deadline(), ms(150));
    first_byte.reconfigure(500, 1000, 300);
    assert_eq!(first_byte.deadline(), ms(500));
    first_byte.reconfigure(500, 70, 300);
    assert_eq!(first_byte.deadline(), ms(70), "the maximum is the stricter one");
}

#[test]
fn no_sample_is_lost_between_threads() {
    let first_byte = first_byte();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..10_000).for_each(|_| first_byte.record(ms(5))));
        }
        for _ in 0..100 {
            first_byte.refresh();
        }
    });
    first_byte.refresh();
    assert_eq!(first_byte.state.lock().unwrap().samples, 20_000);
}

proptest! {
    #[test]
    fn never_out_of_bounds(
        min_ms in 0u64..2000,
        more in 0u64..2000,
        percent in 0u32..10_000,
        samples in prop::collection::vec(0u64..100_000_000, 0..200),
    ) {
        let (min, max) = (ms(min_ms), ms(min_ms + more));
        let first_byte = FirstByte::new(min_ms, min_ms + more, percent);
        for batch in samples.chunks(7) {
            prop_assert!((min..=max).contains(&first_byte.deadline()));
            batch.iter().for_each(|&us| first_byte.record(Duration::from_micros(us)));
            first_byte.refresh();
        }
        prop_assert!((min..=max).contains(&first_byte.deadline()));
    }
}
