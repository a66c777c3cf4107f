//! What must hold whatever happens, in whatever order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    Action, Adopted, Ballot, Event, Outcome, Record, Route, Time, Vip, VipReport, VipState, config, station,
};

fn node() -> impl Strategy<Value = String> {
    (1_u8..5).prop_map(|index| format!("host{index}"))
}

fn state() -> impl Strategy<Value = VipState> {
    prop_oneof![
        Just(VipState::Standby),
        Just(VipState::Claiming),
        Just(VipState::Active),
        Just(VipState::Releasing),
        Just(VipState::HoldDown)
    ]
}

fn report() -> impl Strategy<Value = VipReport> {
    let ballot = proptest::option::of((1_u64..40, node()).prop_map(|(epoch, node)| Ballot { epoch, node }));
    (state(), ballot, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(state, ballot, hears_owner, eligible, lb_healthy)| VipReport {
            state,
            ballot,
            hears_owner,
            eligible,
            lb_healthy,
        },
    )
}

/// One thing that can happen; answers are to what was asked for.
#[derive(Debug, Clone)]
enum Step {
    Report(String, VipReport),
    Lb(bool),
    Nominated(String, u64, bool),
    Answer(u8),
    Peer(bool),
    Address(bool),
    Arp,
    Disk(bool),
    Kernel(bool),
    Handover(Option<String>),
    Leave,
    Peers(Vec<String>),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (node(), report()).prop_map(|(node, report)| Step::Report(node, report)),
        2 => any::<bool>().prop_map(Step::Lb),
        1 => (node(), 1_u64..60, any::<bool>()).prop_map(|(from, epoch, drain)| Step::Nominated(from, epoch, drain)),
        2 => (0_u8..3).prop_map(Step::Answer),
        2 => any::<bool>().prop_map(Step::Peer),
        2 => any::<bool>().prop_map(Step::Address),
        1 => Just(Step::Arp),
        3 => any::<bool>().prop_map(Step::Disk),
        3 => any::<bool>().prop_map(Step::Kernel),
        1 => proptest::option::of(node()).prop_map(Step::Handover),
        1 => prop_oneof![9 => Just(Step::Pass(10)), 1 => Just(Step::Leave)],
        1 => proptest::collection::vec(node(), 0..4).prop_map(Step::Peers),
        6 => prop_oneof![8 => 1_u64..400, 1 => 1_001_u64..9_000].prop_map(Step::Pass),
    ]
}

