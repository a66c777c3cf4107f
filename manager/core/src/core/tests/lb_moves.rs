//! A load balancer that dies while the public address can go elsewhere; and a peer that is given up.

use super::*;

/// The load balancer as `(id, state, incarnation)`.
fn lb(world: &World) -> (String, VmState, u64) {
    let lbs: Vec<_> = world.core.vms().into_iter().filter(|vm| vm.role == Role::Lb).collect();
    let [lb] = &lbs[..] else { panic!("one load balancer, always: {lbs:?}") };
    (lb.id.clone(), lb.state, lb.incarnation)
}

#[test]
fn where_the_next_load_balancer_is_built() {
    let (here, there) = ("host1/lb-2".to_owned(), "host1/lb-3".to_owned());
    // (whether the address leaves, whether another one is free, who is next and in which life)
    let cases = [
        (false, true, (here.clone(), VmState::Starting, 2)),
        (true, true, (there, VmState::Starting, 1)),
        (true, false, (here.clone(), VmState::Starting, 2)),
    ];
    for (moves, free, next) in cases {
        let mut world = World::new("10.77.11.0/29");
        let services = (3..=if free { 2 } else { 6 })
            .map(|last| observed(&format!("host1/svc-{last}"), Role::Service, last, 1, 20 + u32::from(last)));
        let running = services.chain([observed(&here, Role::Lb, 2, 1, 11)]).collect();
        world.event(Event::Inventory { running, desired: Desired::default() });
        world.event(Event::LbMoves(moves));
        world.beat(&here, 1);
        world.pass(900);
        world.asked();
        world.kill(&here, 1);
        assert_eq!(lb(&world), next, "moves: {moves}, free: {free}");
        let asked = world.asked();
        let (id, _, incarnation) = next;
        assert_eq!(
            asked,
            [format!("disconnect {here}"), format!("destroy {here}.1"), format!("create {id}.{incarnation}")]
        );
    }
}

#[test]
fn a_load_balancer_that_has_moved_leaves_its_address_to_others_and_counts_on() {
    let mut world = World::started();
    world.event(Event::LbMoves(true));
    world.pass(900);
    world.kill("host1/lb-2", 1);
    assert_eq!(lb(&world), ("host1/lb-3".to_owned(), VmState::Starting, 1));
    assert_eq!(world.core.desired().1.retired, [(Ipv4Addr::new(10, 77, 11, 2), 1)].into());
    assert_eq!(world.core.lb_target(), None);
    let service = world.service();
    assert_eq!((service.as_str(), world.state(&service)), ("host1/svc-2", Some((VmState::Up, 2))));
    assert_eq!(world.core.account().lb, None);
    world.beat("host1/lb-3", 1);
    assert_eq!(world.core.account().lb, Some("10.77.11.3:80".parse().unwrap()));
    assert_eq!(
        world.core.lb_target().map(|target| (target.id, target.incarnation)),
        Some(("host1/lb-3".to_owned(), 1))
    );
    // It moves on to what is free, with the number that comes next there.
    world.core.remove("host1/svc-2").unwrap();
    world.settle();
    world.pass(900);
    world.beat("host1/lb-3", 1);
    world.kill("host1/svc-2", 2);
    world.kill("host1/lb-3", 1);
    world.pass(1_000);
    assert_eq!(lb(&world).0, "host1/lb-2");
    assert_eq!(lb(&world).2, 3, "no life is lived twice");
}

