//! Single rules, each by a short history.

use super::{Action, Adopted, Event, Outcome, Record, Vip, VipState, World, ballot, config, station};
use crate::time::Time;
use crate::vip::Route;

fn owned(epoch: u64) -> Record {
    Record { ballot: Some(ballot(epoch, "host2")), owned: true }
}

/// host1 falls silent; the probes say what they say.
fn silent(reachable: bool, answers: bool) -> World {
    let mut world = World::standby();
    // host3 is held down, so host2 is first.
    for _ in 0..4 {
        world.pass(90);
        world.hears("host3", VipState::HoldDown, Some(ballot(4, "host1")));
    }
    assert_eq!(world.asked(), "probe host1, arp");
    world.event(Event::PeerProbed { round: 1, reachable });
    world.event(Event::AddressProbed { round: 1, answer: answers.then(station) });
    world
}

#[test]
fn takeover_needs_silence_and_both_proofs() {
    assert_eq!(silent(false, false).asked(), "persist 5!");
    for (reachable, answers) in [(true, false), (false, true), (true, true)] {
        let mut world = silent(reachable, answers);
        let noted =
            |action: &Action| matches!(action, Action::Note(text) if text.starts_with("host2 did not claim"));
        assert_eq!(world.out.iter().filter(|action| noted(action)).count(), 1);
        assert_eq!(world.asked(), "", "{reachable} {answers}");
        world.pass(300);
        assert_eq!(world.asked(), "probe host1, arp");
    }
    let mut world = silent(false, false);
    world.disk();
    world.kernel();
    assert_eq!(world.asked(), "persist 5!, announce");
    assert_eq!(world.vip.state(), VipState::Active);
}

#[test]
fn nobody_claims_without_a_healthy_load_balancer_or_while_a_peer_vouches() {
    let mut world = World::standby();
    world.lb(false);
    world.pass(2_000);
    assert_eq!(world.asked(), "");
    let mut world = World::standby();
    for _ in 0..30 {
        world.pass(100);
        let mut report = world.vip.report();
        report.hears_owner = true;
        world.event(Event::Report { node: "host3".to_owned(), report });
    }
    assert_eq!(world.asked(), "");
    assert_eq!(world.vip.state(), VipState::Standby);
}

#[test]
fn ranks_wait_and_a_rank_that_claims_ends_it() {
    let mut world = World::standby();
    world.lb(false);
    world.pass(290);
    world.hears("host1", VipState::Standby, Some(ballot(4, "host1")));
    world.lb(true);
    assert_eq!(world.asked(), "arp");
    world.event(Event::AddressProbed { round: 1, answer: None });
    world.pass(149);
    assert_eq!(world.asked(), "");
    let mut other = World { vip: world.vip.clone(), now: world.now, out: Vec::new(), writing: None };
    world.pass(1);
    assert_eq!(world.asked(), "persist 5!");
    other.hears("host1", VipState::Claiming, Some(ballot(4, "host1")));
    other.pass(200);
    assert_eq!(other.asked(), "");
}

#[test]
fn unanswered_probes_do_not_become_a_storm() {
    let mut world = World::standby();
    world.pass(10_300);
    assert!(world.out.iter().filter(|action| matches!(action, Action::ProbeAddress { .. })).count() <= 10);
}

#[test]
fn a_foreign_answer_is_met_once_a_second() {
    let mut world = World::active();
    for _ in 0..100 {
        world.pass(100);
        world.event(Event::ArpSeen { station: station(), announcement: false });
    }
    let count = |wanted: &Action| world.out.iter().filter(|action| *action == wanted).count();
    assert!((9..=11).contains(&count(&Action::Announce)), "{}", count(&Action::Announce));
    assert!((9..=11).contains(&count(&Action::Beat)));
}

