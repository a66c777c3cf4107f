//! The full transition table, and what must hold for any history.

use std::time::Duration;

use proptest::prelude::*;

use super::{Action, Config, Event, Heartbeat, Reason, State};
use crate::time::Time;

const fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

const fn config() -> Config {
    Config {
        boot_timeout: Duration::from_millis(20_000),
        timeout: Duration::from_millis(1_000),
        retries: 2,
        pause: Duration::from_millis(50),
    }
}

const fn booting(until: u64, connect: Option<u64>) -> State {
    State::Booting { until: at(until), connect_at: time(connect) }
}

const fn alive(until: u64) -> State {
    State::Alive { until: at(until) }
}

const fn reconnecting(attempt: u32, until: u64, connect: Option<u64>) -> State {
    State::Reconnecting { attempt, until: at(until), connect_at: time(connect) }
}

const fn time(ms: Option<u64>) -> Option<Time> {
    match ms {
        Some(ms) => Some(at(ms)),
        None => None,
    }
}

#[test]
fn every_transition() {
    use Action::{Connect, Dead as Give};
    use Event::{Beat, Gap, Lost, Started, Tick};
    let gap = Gap(Duration::from_millis(3_000));
    // All at the time 5000.
    let table = [
        // state, event, next state, action
        (booting(9_000, None), Started, booting(9_000, None), Some(Connect)),
        (booting(9_000, Some(5_020)), Started, booting(9_000, None), Some(Connect)),
        (booting(9_000, None), Beat, alive(6_000), None),
        (booting(9_000, None), Lost, booting(9_000, Some(5_050)), None),
        (booting(9_000, None), Tick, booting(9_000, None), None),
        (booting(9_000, Some(5_001)), Tick, booting(9_000, Some(5_001)), None),
        (booting(9_000, Some(5_000)), Tick, booting(9_000, None), Some(Connect)),
        (booting(5_000, None), Tick, State::Dead, Some(Give(Reason::BootTimeout))),
        (booting(5_000, Some(5_000)), Tick, State::Dead, Some(Give(Reason::BootTimeout))),
        (booting(4_000, None), gap, booting(7_000, None), Some(Connect)),
        (alive(5_500), Started, alive(5_500), None),
        (alive(5_500), Beat, alive(6_000), None),
        (alive(5_500), Lost, reconnecting(1, 6_000, None), Some(Connect)),
        (alive(5_500), Tick, alive(5_500), None),
        (alive(5_000), Tick, reconnecting(1, 6_000, None), Some(Connect)),
        (alive(3_000), gap, reconnecting(1, 6_000, None), Some(Connect)),
        (reconnecting(1, 5_500, None), Started, reconnecting(1, 5_500, None), Some(Connect)),
        (reconnecting(1, 5_500, None), Beat, alive(6_000), None),
        (reconnecting(1, 5_500, None), Lost, reconnecting(1, 5_500, Some(5_050)), None),
        (reconnecting(1, 5_500, None), Tick, reconnecting(1, 5_500, None), None),
        (reconnecting(1, 5_500, Some(5_001)), Tick, reconnecting(1, 5_500, Some(5_001)), None),
        (reconnecting(1, 5_500, Some(4_990)), Tick, reconnecting(1, 5_500, None), Some(Connect)),
        (reconnecting(0, 5_000, None), Tick, reconnecting(1, 6_000, None), Some(Connect)),
        (reconnecting(1, 5_000, None), Tick, reconnecting(2, 6_000, None), Some(Connect)),
        (reconnecting(2, 5_000, None), Tick, State::Dead, Some(Give(Reason::Silence))),
        (reconnecting(2, 3_000, None), gap, reconnecting(1, 6_000, None), Some(Connect)),
        (State::Dead, Started, State::Dead, None),
        (State::Dead, Beat, State::Dead, None),
        (State::Dead, Lost, State::Dead, None),
        (State::Dead, Tick, State::Dead, None),
        (State::Dead, gap, State::Dead, None),
    ];
    for (state, event, next, action) in table {
        let mut heartbeat = Heartbeat { state };
        let got = heartbeat.step(at(5_000), event, &config());
        assert_eq!((heartbeat.state, got), (next, action), "{state:?} + {event:?}");
    }
}

