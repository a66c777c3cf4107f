use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{Broken, Failure, GIVE_UP, Judge, Verdict, ask};

fn late() -> Result<(), Failure> {
    Err(Failure { words: "late".to_owned(), is_conclusive: false })
}

fn broken() -> Option<Verdict> {
    Some(Verdict::Broken("late".to_owned()))
}

#[test]
fn only_failures_in_a_row_break_it() {
    let mut judge = Judge::default();
    assert_eq!(judge.take(1, Ok(()), 2), Some(Verdict::Fit));
    assert_eq!(judge.take(2, late(), 2), None);
    assert_eq!(judge.take(3, Ok(()), 2), Some(Verdict::Fit));
    assert_eq!(judge.take(4, late(), 2), None);
    assert_eq!(judge.take(5, late(), 2), broken());
    assert_eq!(judge.take(6, Ok(()), 2), Some(Verdict::Fit));
}

#[test]
fn the_order_of_starts_counts_and_not_that_of_ends() {
    let mut judge = Judge::default();
    // The second was answered while the first still waited: what became of the first says nothing now.
    assert_eq!(judge.take(2, Ok(()), 1), Some(Verdict::Fit));
    assert_eq!(judge.take(1, late(), 1), None);
    // An answer to an early check does not outweigh later silence.
    assert_eq!(judge.take(4, late(), 1), broken());
    assert_eq!(judge.take(3, Ok(()), 1), None);
    assert_eq!(judge.take(5, Ok(()), 1), Some(Verdict::Fit));
}

#[test]
fn a_refusal_needs_no_second_one() {
    let refused = Failure { words: "refused".to_owned(), is_conclusive: true };
    let verdict = Judge::default().take(1, Err(refused), 5);
    assert_eq!(verdict, Some(Verdict::Broken("refused".to_owned())));
}

#[tokio::test]
async fn any_http_answer_will_do_and_nothing_else() {
    let limit = Duration::from_secs(10);
    for (answer, fit) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\n\r\nbody", true),
        ("SSH-2.0-OpenSSH\r\n", false),
        ("", false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // All of the question is read, so that the end is no reset.
            stream.shutdown().await.unwrap();
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
        };
        let (outcome, ()) = tokio::join!(ask(at, limit), serve);
        assert_eq!(outcome.is_ok(), fit, "{answer:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_conclusive_and_silence_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let silent = ask(at, Duration::from_millis(50)).await.unwrap_err();
    assert!(!silent.is_conclusive && silent.words.contains("no answer within 50 ms"), "{silent:?}");
    drop(listener);
    let refused = ask(at, Duration::from_secs(10)).await.unwrap_err();
    assert!(refused.is_conclusive && refused.words.contains(&at.to_string()), "{refused:?}");
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
    let mut judge = Judge::default();
    for number in 0..1_000 {
        judge.take(number, late(), 3);
    }
    assert_eq!(judge.failed.len(), 3);
    assert_eq!(judge.take(1_000, Ok(()), 3), Some(Verdict::Fit));
}
