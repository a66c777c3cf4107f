//! The watchdog's every verdict, and how a connection counts as busy.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Activity, OpenRequest, Shared, Verdict, judge};

const HEAD: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(60);

#[test]
fn verdicts() {
    let t0 = Instant::now();
    let at = |seconds| t0 + Duration::from_secs(seconds);
    let cases = [
        (Activity::Idle(t0), 0, Verdict::LookAt(at(5))),
        (Activity::Idle(t0), 58, Verdict::LookAt(at(60))),
        (Activity::Idle(t0), 60, Verdict::Idle),
        (Activity::Idle(at(30)), 60, Verdict::LookAt(at(65))),
        (Activity::Head(t0), 0, Verdict::LookAt(at(5))),
        (Activity::Head(at(3)), 5, Verdict::LookAt(at(8))),
        (Activity::Head(at(3)), 8, Verdict::SlowHead),
        (Activity::Request, 100, Verdict::LookAt(at(105))),
        (Activity::Stream, 100, Verdict::LookAt(at(105))),
    ];
    for (activity, now, expected) in cases {
        assert_eq!(judge(activity, at(now), HEAD, IDLE), expected, "{activity:?} at {now} s");
    }
}

#[test]
fn an_idle_timeout_below_the_head_timeout_is_kept() {
    let t0 = Instant::now();
    let idle = Duration::from_secs(2);
    assert_eq!(judge(Activity::Idle(t0), t0, HEAD, idle), Verdict::LookAt(t0 + idle));
}

#[test]
fn a_connection_is_busy_until_it_streams_or_ends() {
    let busy = watch::Sender::new(0);
    let first = Shared::new(busy.clone());
    let second = Shared::new(busy.clone());
    assert_eq!(*busy.borrow(), 2);
    let request = OpenRequest::begin(&first);
    assert_eq!(first.get(), Activity::Request);
    request.becomes_stream();
    request.becomes_stream();
    drop(request);
    assert_eq!((first.get(), *busy.borrow()), (Activity::Stream, 1));
    drop(OpenRequest::begin(&second));
    assert!(matches!(second.get(), Activity::Idle(_)));
    drop((first, second));
    assert_eq!(*busy.borrow(), 0);
}
