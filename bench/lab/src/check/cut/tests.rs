use std::collections::BTreeMap;

use super::*;

fn second(ok: u64, failed: u64) -> Interval {
    Interval {
        ok,
        failed,
        instances: BTreeMap::from([("host1/svc-3".to_owned(), ok)]),
        ..Interval::default()
    }
}

fn seconds(failed: [u64; SECONDS]) -> Vec<Interval> {
    failed.iter().map(|failed| second(100 - failed, *failed)).collect()
}

#[test]
fn answers_in_every_second_and_early_failures_are_well() {
    let shown = judge(&seconds([7, 0, 2, 0, 0, 0]), "host1").expect("well");
    assert_eq!(shown, "answers in each second 93 100 98 100 100 100, failures 7 0 2 0 0 0");
}

#[test]
fn a_single_second_without_answers_is_found() {
    let mut seconds = seconds([0; SECONDS]);
    seconds[1] = second(0, 0);
    let error = judge(&seconds, "host1").expect_err("a pause").to_string();
    assert!(error.contains("no answer in second 2"), "{error}");
}

#[test]
fn a_late_failure_is_found() {
    let error = judge(&seconds([9, 9, 9, 1, 0, 0]), "host1").expect_err("a failure").to_string();
    assert!(error.contains("requests fail in second 4"), "{error}");
}

#[test]
fn an_answer_from_behind_the_cut_is_found() {
    let mut seconds = seconds([0; SECONDS]);
    seconds[5].instances.insert("host2/svc-3".to_owned(), 1);
    let error = judge(&seconds, "host1").expect_err("no cut").to_string();
    assert!(error.contains("host2/svc-3") && error.contains("second 6"), "{error}");
    assert!(judge(&seconds[..5], "host1").is_err(), "a second is missing");
}
