use super::*;
use crate::report::FailureKind;

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ok(due: u64, latency: u64) -> Sample {
    Sample { due: millis(due), latency: millis(latency), failure: None }
}

fn steady(range: std::ops::Range<u64>) -> Vec<Sample> {
    range.step_by(10).map(|due| ok(due, 1)).collect()
}

#[test]
fn a_steady_stream_has_the_gap_of_its_rate() {
    let gap = longest_gap(&steady(0..1000), millis(100), millis(1000));
    assert_eq!(gap.length, millis(10));
}

#[test]
fn an_outage_is_from_the_last_success_to_the_next() {
    let samples = [steady(0..500), steady(800..1500)].concat();
    assert_eq!(
        longest_gap(&samples, millis(495), millis(1500)),
        Gap { from: millis(491), length: millis(310) }
    );
}

#[test]
fn failures_and_late_successes_do_not_shorten_it() {
    let mut samples = [steady(0..500), steady(800..2000)].concat();
    samples.push(Sample { due: millis(600), latency: millis(1), failure: Some(FailureKind::Connect) });
    // Its first packet was lost, and it was made a second later.
    samples.push(ok(500, 1001));
    assert_eq!(longest_gap(&samples, millis(495), millis(2000)).length, millis(310));
}

#[test]
fn what_was_before_does_not_count_and_what_never_ended_does() {
    let samples = [steady(0..100), steady(400..1000)].concat();
    assert_eq!(longest_gap(&samples, millis(500), millis(1000)).length, millis(10));
    assert_eq!(longest_gap(&samples, millis(900), millis(6000)).length, millis(5009));
    assert_eq!(longest_gap(&[], millis(1), millis(700)), Gap { from: millis(0), length: millis(700) });
}
