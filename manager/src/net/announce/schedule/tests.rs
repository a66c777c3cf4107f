use proptest::prelude::*;

use super::*;

const fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

/// The moments at which it announces between `from` and `to` if it is asked at every deadline.
fn moments(schedule: &mut Schedule, to: Time) -> Vec<u64> {
    let mut moments = Vec::new();
    while let Some(next) = schedule.next_deadline().filter(|next| *next <= to) {
        assert!(schedule.take_due(next), "nothing is due at the deadline {next:?}");
        assert!(!schedule.take_due(next), "twice at {next:?}");
        moments.push(next.as_millis());
    }
    moments
}

#[test]
fn often_at_first_and_then_every_fifteen_seconds() {
    let mut schedule = Schedule::default();
    schedule.start(at(1_000));
    let expected = [1_000, 1_200, 2_100, 3_200, 4_300, 5_400, 20_400, 35_400, 50_400];
    assert_eq!(moments(&mut schedule, at(60_000)), expected);
}

#[test]
fn it_says_nothing_before_the_start_after_the_end_or_too_early() {
    let mut schedule = Schedule::default();
    assert_eq!((schedule.take_due(at(5)), schedule.next_deadline()), (false, None));
    schedule.start(at(100));
    assert!(schedule.is_running());
    assert_eq!((schedule.take_due(at(99)), schedule.next_deadline()), (false, Some(at(100))));
    schedule.stop();
    assert_eq!((schedule.take_due(at(100)), schedule.next_deadline()), (false, None));
    assert!(!schedule.is_running());
}

#[test]
fn a_new_start_begins_at_the_beginning() {
    let mut schedule = Schedule::default();
    schedule.start(at(0));
    assert!(schedule.take_due(at(1_500)));
    schedule.start(at(1_600));
    assert_eq!(moments(&mut schedule, at(3_000)), [1_600, 1_800, 2_700]);
}

#[test]
fn after_a_pause_there_is_one_announcement_and_then_the_beat() {
    let mut schedule = Schedule::default();
    schedule.start(at(0));
    assert!(schedule.take_due(at(2_500)), "0, 200, 1100 and 2200 in one");
    assert_eq!(schedule.next_deadline(), Some(at(3_300)));
    assert!(schedule.take_due(at(3_600_000)));
    assert!(!schedule.take_due(at(3_600_000)));
    let next = schedule.next_deadline().unwrap();
    assert!(next > at(3_600_000) && next <= at(3_620_000), "{next:?}");
}

proptest! {
    #[test]
    fn whenever_it_is_asked_it_never_announces_more_often_than_planned(
        steps in prop::collection::vec(0_u64..40_000, 1..60)
    ) {
        let mut schedule = Schedule::default();
        schedule.start(at(0));
        let (mut now, mut made) = (0, 0_u64);
        for step in steps {
            now += step;
            made += u64::from(schedule.take_due(at(now)));
            prop_assert!(schedule.next_deadline().is_some_and(|next| next > at(now)));
        }
        prop_assert!(made <= 6 + now / EVERY_MS + 1);
    }
}
