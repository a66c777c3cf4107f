use proptest::prelude::*;

use super::{Connection, Failure, Progress, Rules, Stop, may_repeat, may_retry};

fn rules() -> Rules {
    Rules { max_attempts: 3, budget_ms: 1000, statuses: vec![502, 503, 504], wrap: false }
}

const FRESH: Progress =
    Progress { idempotent: true, replayable: true, response_begun: false, attempts: 1, elapsed_ms: 10 };

const FAILURES: [Failure; 6] = [
    Failure::ConnectError,
    Failure::ConnectTimeout,
    Failure::Reset,
    Failure::Timeout,
    Failure::BadResponse,
    Failure::Status(503),
];

#[test]
fn the_table() {
    use Failure::{BadResponse, ConnectError, ConnectTimeout, Reset, Status, Timeout};
    let get = FRESH;
    let post = Progress { idempotent: false, ..FRESH };
    let large_put = Progress { replayable: false, ..FRESH };
    let large_post = Progress { replayable: false, ..post };
    let begun = Progress { response_begun: true, ..FRESH };
    let last = Progress { attempts: 3, ..FRESH };
    let late = Progress { elapsed_ms: 1000, ..FRESH };
    let rows = [
        (ConnectError, true),
        (ConnectTimeout, true),
        (Reset, false),
        (Timeout, false),
        (BadResponse, false),
        (Status(502), false),
        (Status(503), false),
        (Status(504), false),
    ];
    for (failure, nothing_sent) in rows {
        let unless_sent = |stop| if nothing_sent { Ok(()) } else { Err(stop) };
        assert_eq!(may_retry(failure, get, &rules()), Ok(()), "{failure:?}");
        assert_eq!(may_retry(failure, post, &rules()), unless_sent(Stop::NotIdempotent), "{failure:?}");
        assert_eq!(
            may_retry(failure, large_put, &rules()),
            unless_sent(Stop::BodyNotReplayable),
            "{failure:?}"
        );
        assert_eq!(may_retry(failure, large_post, &rules()), unless_sent(Stop::NotIdempotent), "{failure:?}");
        assert_eq!(may_retry(failure, begun, &rules()), Err(Stop::ResponseBegun), "{failure:?}");
        assert_eq!(may_retry(failure, last, &rules()), Err(Stop::Attempts), "{failure:?}");
        assert_eq!(may_retry(failure, late, &rules()), Err(Stop::Budget), "{failure:?}");
    }
    for status in [200, 404, 500, 501, 505] {
        assert_eq!(may_retry(Status(status), get, &rules()), Err(Stop::NotAFailure), "{status}");
    }
}

#[test]
fn one_attempt_means_no_retry() {
    let rules = Rules { max_attempts: 1, ..rules() };
    for failure in FAILURES {
        assert_eq!(may_retry(failure, FRESH, &rules), Err(Stop::Attempts), "{failure:?}");
    }
}

#[test]
fn only_a_silent_break_of_a_pooled_connection_is_repeated_and_once() {
    for failure in FAILURES {
        for connection in [Connection::New, Connection::Pooled, Connection::Heard] {
            for repeated in [false, true] {
                let row = (failure, connection, repeated);
                let expected = row == (Failure::Reset, Connection::Pooled, false);
                assert_eq!(may_repeat(failure, connection, repeated), expected, "{row:?}");
            }
        }
    }
}

fn progress() -> impl Strategy<Value = Progress> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 1u32..6, 0u64..3000).prop_map(
        |(idempotent, replayable, response_begun, attempts, elapsed_ms)| Progress {
            idempotent,
            replayable,
            response_begun,
            attempts,
            elapsed_ms,
        },
    )
}

proptest! {
    #[test]
    fn never_unsafe(index in 0..FAILURES.len(), progress in progress()) {
        let failure = FAILURES[index];
        if may_retry(failure, progress, &rules()).is_ok() {
            prop_assert!(!progress.response_begun);
            prop_assert!(progress.attempts < 3 && progress.elapsed_ms < 1000);
            prop_assert!(failure.before_request() || (progress.idempotent && progress.replayable));
        }
    }

    #[test]
    fn less_progress_never_forbids(index in 0..FAILURES.len(), progress in progress()) {
        if may_retry(FAILURES[index], progress, &rules()).is_ok() {
            let easier = Progress { attempts: 1, elapsed_ms: 0, idempotent: true, replayable: true, ..progress };
            prop_assert_eq!(may_retry(FAILURES[index], easier, &rules()), Ok(()));
        }
    }
}
