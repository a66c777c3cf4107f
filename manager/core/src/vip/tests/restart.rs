//! What a restarted manager finds in the kernel goes on, for old connections too.

use super::{Adopted, Event, Record, Route, World, ballot};
use wire::VipState;

fn record(epoch: u64, node: &str) -> Record {
    Record { ballot: Some(ballot(epoch, node)), owned: node == "host2" }
}

fn gave(route: Route) -> World {
    World::found(record(6, "host1"), Adopted { answer: false, route, second_chance: None })
}

#[test]
fn the_former_owner_goes_on_serving_those_who_have_not_heard_of_the_move() {
    for route in [Route::OwnLb, Route::Via("host1".to_owned()), Route::Via("host3".to_owned())] {
        let mut world = gave(route.clone());
        let revision = world.vip.desired().revision;
        assert_eq!((world.vip.state(), &world.vip.desired().route), (VipState::Standby, &route));
        // Neither time nor beats are a reason to move them while nothing is known of the own load balancer.
        world.pass(1_000);
        world.hears("host1", VipState::Active, Some(ballot(6, "host1")));
        assert_eq!((&world.vip.desired().route, world.vip.desired().revision), (&route, revision));
        world.lb(true);
        assert_eq!(world.vip.desired().route, Route::OwnLb);
        world.pass(28_999);
        assert_eq!(world.vip.desired().route, Route::OwnLb);
        world.pass(1);
        assert_eq!(world.vip.desired().route, Route::None);
    }
}

#[test]
fn with_a_broken_load_balancer_they_are_sent_on() {
    let mut world = gave(Route::OwnLb);
    world.lb(false);
    assert_eq!(world.vip.desired().route, Route::Via("host1".to_owned()));
}

#[test]
fn nobody_is_sent_to_a_node_that_is_no_peer_any_more() {
    let mut world = gave(Route::Via("host1".to_owned()));
    world.event(Event::Peers(vec!["host3".to_owned()]));
    assert_eq!(world.vip.desired().route, Route::None);
}

#[test]
fn the_new_owner_goes_on_sending_back_what_began_elsewhere() {
    let found = Adopted { answer: true, route: Route::OwnLb, second_chance: Some("host1".to_owned()) };
    let mut world = World::found(record(5, "host2"), found);
    let revision = world.vip.desired().revision;
    world.lb(true);
    world.hears("host1", VipState::Standby, Some(ballot(5, "host2")));
    world.hears("host3", VipState::Standby, Some(ballot(5, "host2")));
    assert!(world.vip.status().confirmed);
    world.pass(29_999);
    assert_eq!(world.vip.desired().second_chance, Some("host1".to_owned()));
    assert_eq!(world.vip.desired().revision, revision, "the kernel has nothing to change");
    world.pass(1);
    assert_eq!(world.vip.desired().second_chance, None);
}

#[test]
fn what_is_left_of_a_second_chance_without_answers_is_removed() {
    let found = Adopted { second_chance: Some("host1".to_owned()), ..Adopted::default() };
    let world = World::found(record(5, "host2"), found);
    assert_eq!(world.vip.desired().second_chance, None);
}