#[test]
fn an_owner_found_in_place_listens_before_it_announces() {
    let mut world = World::new(owned(5), true);
    assert_eq!(world.vip.state(), VipState::Active);
    world.pass(499);
    assert_eq!(world.asked(), "");
    world.pass(1);
    assert_eq!(world.asked(), "announce");

    let mut world = World::new(owned(5), true);
    world.hears("host1", VipState::Active, Some(ballot(6, "host1")));
    assert!(!world.vip.desired().answer);
    assert_eq!(world.vip.desired().route, Route::Via("host1".to_owned()));

    // The disk has forgotten: it claims anew above all that peers know.
    let mut world = World::new(Record::default(), true);
    world.hears("host1", VipState::Standby, Some(ballot(7, "host2")));
    world.hears("host3", VipState::Standby, Some(ballot(7, "host2")));
    world.disk();
    assert_eq!(world.asked(), "persist 7, persist 8!, announce");
    assert_eq!(world.vip.report().ballot, Some(ballot(8, "host2")));
}

#[test]
fn a_pause_voids_what_was_known() {
    let mut world = World::active();
    world.now += 1_001;
    world.event(Event::Tick);
    assert_eq!(world.asked(), "hush");
    assert!(world.vip.desired().answer && !world.vip.status().confirmed);
    world.pass(500);
    assert_eq!(world.asked(), "announce");

    let mut world = World::standby();
    world.now += 5_000;
    world.event(Event::Tick);
    world.pass(299);
    assert_eq!(world.asked(), "", "that nobody was heard proves nothing");
    world.pass(1);
    assert_eq!(world.asked(), "probe host1, arp");
}

#[test]
fn a_broken_load_balancer_moves_the_address_and_holds_down_ever_longer() {
    let mut world = World::active();
    for (epoch, span) in [(6, 5_000), (8, 10_000), (10, 20_000), (12, 40_000), (14, 60_000), (16, 60_000)] {
        world.hears("host1", VipState::Standby, Some(ballot(epoch - 1, "host2")));
        world.hears("host3", VipState::Standby, Some(ballot(epoch - 1, "host2")));
        world.lb(false);
        assert!(!world.vip.desired().answer);
        world.kernel();
        world.answered("host1", epoch, Outcome::Accepted);
        assert_eq!(world.vip.state(), VipState::HoldDown);
        assert_eq!(world.vip.desired().route, Route::Via("host1".to_owned()));
        world.lb(true);
        assert_eq!(world.vip.desired().route, Route::OwnLb, "it serves stale clients itself");
        world.disk();
        for _ in 0..span / 100 - 1 {
            world.pass(100);
            world.hears("host1", VipState::Active, Some(ballot(epoch, "host1")));
        }
        world.pass(99);
        assert_eq!(world.vip.state(), VipState::HoldDown);
        world.pass(1);
        assert_eq!(world.vip.state(), VipState::Standby);
        world.event(Event::Nominated { id: 3, from: "host1".to_owned(), epoch: epoch + 1, drain: false });
        world.disk();
        world.kernel();
        assert_eq!(world.vip.state(), VipState::Active);
    }
}

#[test]
fn what_nobody_takes_is_taken_back_with_a_higher_epoch() {
    let mut world = World::nominating();
    world.answered("host1", 6, Outcome::Refused { reason: "behind".to_owned(), highest: 9 });
    assert_eq!(world.asked(), "nominate host1 10 true", "its epoch was too low");
    world.answered("host1", 10, Outcome::Refused { reason: "busy".to_owned(), highest: 9 });
    assert_eq!(world.asked(), "nominate host3 11 true");
    world.pass(150);
    assert_eq!(world.asked(), "persist 12!");
    assert!(!world.vip.desired().answer);
    world.event(Event::PersistFailed { epoch: 12, error: "full".to_owned() });
    assert!(world.vip.desired().answer, "serving matters more than the record");
    world.kernel();
    assert_eq!(world.asked(), "announce, failed 2");
    assert!(!world.vip.status().recorded);
}

#[test]
fn a_ballot_that_nobody_holds_is_overbid_in_place() {
    let mut world = World::active();
    world.hears("host3", VipState::Standby, Some(ballot(9, "host9")));
    world.pass(499);
    assert!(world.vip.desired().answer);
    world.hears("host1", VipState::Standby, Some(ballot(9, "host9")));
    world.hears("host3", VipState::Standby, Some(ballot(9, "host9")));
    world.disk();
    assert_eq!(world.vip.report().ballot, Some(ballot(10, "host2")));
    assert_eq!(world.vip.state(), VipState::Active);
}

