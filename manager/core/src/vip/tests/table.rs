//! Each situation, each class of event: the next state, whether it answers, and what is asked for.

use super::{Event, Outcome, VipState, World, ballot, station};
use wire::VipState::{Active, Claiming, HoldDown, Releasing, Standby};

type Situation = (&'static str, fn() -> World);
type Cause = (&'static str, fn(&mut World));
type Row = (&'static str, VipState, bool, &'static str);

const EVENTS: [Cause; 14] = [
    ("higher owner", |world| world.hears("host3", Active, Some(ballot(9, "host3")))),
    ("lower owner", |world| world.hears("host3", Active, Some(ballot(2, "host3")))),
    ("higher, not held", |world| world.hears("host3", Standby, Some(ballot(9, "host9")))),
    ("lb broken", |world| world.lb(false)),
    ("nominated", |world| {
        world.event(Event::Nominated { id: 7, from: "host3".to_owned(), epoch: 20, drain: false });
    }),
    ("accepted", |world| world.answered("host1", 6, Outcome::Accepted)),
    ("failed", |world| world.answered("host1", 6, Outcome::Failed { reason: "cut".to_owned() })),
    ("foreign arp", |world| world.event(Event::ArpSeen { station: station(), announcement: false })),
    ("written", |world| world.event(Event::Persisted { epoch: 5 })),
    ("not written", |world| world.event(Event::PersistFailed { epoch: 5, error: "full".to_owned() })),
    ("installed", World::kernel),
    ("not installed", |world| {
        let revision = world.vip.desired().revision;
        world.event(Event::InstallFailed { revision, error: "no device".to_owned() });
    }),
    ("handover", |world| world.event(Event::Handover { id: 8, to: None })),
    ("leave", |world| world.event(Event::Leave { id: 9 })),
];

const TABLE: [(Situation, [Row; 14]); 7] = [
    (
        ("standby", World::standby),
        [
            ("higher owner", Standby, false, "persist 9"),
            ("lower owner", Standby, false, ""),
            ("higher, not held", Standby, false, "persist 9"),
            ("lb broken", Standby, false, ""),
            ("nominated", Claiming, false, "persist 20!"),
            ("accepted", Standby, false, ""),
            ("failed", Standby, false, ""),
            ("foreign arp", Standby, false, ""),
            ("written", Standby, false, ""),
            ("not written", Standby, false, ""),
            ("installed", Standby, false, ""),
            ("not installed", Standby, false, ""),
            ("handover", Standby, false, "failed 8"),
            ("leave", Standby, false, "done 9"),
        ],
    ),
    (
        ("hold_down", World::hold_down),
        [
            ("higher owner", HoldDown, false, "persist 9"),
            ("lower owner", HoldDown, false, ""),
            ("higher, not held", HoldDown, false, "persist 9"),
            ("lb broken", HoldDown, false, ""),
            ("nominated", Claiming, false, "persist 20!"),
            ("accepted", HoldDown, false, ""),
            ("failed", HoldDown, false, ""),
            ("foreign arp", HoldDown, false, ""),
            ("written", HoldDown, false, ""),
            ("not written", HoldDown, false, ""),
            ("installed", HoldDown, false, ""),
            ("not installed", HoldDown, false, ""),
            ("handover", HoldDown, false, "failed 8"),
            ("leave", HoldDown, false, "done 9"),
        ],
    ),
    (
        ("claiming", World::claiming),
        [
            ("higher owner", Standby, false, "refuse 1"),
            ("lower owner", Claiming, false, ""),
            ("higher, not held", Claiming, false, ""),
            ("lb broken", Standby, false, "refuse 1"),
            ("nominated", Claiming, false, "refuse 7"),
            ("accepted", Claiming, false, ""),
            ("failed", Claiming, false, ""),
            ("foreign arp", Claiming, false, ""),
            ("written", Claiming, true, ""),
            ("not written", HoldDown, false, "refuse 1"),
            ("installed", Claiming, false, ""),
            ("not installed", Claiming, false, ""),
            ("handover", Claiming, false, "failed 8"),
            ("leave", Standby, false, "refuse 1, done 9"),
        ],
    ),
    (
        ("installing", World::installing),
        [
            ("higher owner", Standby, false, "refuse 1, persist 9"),
            ("lower owner", Claiming, true, ""),
            ("higher, not held", Claiming, true, ""),
            ("lb broken", Standby, false, "refuse 1, persist 5"),
            ("nominated", Claiming, true, "refuse 7"),
            ("accepted", Claiming, true, ""),
            ("failed", Claiming, true, ""),
            ("foreign arp", Claiming, true, ""),
            ("written", Claiming, true, ""),
            ("not written", Claiming, true, ""),
            ("installed", Active, true, "announce, accept 1"),
            ("not installed", HoldDown, false, "refuse 1, persist 5"),
            ("handover", Claiming, true, "failed 8"),
            ("leave", Standby, false, "refuse 1, persist 5"),
        ],
    ),
    (
        ("active", World::active),
        [
            ("higher owner", Standby, false, "hush, persist 9"),
            ("lower owner", Active, true, ""),
            ("higher, not held", Active, true, "hush, persist 9"),
            ("lb broken", Releasing, false, "hush"),
            ("nominated", Active, true, "refuse 7"),
            ("accepted", Active, true, ""),
            ("failed", Active, true, ""),
            ("foreign arp", Active, true, "beat"),
            ("written", Active, true, ""),
            ("not written", Active, true, ""),
            ("installed", Active, true, ""),
            ("not installed", Active, true, ""),
            ("handover", Releasing, false, "hush"),
            ("leave", Releasing, false, "hush"),
        ],
    ),
    (
        ("withdrawing", World::withdrawing),
        [
            ("higher owner", Standby, false, "done 2, persist 9"),
            ("lower owner", Releasing, false, ""),
            ("higher, not held", Releasing, false, "persist 9"),
            ("lb broken", Releasing, false, ""),
            ("nominated", Releasing, false, "refuse 7"),
            ("accepted", Releasing, false, ""),
            ("failed", Releasing, false, ""),
            ("foreign arp", Releasing, false, ""),
            ("written", Releasing, false, ""),
            ("not written", Releasing, false, ""),
            ("installed", Releasing, false, "nominate host1 6 true"),
            ("not installed", Active, true, "failed 2"),
            ("handover", Releasing, false, "failed 8"),
            ("leave", Releasing, false, "failed 9"),
        ],
    ),
    (
        ("nominating", World::nominating),
        [
            ("higher owner", Standby, false, "done 2, persist 9"),
            ("lower owner", Releasing, false, ""),
            ("higher, not held", Releasing, false, "persist 9"),
            ("lb broken", Releasing, false, ""),
            ("nominated", Releasing, false, "refuse 7"),
            ("accepted", Standby, false, "done 2, arp, persist 6"),
            ("failed", Releasing, false, "nominate host3 7 true"),
            ("foreign arp", Releasing, false, ""),
            ("written", Releasing, false, ""),
            ("not written", Releasing, false, ""),
            ("installed", Releasing, false, ""),
            ("not installed", Releasing, false, ""),
            ("handover", Releasing, false, "failed 8"),
            ("leave", Releasing, false, "failed 9"),
        ],
    ),
];

#[test]
fn every_transition() {
    let mut wrong = Vec::new();
    for ((name, situation), rows) in TABLE {
        for ((event, act), row) in EVENTS.into_iter().zip(rows) {
            let mut world = situation();
            act(&mut world);
            let got = (event, world.vip.state(), world.vip.desired().answer, world.asked());
            if (got.0, got.1, got.2, got.3.as_str()) != row {
                wrong.push(format!("{name}: (\"{}\", {:?}, {}, \"{}\"),", got.0, got.1, got.2, got.3));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
