//! The spelling of the JSON lines, which other programs parse, and of the text.

use std::collections::BTreeMap;

use super::{FailureCount, FailureKind, Interval, Latency, Line, Summary, TargetCount};

fn failures() -> BTreeMap<FailureKind, FailureCount> {
    let first_error = "http://a: 502 Bad Gateway: ".to_owned();
    BTreeMap::from([(FailureKind::Status5xx, FailureCount { count: 1, first_ms: 1500, first_error })])
}

fn interval() -> Interval {
    Interval {
        from_ms: 1000,
        to_ms: 2000,
        requests: 100,
        ok: 98,
        failed: 1,
        reconnects: 2,
        in_flight: 1,
        oldest_in_flight_ms: 700.5,
        slowest_ms: 12.25,
        sent_late_ms: 0.5,
        instances: BTreeMap::from([("host1/svc-11".to_owned(), 60), ("host2/svc-11".to_owned(), 38)]),
        failures: failures(),
    }
}

fn summary() -> Summary {
    Summary {
        duration_ms: 2000,
        requests: 200,
        ok: 198,
        failed: 1,
        unfinished: 1,
        reconnects: 2,
        latency: Some(Latency { p50_ms: 1.0, p99_ms: 2.0, p99_9_ms: 3.0, max_ms: 4.0 }),
        slowest_ms: 12.25,
        sent_late_ms: 0.5,
        instances: BTreeMap::from([("host1/svc-11".to_owned(), 198)]),
        failures: failures(),
        targets: BTreeMap::from([("http://a".to_owned(), TargetCount { ok: 198, failed: 1 })]),
    }
}

#[test]
fn json_of_an_interval() {
    let line = Line::Interval(interval());
    let golden = concat!(
        r#"{"type":"interval","from_ms":1000,"to_ms":2000,"requests":100,"ok":98,"failed":1,"reconnects":2,"#,
        r#""in_flight":1,"oldest_in_flight_ms":700.5,"slowest_ms":12.25,"sent_late_ms":0.5,"#,
        r#""instances":{"host1/svc-11":60,"host2/svc-11":38},"#,
        r#""failures":{"status_5xx":{"count":1,"first_ms":1500,"first_error":"http://a: 502 Bad Gateway: "}}}"#,
    );
    assert_eq!(serde_json::to_string(&line).expect("json"), golden);
    assert_eq!(serde_json::from_str::<Line>(golden).expect("a line"), line);
}

#[test]
fn json_of_a_summary() {
    let line = Line::Summary(summary());
    let golden = concat!(
        r#"{"type":"summary","duration_ms":2000,"requests":200,"ok":198,"failed":1,"unfinished":1,"reconnects":2,"#,
        r#""latency":{"p50_ms":1.0,"p99_ms":2.0,"p99_9_ms":3.0,"max_ms":4.0},"slowest_ms":12.25,"sent_late_ms":0.5,"#,
        r#""instances":{"host1/svc-11":198},"#,
        r#""failures":{"status_5xx":{"count":1,"first_ms":1500,"first_error":"http://a: 502 Bad Gateway: "}},"#,
        r#""targets":{"http://a":{"ok":198,"failed":1}}}"#,
    );
    assert_eq!(serde_json::to_string(&line).expect("json"), golden);
    assert_eq!(serde_json::from_str::<Line>(golden).expect("a line"), line);
}

#[test]
fn text() {
    assert_eq!(
        interval().to_string(),
        "   2 s  ok   98  failed   1  slowest    12.2 ms  waiting 1 for 700.5 ms  host1/svc-11 60, host2/svc-11 38  \
         [1 status_5xx: http://a: 502 Bad Gateway: ]"
    );
    let calm = Interval { to_ms: 1000, ..Interval::default() };
    assert_eq!(calm.to_string(), "   1 s  ok    0  failed   0  slowest     0.0 ms  nobody");
    assert_eq!(
        summary().to_string(),
        "200 requests in 2.0 s: 198 ok, 1 failed, 1 unfinished, 2 reconnects; slowest 12.2 ms\n  \
         latency: p50 1.0, p99 2.0, p99.9 3.0, max 4.0 ms\n  \
         answered by: host1/svc-11 198\n  \
         http://a: 198 ok, 1 failed\n  \
         1 status_5xx, first after 1500 ms: http://a: 502 Bad Gateway: "
    );
}

#[test]
fn kinds_have_one_spelling() {
    use FailureKind as K;
    for kind in [
        K::Connect,
        K::Timeout,
        K::Reset,
        K::Closed,
        K::Protocol,
        K::Status4xx,
        K::Status5xx,
        K::StatusOther,
        K::Invalid,
        K::Overrun,
        K::Local,
    ] {
        assert_eq!(serde_json::to_string(&kind).expect("json"), format!("{:?}", kind.as_str()));
    }
}