#[test]
fn a_greater_owner_that_only_a_peer_hears_is_believed() {
    let mut world = World::active();
    let mut report = world.vip.report();
    (report.state, report.ballot, report.hears_owner) = (VipState::Standby, Some(ballot(6, "host3")), true);
    world.event(Event::Report { node: "host1".to_owned(), report });
    assert_eq!(world.vip.state(), VipState::Standby);
}

#[test]
fn a_lower_owner_that_cannot_hear_is_given_way() {
    let mut world = World::active();
    for _ in 0..15 {
        assert_eq!(world.vip.state(), VipState::Active);
        world.hears("host3", VipState::Active, Some(ballot(2, "host3")));
        world.pass(100);
    }
    assert_eq!(world.vip.state(), VipState::Standby);
}

#[test]
fn an_announcement_follows_a_heal() {
    let mut world = World::active();
    world.pass(5_000);
    world.asked();
    world.hears("host1", VipState::Standby, Some(ballot(5, "host2")));
    assert_eq!(world.asked(), "announce");
}

#[test]
fn the_way_for_old_connections_is_made_while_the_disk_writes() {
    let mut world = World::standby();
    world.event(Event::Nominated { id: 1, from: "host1".to_owned(), epoch: 5, drain: true });
    assert_eq!(world.asked(), "persist 5!");
    let writing = world.vip.desired().clone();
    assert_eq!((writing.answer, writing.second_chance.as_deref()), (false, Some("host1")));
    // That the kernel has that, or refuses it, says nothing of the claim.
    world.kernel();
    let revision = world.vip.desired().revision;
    world.event(Event::InstallFailed { revision, error: "no nft".to_owned() });
    assert_eq!((world.asked(), world.vip.state()), (String::new(), VipState::Claiming));
    world.disk();
    let installing = world.vip.desired().clone();
    assert!(installing.answer && installing.revision > writing.revision);
    assert_eq!(installing.second_chance, writing.second_chance);
    world.kernel();
    assert_eq!(world.asked(), "announce, accept 1");
    assert_eq!(world.vip.desired(), &installing, "all of it was there when it was announced");

    let mut world = World::claiming();
    world.lb(false);
    assert_eq!(world.vip.desired().second_chance, None, "it goes with the claim");
    let mut world = World::standby();
    world.event(Event::Nominated { id: 1, from: "host1".to_owned(), epoch: 5, drain: false });
    assert_eq!(world.vip.desired().second_chance, None, "host1 serves nobody any more");
}

#[test]
fn who_leaves_is_answered_when_the_kernel_answers_no_more() {
    let leave = Event::Leave { id: 9 };
    // A claim on its way into the kernel is given up.
    let mut world = World::installing();
    let late = world.vip.desired().revision;
    world.event(leave.clone());
    assert_eq!(world.asked(), "refuse 1, persist 5");
    world.event(Event::Installed { revision: late });
    world.disk();
    assert_eq!(world.asked(), "", "that was the claim");
    world.event(Event::Leave { id: 10 });
    assert_eq!(world.asked(), "failed 10");
    world.kernel();
    assert_eq!(world.asked(), "done 9");

    // An owner that was overruled, before and after it was asked to leave.
    let overruled = |world: &mut World| world.hears("host3", VipState::Active, Some(ballot(9, "host3")));
    let mut before = World::active();
    overruled(&mut before);
    before.event(leave.clone());
    let mut after = World::active();
    after.event(leave.clone());
    overruled(&mut after);
    for mut world in [before, after] {
        world.disk();
        assert!(!world.asked().contains("done"), "{:?}", world.vip);
        world.kernel();
        assert_eq!(world.asked(), "done 9");
    }

    let mut world = World::installing();
    world.event(leave);
    let revision = world.vip.desired().revision;
    world.event(Event::InstallFailed { revision, error: "no such device".to_owned() });
    world.disk();
    world.asked();
    world.pass(999);
    assert!(!world.asked().contains('9'));
    world.pass(1);
    assert!(world.asked().contains("failed 9"), "it answers, or may");
}

