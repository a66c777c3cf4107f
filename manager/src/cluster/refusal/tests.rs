use std::time::{Duration, Instant};

use super::{AGAIN, MAX, Refusal, Reporter, Said, UNPROVEN_MAX};

fn refusal(boot: u64) -> Refusal {
    Refusal::BootWentBack { node: "host2".to_owned(), boot, before: 100 }
}

#[test]
fn the_same_is_said_once_and_again_after_a_while() {
    let (mut said, start) = (Said::default(), Instant::now());
    for (seconds, boot, due) in
        [(0, 1, true), (1, 1, false), (2, 2, true), (29, 1, false), (30, 1, true), (31, 1, false)]
    {
        assert_eq!(said.is_due(start + Duration::from_secs(seconds), &refusal(boot)), due, "{seconds} s");
    }
}

#[test]
fn a_flood_is_cut_off_and_forgotten_in_time() {
    let (mut said, start) = (Said::default(), Instant::now());
    let due = (0..1_000).filter(|boot| said.is_due(start, &refusal(*boot))).count();
    assert_eq!((due, said.0.len()), (MAX, MAX));
    assert!(said.is_due(start + AGAIN, &refusal(5_000)));
    assert_eq!(said.0.len(), 1);
}

/// What anybody can send: the header of a datagram with any name.
fn forged(number: u64) -> Refusal {
    Refusal::Cluster {
        node: format!("host{number}"),
        there: "10.77.0.66:7701".parse().unwrap(),
        theirs: "office".to_owned(),
        here: "host1".to_owned(),
        ours: "lab".to_owned(),
    }
}

#[test]
fn forged_ones_do_not_crowd_out_proven_ones() {
    let (mut said, start) = (Said::default(), Instant::now());
    let due = (0..1_000).filter(|number| said.is_due(start, &forged(*number))).count();
    assert_eq!(due, UNPROVEN_MAX);
    let due = (0..1_000).filter(|boot| said.is_due(start, &refusal(*boot))).count();
    assert_eq!(due, MAX);
    assert!(!said.is_due(start, &forged(5_000)));
}

#[test]
fn nor_do_they_fill_the_queue_while_nobody_reads() {
    let ((reporter, mut queue), start) = (Reporter::new(), Instant::now());
    for round in 0..100_u32 {
        for number in 0..100 {
            reporter.report(start + AGAIN * round, forged(number));
        }
    }
    for boot in 0..100 {
        reporter.report(start + AGAIN * 100, refusal(boot));
    }
    let read: Vec<_> = std::iter::from_fn(|| queue.try_recv().ok()).collect();
    assert_eq!(read.iter().filter(|it| it.is_proven()).count(), MAX);
    assert_eq!(read.len(), MAX + UNPROVEN_MAX);
    reporter.report(start + AGAIN * 200, forged(1));
    assert_eq!(queue.try_recv().ok(), Some(forged(1)));
}
