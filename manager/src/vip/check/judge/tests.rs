use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::{Broken, Failure, GIVE_UP, Judge, SLACK, Verdict};
use crate::vip::Checks;

const INTERVAL: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_millis(300);

fn judge(failures: u32) -> Judge {
    Judge::new(Checks { interval: INTERVAL, timeout: TIMEOUT, failures })
}

fn at() -> SocketAddr {
    ([10, 77, 0, 100], 80).into()
}

fn wrong() -> Result<(), Failure> {
    Err(Failure { words: "wrong".to_owned(), is_conclusive: false })
}

fn broken() -> Option<Verdict> {
    Some(Verdict::Broken("wrong".to_owned()))
}

fn silent() -> Option<Verdict> {
    Some(Verdict::Broken("asked at 10.77.0.100:80: no answer within 300 ms".to_owned()))
}

#[test]
fn only_failures_in_a_row_break_it() {
    let (mut judge, now) = (judge(2), Instant::now());
    assert_eq!(judge.ends(1, now, Ok(())), Some(Verdict::Fit));
    assert_eq!(judge.ends(2, now, wrong()), None);
    assert_eq!(judge.ends(3, now, Ok(())), Some(Verdict::Fit));
    assert_eq!(judge.ends(4, now, wrong()), None);
    assert_eq!(judge.ends(5, now, wrong()), broken());
    assert_eq!(judge.ends(6, now, Ok(())), Some(Verdict::Fit));
}

#[test]
fn the_order_of_starts_counts_and_not_that_of_ends() {
    let (mut judge, now) = (judge(1), Instant::now());
    // The second was answered while the first still waited: what became of the first says nothing now.
    assert_eq!(judge.ends(2, now, Ok(())), Some(Verdict::Fit));
    assert_eq!(judge.ends(1, now, wrong()), None);
    // An answer to an early check does not outweigh a later failure.
    assert_eq!(judge.ends(4, now, wrong()), broken());
    assert_eq!(judge.ends(3, now, Ok(())), None);
    assert_eq!(judge.ends(5, now, Ok(())), Some(Verdict::Fit));
}

#[test]
fn a_refusal_needs_no_second_one() {
    let refused = Failure { words: "refused".to_owned(), is_conclusive: true };
    let verdict = judge(5).ends(1, Instant::now(), Err(refused));
    assert_eq!(verdict, Some(Verdict::Broken("refused".to_owned())));
}

#[test]
fn one_that_stops_is_broken_when_the_second_check_has_waited_its_time() {
    let (mut judge, start) = (judge(2), Instant::now());
    judge.begins(1, start);
    assert_eq!(judge.ends(1, start, Ok(())), Some(Verdict::Fit));
    assert_eq!(judge.next_deadline(), None, "nothing is asked");
    judge.begins(2, start + INTERVAL);
    assert_eq!(judge.next_deadline(), None, "one alone says nothing");
    judge.begins(3, start + INTERVAL * 2);
    let due = start + INTERVAL * 2 + TIMEOUT;
    assert_eq!(judge.next_deadline(), Some(due));
    judge.begins(4, start + INTERVAL * 3);
    assert_eq!(judge.next_deadline(), Some(due), "later checks do not put it off");
    assert_eq!(judge.silent(due - Duration::from_millis(1), at()), None);
    assert_eq!(judge.silent(due, at()), silent());
    // It is said again and again, so that somebody can count for how long.
    assert_eq!(judge.next_deadline(), Some(due + SLACK));
    assert_eq!(judge.silent(due + SLACK, at()), silent());
    // The first answer ends it.
    assert_eq!(judge.ends(4, due + SLACK * 2, Ok(())), Some(Verdict::Fit));
    assert_eq!(judge.next_deadline(), Some(due + SLACK * 2 + TIMEOUT));
}