#[test]
fn a_nominee_that_is_heard_claiming_is_waited_for_though_its_answer_is_lost() {
    let failed = || Outcome::Failed { reason: "timed out".to_owned() };
    let claiming = || {
        let mut world = World::nominating();
        world.hears("host1", VipState::Claiming, Some(ballot(5, "host2")));
        world.answered("host1", 6, failed());
        assert_eq!(world.asked(), "");
        world
    };
    // It claims for as long as its disk may take, and a little longer until that is heard.
    let mut world = claiming();
    for _ in 0..4 {
        world.pass(287);
        world.hears("host1", VipState::Claiming, Some(ballot(5, "host2")));
        assert_eq!(world.asked(), "");
    }
    world.hears("host3", VipState::Standby, Some(ballot(5, "host2")));
    world.pass(4);
    assert_eq!(world.asked(), "nominate host3 7 true");

    let mut world = claiming();
    world.hears("host1", VipState::Active, Some(ballot(6, "host1")));
    assert_eq!(world.asked(), "done 2, persist 6");

    let mut world = claiming();
    world.pass(150);
    world.hears("host1", VipState::Standby, Some(ballot(5, "host2")));
    assert_eq!(world.asked(), "nominate host3 7 true", "it has given up");
}

#[test]
fn whether_a_broken_load_balancer_would_move_the_address() {
    let mut world = World::standby();
    assert!(!world.vip.would_hand_over(), "it is not here");
    world.lb(false);
    assert!(!world.vip.would_hand_over());
    assert!(!World::installing().vip.would_hand_over());

    let mut world = World::active();
    assert!(world.vip.would_hand_over());
    world.pass(300);
    assert!(!world.vip.would_hand_over(), "nobody is heard");
    world.hears("host3", VipState::HoldDown, Some(ballot(5, "host2")));
    assert!(!world.vip.would_hand_over(), "one that is held down takes it only at last");
    world.hears("host1", VipState::Standby, Some(ballot(5, "host2")));
    world.lb(false);
    assert_eq!(world.vip.state(), VipState::Releasing);
    assert!(world.vip.would_hand_over());
    world.kernel();
    world.answered("host1", 6, Outcome::Accepted);
    assert!(world.vip.would_hand_over(), "it has");
    world.lb(true);
    assert!(!world.vip.would_hand_over());

    let mut world = World::active();
    let mut report = world.vip.report();
    (report.state, report.eligible, report.lb_healthy) = (VipState::Standby, false, false);
    for node in ["host1", "host3"] {
        world.event(Event::Report { node: node.to_owned(), report: report.clone() });
    }
    assert!(!world.vip.would_hand_over(), "nobody can take it");
}

#[test]
fn second_chances_end_with_time_and_with_the_other_load_balancer() {
    let mut world = World::active();
    assert_eq!(world.vip.desired().second_chance, Some("host1".to_owned()));
    let revision = world.vip.desired().revision;
    let mut report = world.vip.report();
    (report.state, report.lb_healthy) = (VipState::HoldDown, false);
    world.event(Event::Report { node: "host1".to_owned(), report });
    assert_eq!(world.vip.desired().second_chance, None);
    assert!(world.vip.desired().revision > revision);
    let mut world = World::active();
    world.pass(30_000);
    assert_eq!(world.vip.desired().second_chance, None);
}

#[test]
fn a_node_alone_serves() {
    let mut vip = Vip::new(Time::default(), config(&[]), Record::default(), Adopted::default());
    let mut out = Vec::new();
    vip.step(Time::from_millis(1), Event::Lb { healthy: true, reason: String::new() }, &mut out);
    vip.step(Time::from_millis(2), Event::AddressProbed { round: 1, answer: None }, &mut out);
    vip.step(Time::from_millis(3), Event::PersistFailed { epoch: 1, error: "full".to_owned() }, &mut out);
    assert!(vip.desired().answer, "nobody else can");
}

#[test]
fn an_absurd_epoch_is_not_believed() {
    let mut world = World::standby();
    world.hears("host3", VipState::Active, Some(ballot(1 << 53, "host3")));
    assert_eq!(world.vip.report().ballot, Some(ballot(4, "host1")));
}

#[test]
fn a_nomination_must_be_above_all_that_is_known() {
    for (epoch, answer) in [(3, "refuse 7"), (4, "refuse 7"), (5, "persist 5!")] {
        let mut world = World::standby();
        world.event(Event::Nominated { id: 7, from: "host1".to_owned(), epoch, drain: false });
        assert_eq!(world.asked(), answer, "epoch {epoch}");
    }
}

