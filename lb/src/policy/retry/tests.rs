use proptest::prelude::*;

use super::{
    Condition, Conditions, Connection, Failure, InvalidConditions, Progress, Rules, Stop, counts_as_fail,
    is_failure_status, may_repeat, may_retry, may_wrap, needs_budget,
};

const FAILURES: [Failure; 17] = [
    Failure::ConnectError,
    Failure::ConnectTimeout,
    Failure::Reset,
    Failure::Timeout,
    Failure::FirstByteTimeout,
    Failure::BadResponse,
    Failure::Cut,
    Failure::Status(403),
    Failure::Status(404),
    Failure::Status(429),
    Failure::Status(500),
    Failure::Status(502),
    Failure::Status(503),
    Failure::Status(504),
    Failure::Status(200),
    Failure::Status(501),
    Failure::Status(505),
];

const FRESH: Progress = Progress {
    idempotent: true,
    nothing_sent: false,
    replayable: true,
    response_begun: false,
    attempts: 1,
    elapsed_ms: 10,
};

fn on(words: &str) -> Rules {
    let conditions: Vec<Condition> = words.split(' ').map(|word| word.parse().unwrap()).collect();
    Rules { on: Conditions::new(&conditions).unwrap(), ..Rules::default() }
}

/// The failures that a word alone makes retried, written down a second time, and by hand.
fn listed_by(word: &str) -> Vec<Failure> {
    let mut failures = match word {
        "error" => vec![Failure::ConnectError, Failure::Reset],
        "timeout" => vec![Failure::ConnectTimeout, Failure::Timeout, Failure::FirstByteTimeout],
        "invalid_header" => vec![Failure::BadResponse],
        "http_403" => vec![Failure::Status(403)],
        "http_404" => vec![Failure::Status(404)],
        "http_429" => vec![Failure::Status(429)],
        "http_500" => vec![Failure::Status(500)],
        "http_502" => vec![Failure::Status(502)],
        "http_503" => vec![Failure::Status(503)],
        "http_504" => vec![Failure::Status(504)],
        "non_idempotent" => vec![],
        "off" => return vec![],
        _ => panic!("no expectation for {word}"),
    };
    failures.push(Failure::Cut);
    failures
}

#[test]
fn every_failure_under_every_condition_in_every_state() {
    let mut retried = 0;
    for condition in Condition::ALL {
        let word = condition.as_str();
        for failure in FAILURES {
            for bits in 0..32u32 {
                let bit = |n: u32| bits >> n & 1 == 1;
                let progress = Progress {
                    idempotent: bit(0),
                    nothing_sent: bit(1),
                    replayable: bit(2),
                    response_begun: bit(3),
                    ..FRESH
                };
                let rules = Rules { non_idempotent: bit(4), ..on(word) };
                let nothing_sent =
                    bit(1) || matches!(failure, Failure::ConnectError | Failure::ConnectTimeout);
                let twice_is_fine = bit(0) || bit(4) || word == "non_idempotent";
                let expected = if !listed_by(word).contains(&failure) {
                    Err(Stop::NotListed)
                } else if bit(3) {
                    Err(Stop::ResponseBegun)
                } else if !nothing_sent && !twice_is_fine {
                    Err(Stop::NotIdempotent)
                } else if !nothing_sent && !bit(2) {
                    Err(Stop::BodyNotReplayable)
                } else {
                    Ok(())
                };
                assert_eq!(may_retry(failure, progress, &rules), expected, "{failure:?} {word} {progress:?}");
                retried += u32::from(expected.is_ok());
            }
        }
    }
    assert!(retried > 100, "{retried}");
}

#[test]
fn the_defaults() {
    let rules = Rules::default();
    let retried = [
        Failure::ConnectError,
        Failure::ConnectTimeout,
        Failure::Reset,
        Failure::Timeout,
        Failure::FirstByteTimeout,
        Failure::BadResponse,
        Failure::Cut,
        Failure::Status(502),
        Failure::Status(503),
        Failure::Status(504),
    ];
    for failure in FAILURES {
        let expected = if retried.contains(&failure) { Ok(()) } else { Err(Stop::NotListed) };
        assert_eq!(may_retry(failure, FRESH, &rules), expected, "{failure:?}");
    }
    let post = Progress { idempotent: false, ..FRESH };
    assert_eq!(may_retry(Failure::Reset, post, &rules), Err(Stop::NotIdempotent));
    let listed = on("error non_idempotent");
    assert_eq!(may_retry(Failure::Reset, post, &listed), Ok(()));
}

#[test]
fn tries_and_time_are_limits_only_if_set() {
    for failure in [Failure::ConnectError, Failure::Cut, Failure::Status(503)] {
        let retry = |attempts, elapsed_ms, tries, timeout_ms| {
            let rules = Rules { tries, timeout_ms, ..Rules::default() };
            may_retry(failure, Progress { attempts, elapsed_ms, ..FRESH }, &rules)
        };
        assert_eq!(retry(u32::MAX, u64::MAX, 0, 0), Ok(()));
        assert_eq!(retry(1, 0, 1, 0), Err(Stop::Tries));
        assert_eq!(retry(2, 0, 3, 0), Ok(()));
        assert_eq!(retry(3, 0, 3, 0), Err(Stop::Tries));
        assert_eq!(retry(1, 999, 0, 1000), Ok(()));
        assert_eq!(retry(1, 1000, 0, 1000), Err(Stop::Time));
    }
    assert!(!may_wrap(&Rules::default()));
    assert!(may_wrap(&Rules { tries: 2, ..Rules::default() }));
}

