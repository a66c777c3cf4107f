use std::time::{Duration, Instant};

use super::{BURST, EVERY, KINDS, Rations};

#[test]
fn a_few_at_once_and_then_one_in_a_while() {
    let (mut rations, start) = (Rations::default(), Instant::now());
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    for n in 0..BURST {
        assert_eq!(rations.take(start, "arp"), Some(0), "{n}");
    }
    for second in 0..30 {
        assert_eq!(rations.take(at(second), "arp"), None, "{second} s");
    }
    assert_eq!(rations.take(at(30), "arp"), Some(30));
    assert_eq!(rations.take(at(31), "arp"), None);
    assert_eq!(rations.take(at(31), "datagram"), Some(0), "another kind has its own");
    assert_eq!(rations.take(at(125), "arp"), Some(1));
    assert_eq!(
        (0..5).map(|_| rations.take(at(125), "arp")).collect::<Vec<_>>(),
        [Some(0), Some(0), None, None, None]
    );
}

#[test]
fn a_flood_for_a_day_writes_little_and_leaves_nothing() {
    let (mut rations, start) = (Rations::default(), Instant::now());
    let written = (0..86_400 * 3)
        .filter(|third| rations.take(start + Duration::from_millis(third * 333), "arp").is_some())
        .count();
    let day = 86_400 / usize::try_from(EVERY.as_secs()).unwrap();
    assert!((day - 10..=day + 10).contains(&written), "{written}");
    assert_eq!(rations.take(start + Duration::from_secs(86_400) + EVERY * BURST, "other"), Some(0));
    assert_eq!(rations.0.len(), 1);
}

#[test]
fn kinds_without_number_share_one_ration() {
    let (mut rations, now) = (Rations::default(), Instant::now());
    let written = (0..10_000).filter(|n| rations.take(now, &format!("epoch {n}")).is_some()).count();
    assert_eq!(written, KINDS + usize::try_from(BURST).unwrap());
    assert_eq!(rations.0.len(), KINDS + 1);
}
