use std::time::{Duration, Instant};

use super::{AGAIN, MAX, Refusal, Said};

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