#[test]
fn what_ejects() {
    for condition in Condition::ALL {
        let rules = on(condition.as_str());
        for failure in FAILURES {
            let expected = match failure {
                Failure::Cut | Failure::Status(403 | 404 | 200 | 501 | 505) => false,
                Failure::Status(status) => condition.as_str() == format!("http_{status}"),
                _ => true,
            };
            assert_eq!(counts_as_fail(failure, &rules), expected, "{failure:?} {condition}");
        }
    }
}

#[test]
fn a_status_is_a_failure_only_if_listed() {
    for condition in Condition::ALL {
        for status in 100..=599 {
            let expected = condition.as_str() == format!("http_{status}");
            assert_eq!(is_failure_status(status, &on(condition.as_str())), expected, "{status} {condition}");
        }
    }
}

#[test]
fn what_the_budget_pays_for() {
    for failure in FAILURES {
        let free =
            [Failure::ConnectError, Failure::ConnectTimeout, Failure::Cut, Failure::Reset].contains(&failure);
        assert_eq!(needs_budget(failure), !free, "{failure:?}");
    }
}

#[test]
fn words() {
    for condition in Condition::ALL {
        assert_eq!(condition.as_str().parse(), Ok(condition));
        assert_eq!(condition.to_string(), condition.as_str());
        let set = Conditions::new(&[condition]).unwrap();
        for other in Condition::ALL {
            assert_eq!(set.contains(other), other == condition, "{condition} {other}");
        }
        assert_eq!(set.is_off(), condition == Condition::Off);
    }
    let unknown = "http_501".parse::<Condition>().unwrap_err();
    assert!(unknown.to_string().starts_with("\"http_501\" is not one of error, timeout, "), "{unknown}");
}

#[test]
fn lists_that_make_no_sense() {
    use Condition::{Error, Off, Timeout};
    let refused = |conditions: &[Condition]| Conditions::new(conditions).unwrap_err();
    assert_eq!(refused(&[]), InvalidConditions::Empty);
    assert_eq!(refused(&[Off, Timeout]), InvalidConditions::OffWithOthers { with: Timeout });
    assert_eq!(refused(&[Error, Timeout, Off]), InvalidConditions::OffWithOthers { with: Error });
    assert_eq!(refused(&[Error, Timeout, Error]), InvalidConditions::Twice { condition: Error });
    assert_eq!(refused(&[Off, Off]), InvalidConditions::Twice { condition: Off });
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

#[test]
fn each_failure_has_its_word() {
    let mut words: Vec<&str> = FAILURES.map(Failure::as_str).to_vec();
    words.dedup();
    assert_eq!(words.len(), 8);
    for failure in FAILURES {
        assert_eq!(failure.is_timeout(), failure.condition() == Some(Condition::Timeout), "{failure:?}");
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    let lists = prop::sample::subsequence(Condition::ALL[..11].to_vec(), 1..11);
    (lists, 0u32..5, 0u64..3000, any::<bool>()).prop_map(|(list, tries, timeout_ms, non_idempotent)| Rules {
        on: Conditions::new(&list).unwrap(),
        tries,
        timeout_ms,
        non_idempotent,
    })
}

fn progress() -> impl Strategy<Value = Progress> {
    (any::<[bool; 4]>(), 1u32..6, 0u64..3000).prop_map(|(bits, attempts, elapsed_ms)| {
        let [idempotent, nothing_sent, replayable, response_begun] = bits;
        Progress { idempotent, nothing_sent, replayable, response_begun, attempts, elapsed_ms }
    })
}

proptest! {
    #[test]
    fn never_unsafe(index in 0..FAILURES.len(), progress in progress(), rules in rules()) {
        let failure = FAILURES[index];
        if may_retry(failure, progress, &rules).is_ok() {
            prop_assert!(!progress.response_begun);
            prop_assert!(rules.tries == 0 || progress.attempts < rules.tries);
            prop_assert!(rules.timeout_ms == 0 || progress.elapsed_ms < rules.timeout_ms);
            let allowed = rules.non_idempotent || rules.on.contains(Condition::NonIdempotent);
            let sent = !failure.before_request() && !progress.nothing_sent;
            prop_assert!(!sent || (progress.replayable && (progress.idempotent || allowed)));
        }
    }

    #[test]
    fn less_progress_never_forbids(index in 0..FAILURES.len(), progress in progress(), rules in rules()) {
        if may_retry(FAILURES[index], progress, &rules).is_ok() {
            let easier = Progress { attempts: 1, elapsed_ms: 0, idempotent: true, replayable: true, ..progress };
            prop_assert_eq!(may_retry(FAILURES[index], easier, &rules), Ok(()));
        }
    }
}