/// Deaths of one that keeps dying: at once, then after 0.5 s, 1 s, … 5 s, wherever it is built.
#[test]
fn moving_does_not_make_the_pauses_shorter() {
    let pauses = |moves: bool| {
        let mut world = World::started();
        world.event(Event::LbMoves(moves));
        let mut pauses = vec![];
        for _ in 0..7 {
            let (id, _, incarnation) = lb(&world);
            world.kill(&id, incarnation);
            let start = world.now;
            while lb(&world).1 == VmState::Down {
                world.pass(50);
            }
            pauses.push(world.now - start);
            world.all_created();
        }
        pauses
    };
    assert_eq!(pauses(true), [0, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
    assert_eq!(pauses(true), pauses(false));
}

#[test]
fn a_service_never_moves() {
    let mut world = World::started();
    let id = world.service();
    world.event(Event::LbMoves(true));
    world.kill(&id, 1);
    assert_eq!(world.state(&id), Some((VmState::Starting, 2)));
}

#[test]
fn a_peer_that_is_given_up_leaves_the_set_and_is_news_when_it_is_back() {
    let mut world = World::started();
    let service = PeerService {
        id: "host2/svc-3".to_owned(),
        incarnation: 5,
        addr: "10.77.12.3:8080".parse().unwrap(),
        state: UpstreamState::Up,
    };
    let account = |boot, revision| PeerServices {
        boot,
        revision,
        lb: Some("10.77.12.2:80".parse().unwrap()),
        services: vec![service.clone()],
    };
    let at = |world: &World| Time::from_millis(world.now);
    world.core.account_of(at(&world), "host2", account(7, 9)).unwrap();
    assert_eq!(world.routes().len(), 1);
    world.event(Event::Forgotten { node: "host9".to_owned() });
    assert_eq!(world.routes().len(), 1, "who is not known is not missed");
    world.event(Event::Forgotten { node: "host2".to_owned() });
    assert_eq!(world.routes(), []);
    let known: Vec<_> = world
        .core
        .peers(at(&world))
        .map(|(node, account, heard)| (node.to_owned(), account.lb, account.services.len(), heard))
        .collect();
    assert_eq!(known, [("host2".to_owned(), None, 0, None)], "nothing is left of it");
    assert_eq!(world.asked(), [""; 0], "its VMs are not this node's to destroy");
    // Its number may be lower than it was: its disk and its clock may be new.
    world.core.account_of(at(&world), "host2", account(1, 1)).unwrap();
    assert_eq!(world.routes(), [("host2/svc-3".to_owned(), 5, UpstreamState::Up)]);
}

#[test]
fn one_that_serves_nobody_is_replaced_though_its_heart_beats() {
    let mut world = World::started();
    world.pass(900);
    let mute =
        |id: &str, incarnation| Event::LbMute { id: id.to_owned(), incarnation, reason: "mute".to_owned() };
    world.event(mute("host1/lb-2", 7));
    assert_eq!(lb(&world), ("host1/lb-2".to_owned(), VmState::Up, 1), "another life");
    world.event(mute("host1/lb-2", 1));
    assert_eq!(lb(&world), ("host1/lb-2".to_owned(), VmState::Starting, 2));
    world.event(mute("host1/lb-2", 2));
    assert_eq!(lb(&world), ("host1/lb-2".to_owned(), VmState::Starting, 2), "it has not begun to serve");
}

/// The manager ended after it had begun the next load balancer, and before the disk knew.
#[test]
fn of_two_load_balancers_the_one_that_was_to_take_over_stays() {
    let desired = Desired { vms: vec![desired("host1/lb-2", Role::Lb, 2, 1)], ..Desired::default() };
    let aged = |last: u8, pid, age| Observed {
        age: Duration::from_secs(age),
        ..observed(&format!("host1/lb-{last}"), Role::Lb, last, 1, pid)
    };
    for (running, kept) in [
        (vec![aged(3, 31, 5)], "host1/lb-3"),
        (vec![aged(2, 21, 60), aged(3, 31, 5)], "host1/lb-3"),
        (vec![aged(2, 21, 60)], "host1/lb-2"),
        (vec![], "host1/lb-2"),
    ] {
        let mut world = World::new("10.77.11.0/24");
        let count = running.len();
        world.event(Event::Inventory { running, desired: desired.clone() });
        assert_eq!(lb(&world).0, kept, "{count} run");
    }
}
