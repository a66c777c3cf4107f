//! Nodes join and leave while this one runs; and the owner is named.

use super::{Action, Event, Record, Route, World, ballot};
use wire::VipState;

impl World {
    fn peers(&mut self, peers: &[&str]) {
        self.event(Event::Peers(peers.iter().map(|&peer| peer.to_owned()).collect()));
    }

    fn notes(&mut self) -> Vec<String> {
        let note = |action| match action {
            Action::Note(text) => Some(text),
            _ => None,
        };
        std::mem::take(&mut self.out).into_iter().filter_map(note).collect()
    }
}

#[test]
fn a_peer_that_stays_is_still_known_and_a_new_one_was_never_heard() {
    let mut world = World::standby();
    world.peers(&["host1", "host2", "host4"]);
    let status = world.vip.status();
    let known: Vec<_> = status.peers.iter().map(|peer| (peer.node.as_str(), peer.heard_ms_ago)).collect();
    assert_eq!(known, [("host1", Some(0)), ("host4", None)], "and never itself");
    assert_eq!(status.owner.as_deref(), Some("host1"));
    // Back again, host3 has to be heard anew.
    world.peers(&["host1", "host3"]);
    assert!(world.vip.status().peers[1].report.is_none());
}

#[test]
fn who_joins_is_heard_and_the_owner_announces() {
    let mut world = World::active();
    world.hears("host4", VipState::Standby, None);
    assert!(world.notes().iter().any(|note| note.contains("host4 is not a configured peer")));
    world.peers(&["host1", "host3", "host4"]);
    world.pass(1_000);
    world.out.clear();
    world.hears("host4", VipState::Standby, None);
    assert_eq!(world.asked(), "announce", "whoever was away may have heard another owner");
}

#[test]
fn an_owner_that_is_no_peer_any_more_is_not_asked_but_arp_is() {
    let mut world = World::standby();
    world.peers(&["host3"]);
    assert_eq!(world.asked(), "arp", "host1 cannot be asked");
    world.event(Event::AddressProbed { round: 1, answer: None });
    assert_eq!(world.asked(), "persist 5!", "nobody answers, and its epoch is the greatest still");
}

#[test]
fn an_owner_that_was_removed_and_answers_keeps_the_address() {
    let mut world = World::standby();
    world.peers(&["host3"]);
    assert_eq!(world.asked(), "arp");
    world.event(Event::AddressProbed { round: 1, answer: Some(super::station()) });
    world.pass(200);
    assert_eq!(world.asked(), "");
    assert_eq!(world.vip.state(), VipState::Standby);
}

#[test]
fn nothing_is_sent_to_a_node_that_is_gone() {
    // host1 nominated this node and serves its old connections still.
    let mut world = World::active();
    assert_eq!(world.vip.desired().second_chance.as_deref(), Some("host1"));
    world.peers(&["host3"]);
    assert_eq!(world.vip.desired().second_chance, None);
    world.peers(&["host1", "host3"]);
    assert_eq!(world.vip.desired().second_chance, None, "it is not the same one any more");

    // Late clients of a former owner with a broken load balancer are sent on to the new owner.
    let mut world = World::hold_down();
    world.lb(false);
    assert_eq!(world.vip.desired().route, Route::Via("host1".to_owned()));
    world.peers(&["host3"]);
    assert_eq!(world.vip.desired().route, Route::None);

    let mut world = World::active();
    world.peers(&["host3"]);
    world.event(Event::Handover { id: 7, to: Some("host1".to_owned()) });
    assert_eq!(world.asked(), "failed 7");
}

#[test]
fn without_peers_there_is_nobody_to_wait_for() {
    let mut world = World::new(Record::default(), false);
    world.lb(true);
    assert_eq!(world.vip.status().ineligible.as_deref(), Some("this manager is starting"));
    world.peers(&[]);
    assert_eq!(world.vip.status().ineligible, None);
    world.event(Event::AddressProbed { round: 1, answer: None });
    world.disk();
    world.kernel();
    assert_eq!(world.vip.state(), VipState::Active);
}

#[test]
fn the_owner_is_named_once() {
    let mut world = World::new(Record::default(), false);
    let note = |host: &str, epoch: u64| format!("{host} owns the address (epoch {epoch})");
    world.hears("host1", VipState::Claiming, Some(ballot(4, "host1")));
    assert_eq!(world.notes(), Vec::<String>::new(), "it claims, and does not own it yet");
    for _ in 0..2 {
        world.hears("host1", VipState::Active, Some(ballot(4, "host1")));
        world.hears("host3", VipState::Standby, Some(ballot(4, "host1")));
    }
    assert_eq!(world.notes(), [note("host1", 4)]);
    world.hears("host1", VipState::Standby, Some(ballot(5, "host3")));
    world.hears("host3", VipState::Active, Some(ballot(5, "host3")));
    assert_eq!(world.notes(), [note("host3", 5)]);
    // Silence changes no owner, and it is no news to hear of it again.
    world.pass(400);
    world.notes();
    world.hears("host3", VipState::Active, Some(ballot(5, "host3")));
    assert_eq!(world.notes(), Vec::<String>::new());
}

#[test]
fn an_owner_that_only_a_third_hears_is_named_too() {
    let mut world = World::new(Record::default(), false);
    let report = wire::VipReport {
        state: VipState::Standby,
        ballot: Some(ballot(6, "host1")),
        hears_owner: true,
        eligible: true,
        lb_healthy: true,
    };
    world.event(Event::Report { node: "host3".to_owned(), report });
    assert_eq!(world.notes(), ["host1 owns the address (epoch 6)"]);
}

#[test]
fn one_that_lost_the_address_hears_who_has_it() {
    let mut world = World::active();
    world.hears("host3", VipState::Active, Some(ballot(9, "host3")));
    assert_eq!(world.vip.state(), VipState::Standby);
    assert_eq!(world.notes(), ["host3 owns the address (epoch 9)"]);
}

#[test]
fn a_nominee_that_is_removed_is_not_asked_again() {
    for (peers, expected) in
        [(&["host1", "host3"][..], "nominate host1 21 true"), (&["host3"], "nominate host3 21 true")]
    {
        let mut world = World::nominating();
        world.peers(peers);
        world.answered("host1", 6, super::Outcome::Refused { reason: "behind".to_owned(), highest: 20 });
        assert_eq!(world.asked(), expected);
    }
}
