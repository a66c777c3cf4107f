use proptest::prelude::*;

use super::{Budget, KEPT_SECONDS};

/// How many retries are granted when as many are asked for as can be.
fn drain(budget: &mut Budget, now_ms: u64, requests: u64) -> u64 {
    (0..).take_while(|_| budget.withdraw(now_ms, requests)).count() as u64
}

#[test]
fn in_the_long_run_it_grants_its_share_and_the_minimum() {
    for (percent, min_per_second, per_second) in [(20, 0, 500), (20, 10, 500), (0, 10, 500), (100, 1, 3)] {
        let mut budget = Budget::new(percent, min_per_second, 0);
        let seconds = 600;
        let granted: u64 =
            (1..=seconds * 10).map(|tick| drain(&mut budget, tick * 100, tick * per_second / 10)).sum();
        let share = seconds * per_second * u64::from(percent) / 100;
        let expected = share + (seconds + KEPT_SECONDS) * u64::from(min_per_second);
        assert!(granted.abs_diff(expected) <= 1, "{granted}, not {expected}");
    }
}

#[test]
fn the_minimum_is_there_at_once() {
    let mut budget = Budget::new(20, 3, 7000);
    assert_eq!(drain(&mut budget, 7000, 0), 30);
    assert_eq!(drain(&mut budget, 7333, 0), 0);
    assert_eq!(drain(&mut budget, 7334, 0), 1);
}

#[test]
fn a_burst_gets_no_more_than_ten_seconds_worth() {
    let mut budget = Budget::new(20, 5, 0);
    // An hour of 100 requests/s, in which nothing was retried.
    let granted = drain(&mut budget, 3_600_000, 360_000);
    assert!((240..=250).contains(&granted), "{granted}: 10 s of 20 and of 5 per second");
    assert_eq!(drain(&mut budget, 3_600_000, 360_000), 0);
    // Then an hour of silence, which is worth the minimum.
    assert_eq!(drain(&mut budget, 7_200_000, 360_000), 50);
}

#[test]
fn looking_often_or_seldom_makes_less_than_a_seconds_difference() {
    let mut seldom = Budget::new(20, 5, 0);
    let mut often = seldom.clone();
    for tick in 1..=600_000 {
        often.deposit(tick * 10, tick);
    }
    let (seldom, often) = (drain(&mut seldom, 6_000_000, 600_000), drain(&mut often, 6_000_000, 600_000));
    assert!(seldom.abs_diff(often) <= 25, "{seldom} {often}");
}

#[test]
fn a_clock_that_stands_still_or_goes_back_deposits_no_time() {
    let mut budget = Budget::new(10, 1, 5000);
    assert_eq!(drain(&mut budget, 5000, 0), 10);
    assert_eq!(drain(&mut budget, 5000, 50), 5, "requests count all the same");
    assert_eq!(drain(&mut budget, 0, 50), 0);
    assert_eq!(drain(&mut budget, 5000, 50), 0, "the way back was not in vain twice");
    assert_eq!(drain(&mut budget, 6000, 50), 1);
}

#[test]
fn a_total_that_wraps_goes_on_and_one_that_restarts_deposits_nothing() {
    let mut budget = Budget::new(100, 0, 0);
    drain(&mut budget, 0, u64::MAX - 4);
    assert_eq!(drain(&mut budget, 0, 5), 10);
    drain(&mut budget, 0, 1_000_000);
    assert_eq!(drain(&mut budget, 0, 3), 0);
    assert_eq!(drain(&mut budget, 0, 7), 4);
}

#[test]
fn another_size_is_in_force_at_once() {
    let mut budget = Budget::new(0, 100, 0);
    budget.reconfigure(0, 1);
    assert_eq!(drain(&mut budget, 0, 0), 10);
    budget.reconfigure(50, 1);
    assert_eq!(drain(&mut budget, 0, 100), 50);
}

proptest! {
    #[test]
    fn never_more_than_was_deposited(
        percent in 0u32..200,
        min_per_second in 0u32..50,
        steps in prop::collection::vec((0u64..30_000, 0u64..1000, 0u64..100), 1..60),
    ) {
        let mut budget = Budget::new(percent, min_per_second, 0);
        let (mut now_ms, mut requests, mut granted) = (0, 0, 0);
        for (wait_ms, more, wanted) in steps {
            now_ms += wait_ms;
            requests += more;
            granted += (0..wanted).filter(|_| budget.withdraw(now_ms, requests)).count() as u64;
            let reserve = u64::from(min_per_second) * (KEPT_SECONDS * 1000 + now_ms) / 1000;
            prop_assert!(granted <= reserve + requests * u64::from(percent) / 100 + 1);
        }
    }

    #[test]
    fn no_input_breaks_it(
        size: (u32, u32), begin: u64, steps in prop::collection::vec(any::<(u64, u64)>(), 1..20),
    ) {
        let mut budget = Budget::new(size.0, size.1, begin);
        for (now_ms, requests) in steps {
            budget.withdraw(now_ms, requests);
        }
    }
}