fn adopted() -> impl Strategy<Value = Adopted> {
    let peer = || prop_oneof![Just("host1".to_owned()), Just("host3".to_owned())];
    let route = prop_oneof![Just(Route::None), Just(Route::OwnLb), peer().prop_map(Route::Via)];
    (any::<bool>(), route, proptest::option::of(peer())).prop_map(|(answer, route, second_chance)| {
        let route = if answer { Route::OwnLb } else { route };
        Adopted { answer, route, second_chance }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]
    #[test]
    fn any_history(
        steps in proptest::collection::vec(step(), 1..250),
        adopted in adopted(),
        owned in any::<bool>(),
        epoch in 0_u64..20,
    ) {
        let ballot = (epoch > 0).then(|| Ballot { epoch, node: "host2".to_owned() });
        let record = Record { owned: owned && ballot.is_some(), ballot };
        let mut vip = Vip::new(Time::default(), config(&["host1", "host3"]), record.clone(), adopted.clone());
        prop_assert_eq!(
            (vip.desired().answer, &vip.desired().route),
            (adopted.answer, &adopted.route)
        );
        let (mut now, mut told, mut disk) = (0, None, record.ballot);
        let (mut writing, mut nominating, mut probing) = (None::<Record>, None::<(String, u64)>, 0);
        let (mut owed, mut id) = (BTreeSet::new(), 0);
        let (mut announcements, mut claims, mut passed) = (0_u64, 0_u64, 0_u64);
        let mut peers = BTreeSet::from(["host1".to_owned(), "host3".to_owned()]);
        for step in steps {
            let event = match step {
                Step::Report(node, report) => Event::Report { node, report },
                Step::Lb(healthy) => Event::Lb { healthy, reason: "test".to_owned() },
                Step::Nominated(from, epoch, drain) => {
                    id += 1;
                    owed.insert(id);
                    Event::Nominated { id, from, epoch, drain }
                }
                Step::Handover(to) => {
                    id += 1;
                    owed.insert(id);
                    Event::Handover { id, to }
                }
                Step::Leave => {
                    id += 1;
                    owed.insert(id);
                    Event::Leave { id }
                }
                Step::Answer(kind) => {
                    let Some((node, epoch)) = nominating.clone() else { continue };
                    let reason = "test".to_owned();
                    let outcome = match kind {
                        0 => Outcome::Accepted,
                        1 => Outcome::Refused { reason, highest: epoch + 2 },
                        _ => Outcome::Failed { reason },
                    };
                    Event::NominationAnswered { node, epoch, outcome }
                }
                Step::Peers(now) => {
                    peers = now.iter().filter(|node| *node != "host2").cloned().collect();
                    Event::Peers(now)
                }
                Step::Peer(reachable) => Event::PeerProbed { round: probing, reachable },
                Step::Address(answers) => {
                    Event::AddressProbed { round: probing, answer: answers.then(station) }
                }
                Step::Arp => Event::ArpSeen { station: station(), announcement: true },
                Step::Disk(good) => {
                    let Some(record) = writing.take() else { continue };
                    let epoch = record.epoch();
                    if good {
                        prop_assert!(record.ballot >= disk, "the record goes back to {record:?}");
                        disk = record.ballot;
                        Event::Persisted { epoch }
                    } else {
                        Event::PersistFailed { epoch, error: "test".to_owned() }
                    }
                }
                Step::Kernel(good) => {
                    let revision = vip.desired().revision;
                    if good { Event::Installed { revision } } else {
                        Event::InstallFailed { revision, error: "test".to_owned() }
                    }
                }
                Step::Pass(ms) => {
                    now += ms;
                    passed += ms;
                    Event::Tick
                }
            };
            let mut out = Vec::new();
            vip.step(Time::from_millis(now), event, &mut out);
            for action in out {
                match action {
                    Action::Persist(record) => {
                        prop_assert!(writing.is_none(), "two writes at once");
                        prop_assert!(record.ballot >= disk, "{record:?} is wanted after {disk:?}");
                        writing = Some(record);
                    }
                    Action::Nominate { node, epoch, .. } => {
                        prop_assert!(!vip.desired().answer, "it nominates and answers");
                        prop_assert!(peers.contains(&node), "it nominates {node}, which is no peer");
                        nominating = Some((node, epoch));
                    }
                    Action::AnswerNomination { id, .. } | Action::AnswerHandover { id, .. } => {
                        prop_assert!(owed.remove(&id), "{id} is answered twice");
                    }
                    Action::ProbeAddress { round } => {
                        prop_assert!(round > probing);
                        probing = round;
                    }
                    Action::Announce => announcements += 1,
                    Action::Log { to: VipState::Active, .. } => claims += 1,
                    Action::ProbePeer { node, .. } => {
                        prop_assert!(peers.contains(&node), "it asks {node}, which is no peer");
                    }
                    Action::Log { .. }
                    | Action::Note(_)
                    | Action::StopAnnouncing
                    | Action::Beat => {}
                }
            }
            let report = vip.report();
            let idle = matches!(report.state, VipState::Standby | VipState::HoldDown);
            prop_assert!(!(idle && vip.desired().answer), "it answers in {:?}", report.state);
            prop_assert!(vip.desired().answer || report.state != VipState::Active);
            prop_assert!(vip.next_deadline() > Time::from_millis(now));
            let shown: BTreeSet<_> = vip.status().peers.into_iter().map(|peer| peer.node).collect();
            prop_assert_eq!(&shown, &peers);
            let via = match &vip.desired().route {
                Route::Via(node) => Some(node),
                Route::None | Route::OwnLb => None,
            };
            let mut ways = via.into_iter().chain(&vip.desired().second_chance);
            prop_assert!(ways.all(|node| peers.contains(node)), "{:?} among {peers:?}", vip.desired());
            if idle {
                prop_assert!(report.ballot >= told, "{:?} is told after {told:?}", report.ballot);
                told.clone_from(&report.ballot);
            }
            // Every claim announces at once; everything else at most once a second, a renewal at most every confirm.
            prop_assert!(announcements <= claims + 2 * (passed / 500 + 1), "{announcements} announcements");
        }
        // Whoever waits gets an answer by time alone, disk and kernel need not answer.
        for _ in 0..60 {
            now += 100;
            let mut out = Vec::new();
            vip.step(Time::from_millis(now), Event::Tick, &mut out);
            for action in out {
                if let Action::AnswerNomination { id, .. } | Action::AnswerHandover { id, .. } = action {
                    prop_assert!(owed.remove(&id), "{id} is answered twice");
                }
            }
        }
        prop_assert!(owed.is_empty(), "{owed:?} got no answer");
    }
}