#[test]
fn a_disk_that_does_not_answer_ends_a_claim() {
    let mut world = World::claiming();
    for _ in 0..10 {
        assert_eq!(world.vip.state(), VipState::Claiming);
        world.pass(100);
        world.hears("host3", VipState::Standby, Some(ballot(4, "host1")));
    }
    assert!(world.asked().starts_with("refuse 1"));
    assert_eq!(world.vip.state(), VipState::HoldDown);
}

#[test]
fn the_held_down_are_last() {
    let mut world = World::hold_down();
    assert_eq!(world.vip.rank(Time::from_millis(world.now)), 1, "host3 is eligible");
    world.pass(5_000);
    world.hears("host3", VipState::Standby, Some(ballot(6, "host1")));
    assert_eq!(world.vip.rank(Time::from_millis(world.now)), 0);
}

#[test]
fn a_record_never_goes_back_when_a_claim_on_its_way_to_disk_is_given_up() {
    let mut world = World::claiming();
    world.lb(false);
    assert_eq!(world.vip.state(), VipState::Standby);
    world.disk();
    world.pass(5_000);
    assert!(world.vip.wanted_record().ballot >= Some(ballot(5, "host2")));
}

/// Proven, and one rank goes first.
fn proven() -> World {
    let mut world = World::standby();
    world.lb(false);
    world.pass(290);
    world.hears("host1", VipState::Standby, Some(ballot(4, "host1")));
    world.lb(true);
    world.event(Event::AddressProbed { round: 1, answer: None });
    assert_eq!(world.asked(), "arp");
    world
}

#[test]
fn a_proof_is_void_when_somebody_answers_and_when_it_is_old() {
    let mut world = proven();
    world.event(Event::ArpSeen { station: station(), announcement: true });
    world.pass(200);
    assert_eq!(world.asked(), "");
    let mut world = proven();
    world.now += 301;
    world.event(Event::Tick);
    world.event(Event::Tick);
    assert!(!world.asked().contains("persist"), "it asks anew");
}

#[test]
fn late_answers_are_void() {
    let mut world = World::standby();
    world.pass(300);
    world.asked();
    for (peer, address) in [(0, 1), (1, 0)] {
        let mut world = World { vip: world.vip.clone(), now: world.now, out: Vec::new(), writing: None };
        world.event(Event::PeerProbed { round: peer, reachable: false });
        world.event(Event::AddressProbed { round: address, answer: None });
        world.pass(200);
        assert_eq!(world.asked(), "");
    }
    let mut world = World::installing();
    let revision = world.vip.desired().revision - 1;
    world.event(Event::Installed { revision });
    assert_eq!(world.vip.state(), VipState::Claiming);
}

#[test]
fn nobody_is_nominated_while_it_starts_or_leaves() {
    let mut world = World::new(Record::default(), false);
    world.lb(true);
    world.event(Event::Nominated { id: 7, from: "host1".to_owned(), epoch: 9, drain: false });
    assert_eq!(world.asked(), "refuse 7");
    let mut world = World::standby();
    world.event(Event::Leave { id: 6 });
    world.event(Event::Nominated { id: 7, from: "host1".to_owned(), epoch: 9, drain: false });
    assert_eq!(world.asked(), "done 6, refuse 7");
}

/// Two hosts that are too busy must not throw the address to and fro.
#[test]
fn one_that_is_held_down_gets_it_when_the_load_balancer_stays_broken() {
    let mut world = World::active();
    world.pass(300);
    let held = |world: &mut World| world.hears("host3", VipState::HoldDown, Some(ballot(5, "host2")));
    held(&mut world);
    world.lb(false);
    for _ in 0..14 {
        assert_eq!(world.vip.state(), VipState::Active, "it may recover");
        world.pass(200);
        held(&mut world);
    }
    world.lb(true);
    world.lb(false);
    world.pass(200);
    held(&mut world);
    assert_eq!(world.vip.state(), VipState::Active, "counted anew");
    for _ in 0..15 {
        world.pass(200);
        held(&mut world);
    }
    assert_eq!(world.vip.state(), VipState::Releasing);
}
