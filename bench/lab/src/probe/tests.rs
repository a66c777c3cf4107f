use std::collections::BTreeMap;

use bench::report::{FailureCount, FailureKind};

use super::*;

fn summary(ok: u64, failed: u64, unfinished: u64) -> Summary {
    let requests = ok + failed + unfinished;
    let instances = BTreeMap::from([("host1/svc-3".to_owned(), ok)]);
    Summary { requests, ok, failed, unfinished, instances, slowest_ms: 12.4, ..Summary::default() }
}

#[test]
fn failed_and_unfinished_requests_count_alike() {
    assert!(expect_none_failed(&summary(10, 0, 0)).is_ok());
    assert!(expect_none_failed(&summary(10, 1, 0)).is_err());
    assert!(expect_none_failed(&summary(10, 0, 1)).is_err());
    assert_eq!(brief(&summary(10, 1, 1)), "2 of 12 requests failed, slowest 12 ms");
}

#[test]
fn no_request_at_all_is_no_success() {
    assert!(expect_none_failed(&Summary::default()).is_err());
}

#[test]
fn the_first_failure_is_told() {
    let failure = |first_ms, text: &str| FailureCount { count: 1, first_ms, first_error: text.to_owned() };
    let failures = BTreeMap::from([
        (FailureKind::Connect, failure(700, "refused")),
        (FailureKind::Timeout, failure(300, "timed out")),
    ]);
    let error =
        expect_none_failed(&Summary { failures, ..summary(1, 2, 0) }).expect_err("failed").to_string();
    assert_eq!(error, "2 of 3 requests failed, first timed out");
}

#[test]
fn a_missing_and_a_strange_instance_are_both_wrong() {
    let summary = summary(10, 0, 0);
    assert!(expect_instances(&summary, ["host1/svc-3"].into_iter()).is_ok());
    assert!(expect_instances(&summary, ["host1/svc-3", "host2/svc-3"].into_iter()).is_err());
    assert!(expect_instances(&summary, ["host2/svc-3"].into_iter()).is_err());
}