#[test]
fn without_retries_the_first_silence_is_the_verdict() {
    let config = Config { retries: 0, ..config() };
    let mut heartbeat = Heartbeat::booting(at(0), &config);
    heartbeat.step(at(100), Event::Beat, &config);
    assert_eq!(heartbeat.step(at(1_099), Event::Tick, &config), None);
    assert_eq!(heartbeat.step(at(1_100), Event::Tick, &config), Some(Action::Dead(Reason::Silence)));
}

/// The time of the verdict when nothing but time passes, driven by the machine's own deadlines.
fn verdict(mut heartbeat: Heartbeat, config: &Config, lost: bool) -> (Time, Reason) {
    for _ in 0..10_000 {
        let now = heartbeat.next_deadline().expect("a machine that is not dead has a deadline");
        match heartbeat.step(now, Event::Tick, config) {
            Some(Action::Dead(reason)) => return (now, reason),
            Some(Action::Connect) if lost => {
                heartbeat.step(now, Event::Lost, config);
            }
            Some(Action::Connect) | None => {}
        }
    }
    panic!("no verdict after 10000 deadlines: {heartbeat:?}");
}

#[test]
fn silence_is_found_after_the_timeout_and_the_retries() {
    let config = config();
    for refused in [false, true] {
        let mut heartbeat = Heartbeat::booting(at(0), &config);
        heartbeat.step(at(100), Event::Beat, &config);
        assert_eq!(verdict(heartbeat, &config, refused), (at(3_100), Reason::Silence), "refused: {refused}");
        let booting = Heartbeat::booting(at(0), &config);
        assert_eq!(
            verdict(booting, &config, refused),
            (at(20_000), Reason::BootTimeout),
            "refused: {refused}"
        );
    }
}

#[test]
fn an_adopted_vm_that_had_no_time_to_boot_gets_the_rest_of_it() {
    let config = config();
    let young = Heartbeat::adopted(at(1_000), Duration::from_millis(500), &config);
    assert_eq!(young.state(), booting(20_500, Some(1_000)));
    let old = Heartbeat::adopted(at(1_000), Duration::from_secs(20), &config);
    assert_eq!(verdict(old, &config, true), (at(4_000), Reason::Silence), "all its slots, as any other VM");
}

proptest! {
    /// Whatever happens, a VM that was heard is not given up before `timeout * (retries + 1)` of silence, and
    /// every machine that is not dead has a deadline ahead at which it acts.
    #[test]
    fn no_verdict_is_early_and_none_is_missed(
        steps in proptest::collection::vec((0_u64..1_500, 0_u8..4), 1..200),
        retries in 0_u32..4,
    ) {
        let config = Config { retries, ..config() };
        let mut heartbeat = Heartbeat::adopted(at(0), config.boot_timeout, &config);
        let (mut now, mut heard) = (0, None);
        for (pause, event) in steps {
            now += pause;
            let event = [Event::Tick, Event::Beat, Event::Lost, Event::Started][usize::from(event)];
            let action = heartbeat.step(at(now), event, &config);
            if event == Event::Beat {
                heard = Some(now);
            }
            if let Some(Action::Dead(_)) = action {
                if let (Some(heard), 1..) = (heard, retries) {
                    // Ticks may be late here, never early: each slot lasts its whole length.
                    prop_assert!(now - heard >= 1_000, "given up {}ms after an event", now - heard);
                }
                prop_assert_eq!(heartbeat.state(), State::Dead);
                prop_assert_eq!(heartbeat.next_deadline(), None);
                return Ok(());
            }
            prop_assert!(heartbeat.next_deadline().is_some());
        }
        verdict(heartbeat, &config, true);
    }
}