#[test]
fn who_was_late_itself_looks_again_before_it_judges() {
    let (mut judge, start) = (judge(1), Instant::now());
    judge.begins(1, start);
    let late = start + TIMEOUT + SLACK + Duration::from_millis(1);
    assert_eq!(judge.silent(late, at()), None);
    assert_eq!(judge.next_deadline(), Some(late + SLACK));
    assert_eq!(judge.silent(late + SLACK, at()), silent());
}

#[test]
fn one_that_stays_broken_is_replaced_once_and_not_before_its_time() {
    let (start, step) = (Instant::now(), Duration::from_secs(1));
    let no = Verdict::Broken("no answer".to_owned());
    let mut broken = Broken::default();
    assert_eq!(broken.for_too_long(start, &no), None);
    assert_eq!(broken.for_too_long(start + GIVE_UP - step, &no), None);
    assert_eq!(broken.for_too_long(start + GIVE_UP - step, &Verdict::Fit), None, "it recovers");
    assert_eq!(broken.for_too_long(start + GIVE_UP, &no), None, "counted anew");
    let why = broken.for_too_long(start + GIVE_UP + GIVE_UP, &no).unwrap();
    assert_eq!(why, "serves nobody for 5 s: no answer");
    assert_eq!(broken.for_too_long(start + GIVE_UP + GIVE_UP + step, &no), None, "said already");
}

#[test]
fn a_long_silence_takes_no_more_memory() {
    let (mut judge, now) = (judge(3), Instant::now());
    for number in 0..1_000 {
        judge.begins(number, now);
        judge.ends(number, now, wrong());
    }
    assert_eq!((judge.failed.len(), judge.open.len()), (3, 0));
    assert_eq!(judge.ends(1_000, now, Ok(())), Some(Verdict::Fit));
}

/// Runs the checks of a load balancer that answers in order, check `n` after `latencies[n]` ms at the earliest, or never
/// again from check `stops` on. Returns the first moment, in ms, at which it was held for broken.
fn run(latencies: &[u64], stops: usize) -> Option<u64> {
    let (mut judge, start) = (judge(2), Instant::now());
    let moment = |ms: u64| start + Duration::from_millis(ms);
    let mut answers: Vec<(u64, u64)> = Vec::new();
    for (number, latency) in latencies.iter().enumerate().take(stops) {
        let before = answers.last().map_or(0, |(when, _)| *when);
        answers.push(((number as u64 * 100 + latency).max(before), number as u64));
    }
    let mut answers = answers.into_iter().peekable();
    for ms in 0..latencies.len() as u64 * 100 {
        if ms % 100 == 0 {
            judge.begins(ms / 100, moment(ms));
        }
        while let Some((_, number)) = answers.next_if(|(when, _)| *when <= ms) {
            judge.ends(number, moment(ms), Ok(()));
        }
        if judge.next_deadline().is_some_and(|due| due <= moment(ms))
            && judge.silent(moment(ms), at()).is_some()
        {
            return Some(ms);
        }
    }
    None
}

proptest! {
    /// A queue that moves is no hang, however long it has become.
    #[test]
    fn one_that_gets_slow_but_answers_stays(steps in prop::collection::vec(-100_i64..150, 100)) {
        let mut latency = 0;
        let latencies = steps.iter().map(|step| {
            latency = (latency + step).clamp(0, 2_000);
            latency.unsigned_abs()
        });
        prop_assert_eq!(run(&latencies.collect::<Vec<_>>(), usize::MAX), None);
    }

    /// One that stops is seen in the time of the configuration, however slow it was.
    #[test]
    fn one_that_stops_is_seen_in_time(
        latencies in prop::collection::vec(0_u64..200, 60),
        stops in 1_usize..40,
    ) {
        let seen = run(&latencies, stops);
        let last = (0..stops).map(|number| number as u64 * 100 + latencies[number]).max().unwrap_or_default();
        let latest = (stops as u64 * 100 + 100).max(last) + 300;
        prop_assert!(seen.is_some_and(|ms| ms <= latest), "{:?} after {}", seen, latest);
    }
}
