use bench::report::FailureKind;

use super::*;

const fn at(due_ms: u64, fails: bool) -> Sample {
    Sample {
        due: Duration::from_millis(due_ms),
        latency: Duration::from_millis(4),
        failure: if fails { Some(FailureKind::Timeout) } else { None },
    }
}

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

#[test]
fn failures_are_forgiven_within_their_time_and_number_only() {
    let samples = [at(0, false), at(1_000, true), at(1_500, true), at(3_000, false)];
    judge(&samples, ms(1_000), ms(1_500), 2).expect("within both");
    let error = judge(&samples, ms(1_000), ms(1_499), 2).expect_err("one too late").to_string();
    assert!(error.contains("1 requests failed that were not due from 1.0 to 1.5 s"), "{error}");
    judge(&samples, ms(1_001), ms(1_500), 2).expect_err("one too early");
    let error = judge(&samples, ms(0), ms(9_000), 1).expect_err("too many").to_string();
    assert!(error.contains("2 of 4 requests failed, at most 1"), "{error}");
}

#[test]
fn nobody_served_is_a_failure_however_it_came() {
    judge(&[], ms(0), ms(1), 5).expect_err("no requests");
    judge(&[at(0, true)], ms(0), ms(1), 5).expect_err("none served");
    judge(&[at(0, false)], ms(0), ms(0), 0).expect("all well");
}
