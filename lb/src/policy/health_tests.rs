use proptest::prelude::*;

use super::{Health, Limits};

const LIMITS: Limits = Limits { max_fails: 3, fail_timeout_ms: 1000 };

fn ejected_at(now_ms: u64) -> Health {
    let mut health = Health::default();
    assert!(!health.failed(now_ms, &LIMITS));
    assert!(!health.failed(now_ms, &LIMITS));
    assert!(health.failed(now_ms, &LIMITS));
    health
}

#[test]
fn it_is_ejected_by_as_many_failures_as_the_limit() {
    let health = ejected_at(5);
    assert!(health.is_ejected(&LIMITS));
    assert!(!health.is_available(5, &LIMITS) && !health.is_available(1004, &LIMITS));
    assert!(health.is_available(1005, &LIMITS));
}

#[test]
fn one_probe_per_fail_timeout() {
    let mut health = ejected_at(0);
    health.chosen(1500, &LIMITS);
    assert!(!health.is_available(1500, &LIMITS) && !health.is_available(2499, &LIMITS));
    assert!(health.is_available(2500, &LIMITS), "the first probe was lost");
    health.chosen(2500, &LIMITS);
    assert!(!health.failed(2600, &LIMITS), "it was ejected before");
    assert!(!health.is_available(3599, &LIMITS) && health.is_available(3600, &LIMITS));
    health.chosen(3600, &LIMITS);
    assert!(health.succeeded(3700, &LIMITS));
    assert!(health.is_clean() && health.is_available(3700, &LIMITS));
    assert!(!health.succeeded(3700, &LIMITS), "it is back already");
}

#[test]
fn a_request_from_before_the_ejection_does_not_end_it() {
    let mut health = ejected_at(100);
    assert!(!health.succeeded(100, &LIMITS) && !health.succeeded(5000, &LIMITS));
    assert!(health.is_ejected(&LIMITS));
    health.chosen(5000, &LIMITS);
    assert!(!health.failed(5000, &LIMITS));
    assert!(!health.succeeded(5000, &LIMITS), "the probe is what failed");
    assert!(health.is_ejected(&LIMITS));
}

#[test]
fn a_choice_for_want_of_others_is_a_probe_too() {
    let mut health = ejected_at(100);
    health.chosen(100, &LIMITS);
    assert!(health.succeeded(100, &LIMITS));
    assert!(health.is_available(100, &LIMITS));
}

#[test]
fn failures_are_forgotten_after_fail_timeout_and_not_by_a_success_before() {
    let mut health = Health::default();
    health.failed(0, &LIMITS);
    health.failed(999, &LIMITS);
    assert!(!health.succeeded(1500, &LIMITS), "it was not ejected");
    assert!(!health.is_clean());
    assert!(!health.failed(1999, &LIMITS), "these are failures in another window");
    assert!(!health.failed(2000, &LIMITS));
    assert!(health.failed(2998, &LIMITS));

    let mut health = Health::default();
    health.failed(0, &LIMITS);
    health.succeeded(1000, &LIMITS);
    assert!(health.is_clean());
}

#[test]
fn nobody_is_ejected_without_a_limit_or_a_duration() {
    let never = Limits { max_fails: 0, fail_timeout_ms: 1000 };
    let at_once = Limits { max_fails: 1, fail_timeout_ms: 0 };
    let (mut first, mut second) = (Health::default(), Health::default());
    for now_ms in 0..100 {
        assert!(!first.failed(now_ms, &never));
        assert!(first.is_available(now_ms, &never));
        second.failed(now_ms, &at_once);
        assert!(second.is_available(now_ms, &at_once));
    }
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    let mut health = ejected_at(5000);
    assert!(!health.is_available(0, &LIMITS));
    health.chosen(0, &LIMITS);
    assert!(!health.is_available(999, &LIMITS));
    assert!(health.is_available(1000, &LIMITS), "it goes on from where it is");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    Choose,
    Fail,
    Succeed,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0u64..1500).prop_map(Step::Wait),
        Just(Step::Choose),
        Just(Step::Fail),
        Just(Step::Succeed),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn laws(steps in steps(), max_fails in 1u32..5) {
        let limits = Limits { max_fails, fail_timeout_ms: 1000 };
        let mut health = Health::default();
        let mut now_ms = 0;
        // Since the last forgetting, as far as an onlooker can tell: times of failures in a row.
        let mut failures: Vec<u64> = Vec::new();
        let mut probed_ms: Option<u64> = None;
        for step in steps {
            let was_ejected = health.is_ejected(&limits);
            match step {
                Step::Wait(ms) => now_ms += ms,
                Step::Choose if health.is_available(now_ms, &limits) => {
                    if was_ejected && let Some(before) = probed_ms.replace(now_ms) {
                        prop_assert!(now_ms - before >= 1000, "two probes in one fail_timeout");
                    }
                    health.chosen(now_ms, &limits);
                }
                Step::Choose => {}
                Step::Fail => {
                    let became = health.failed(now_ms, &limits);
                    failures.push(now_ms);
                    prop_assert_eq!(became, !was_ejected && health.is_ejected(&limits));
                    let recent = failures.iter().rev().take(max_fails as usize);
                    let oldest = recent.clone().next_back().copied().unwrap_or(0);
                    if recent.len() == max_fails as usize && now_ms - oldest < 1000 {
                        prop_assert!(health.is_ejected(&limits), "too many failures in one fail_timeout");
                    }
                }
                Step::Succeed => {
                    let back = health.succeeded(now_ms, &limits);
                    prop_assert_eq!(back, was_ejected && !health.is_ejected(&limits));
                    if health.is_clean() {
                        failures.clear();
                        probed_ms = None;
                    }
                }
            }
            prop_assert!(health.is_ejected(&limits) || health.is_available(now_ms, &limits));
        }
    }
}
