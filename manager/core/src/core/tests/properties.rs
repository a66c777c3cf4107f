//! What must hold whatever happens, in whatever order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use wire::{PeerService, PeerServices, Role, UpstreamState};

use super::{Action, Desired, DomainRef, Event, Status, Time, VmState, World, domain};

/// One thing that can happen; the numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Create,
    Remove(usize),
    CreateAnswers(usize, bool),
    Kill(usize),
    Beat(usize, bool),
    StreamLost(usize),
    DestroyAnswers(usize, bool),
    DiskAnswers(bool),
    LbMoves(bool),
    /// By this many services more or fewer.
    Scale(i32),
    Account(u64),
    Forgotten(bool),
    /// host2 is among the peers, or not.
    Peers(bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Create),
        (0_usize..8).prop_map(Step::Remove),
        (0_usize..8, any::<bool>()).prop_map(|(which, good)| Step::CreateAnswers(which, good)),
        (0_usize..8, any::<bool>()).prop_map(|(which, good)| Step::CreateAnswers(which, good)),
        (0_usize..8).prop_map(Step::Kill),
        (0_usize..8, any::<bool>()).prop_map(|(which, ok)| Step::Beat(which, ok)),
        (0_usize..8).prop_map(Step::StreamLost),
        (0_usize..8, any::<bool>()).prop_map(|(which, good)| Step::DestroyAnswers(which, good)),
        any::<bool>().prop_map(Step::DiskAnswers),
        any::<bool>().prop_map(Step::LbMoves),
        (-4_i32..5).prop_map(Step::Scale),
        (1_u64..4).prop_map(Step::Account),
        any::<bool>().prop_map(Step::Forgotten),
        any::<bool>().prop_map(Step::Peers),
        (1_u64..1_500).prop_map(Step::Pass),
    ]
}

/// What the world outside was asked for and has not answered yet, and the domains that run.
#[derive(Default)]
struct Outside {
    creating: Vec<(String, u64)>,
    running: Vec<DomainRef>,
    destroying: Vec<String>,
    lives: BTreeSet<(String, u64)>,
}

impl Outside {
    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Create { id, incarnation, .. } => {
                    assert!(self.lives.insert((id.clone(), incarnation)), "{id}.{incarnation} lives twice");
                    self.creating.push((id, incarnation));
                }
                Action::Destroy { domain, .. } => {
                    assert!(
                        !self.destroying.contains(&domain.name),
                        "{} is destroyed twice at once",
                        domain.name
                    );
                    self.destroying.push(domain.name);
                }
                _ => {}
            }
        }
    }
}

fn pick<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(which % from.len()))
}

fn apply(world: &mut World, outside: &mut Outside, step: &Step) {
    let vms = world.core.vms();
    let vm = |which: usize| vms.get(which % vms.len().max(1)).cloned();
    match *step {
        Step::Create => drop(world.core.create(None)),
        Step::Remove(which) => drop(vm(which).map(|vm| world.core.remove(&vm.id))),
        Step::CreateAnswers(which, good) => {
            let Some((id, incarnation)) = pick(&mut outside.creating, which) else { return };
            if good {
                world.pids += 1;
                let domain = domain(&format!("{id}.{incarnation}"), world.pids);
                outside.running.push(domain.clone());
                world.event(Event::Created { id, incarnation, domain });
            } else {
                world.event(Event::CreateFailed { id, incarnation, error: "refused".to_owned() });
            }
        }
        Step::Kill(which) => {
            if let Some(domain) = pick(&mut outside.running, which) {
                world.event(Event::Exited { domain: domain.name });
            }
        }
        Step::Beat(which, ok) => {
            if let Some(vm) = vm(which) {
                let status = if ok { Status::Ok } else { Status::Draining };
                world.event(Event::Beat { id: vm.id, incarnation: vm.incarnation, status });
            }
        }
        Step::StreamLost(which) => {
            if let Some(vm) = vm(which) {
                world.event(Event::StreamLost { id: vm.id, incarnation: vm.incarnation });
            }
        }
        Step::DestroyAnswers(which, good) => {
            let Some(name) = pick(&mut outside.destroying, which) else { return };
            if good {
                outside.running.retain(|domain| domain.name != name);
                world.event(Event::Destroyed { domain: name });
            } else {
                world.event(Event::DestroyFailed { domain: name });
            }
        }
        Step::DiskAnswers(good) => {
            let revision = world.core.desired_revision();
            world.event(if good { Event::Persisted { revision } } else { Event::PersistFailed { revision } });
        }
        Step::LbMoves(moves) => world.event(Event::LbMoves(moves)),
        Step::Scale(by) => {
            let before = world.core.capacity();
            let services = before.services.saturating_add_signed(by);
            let outcome = world.core.set_services(services, before.services);
            let fits = services <= before.services + before.room;
            assert_eq!(outcome.is_ok(), fits, "{before:?} to {services}: {outcome:?}");
            let expected = if fits { services } else { before.services };
            assert_eq!(world.core.capacity().services, expected);
        }
        Step::Account(boot) => {
            let service = PeerService {
                id: "host2/svc-3".to_owned(),
                incarnation: boot,
                addr: "10.77.12.3:8080".parse().unwrap(),
                state: UpstreamState::Up,
            };
            let account = PeerServices { boot, revision: 1, lb: None, services: vec![service] };
            let taken = world.core.account_of(Time::from_millis(world.now), "host2", account);
            let is_peer = world.core.peers(Time::from_millis(world.now)).any(|(node, ..)| node == "host2");
            assert_eq!(taken.is_ok(), is_peer);
            let latest = peers_routes(world).is_some_and(|known| known >= boot);
            assert_eq!(latest, is_peer, "the latest account holds");
        }
        Step::Forgotten(known) => {
            let before = peers_routes(world);
            let node = if known { "host2" } else { "host9" }.to_owned();
            world.event(Event::Forgotten { node });
            assert_eq!(peers_routes(world), before.filter(|_| !known));
        }
        Step::Peers(with) => {
            let before = peers_routes(world);
            let pool = "10.77.12.0/24".parse().unwrap();
            let host2 = crate::peers::PeerConfig { node: "host2".to_owned(), pool };
            world.event(Event::Peers(with.then_some(host2).into_iter().collect()));
            assert_eq!(peers_routes(world), before.filter(|_| with));
        }
        Step::Pass(ms) => world.pass(ms),
    }
}

/// The incarnation of the peer's service in the upstream set.
fn peers_routes(world: &World) -> Option<u64> {
    world.core.upstreams().into_iter().find(|route| route.id == "host2/svc-3").map(|route| route.incarnation)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_rules(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new("10.77.11.0/29");
        let mut outside = Outside::default();
        world.event(Event::Inventory { running: vec![], desired: Desired::default() });
        for step in &steps {
            apply(&mut world, &mut outside, step);
            outside.take(std::mem::take(&mut world.out));

            let vms = world.core.vms();
            let addrs: BTreeSet<_> = vms.iter().map(|vm| vm.addr).collect();
            prop_assert_eq!(addrs.len(), vms.len(), "an address is given twice");
            prop_assert_eq!(vms.iter().filter(|vm| vm.role == Role::Lb).count(), 1, "one load balancer, always");
            let wire::Capacity { services, room, max } = world.core.capacity();
            prop_assert!(services + room <= max, "{} and room for {} of {}", services, room, max);
            for route in world.core.upstreams().into_iter().filter(|route| route.id.starts_with("host1/")) {
                let vm = vms.iter().find(|vm| vm.id == route.id).expect("a route leads to a VM that is known");
                prop_assert_eq!((route.incarnation, route.addr.ip()), (vm.incarnation, vm.addr.into()));
                prop_assert!(!matches!(vm.state, VmState::Starting | VmState::Down), "{:?}", vm);
            }
            prop_assert!(world.core.next_deadline() < Time::from_millis(world.now + 1_001));
        }

        // When the world obeys again, every VM is up in the end and every stray is gone.
        for _ in 0..200 {
            let revision = world.core.desired_revision();
            world.event(Event::Persisted { revision });
            for which in 0..8 {
                apply(&mut world, &mut outside, &Step::CreateAnswers(which, true));
                apply(&mut world, &mut outside, &Step::DestroyAnswers(which, true));
                outside.take(std::mem::take(&mut world.out));
            }
            for vm in world.core.vms().into_iter().filter(|vm| vm.qemu_pid.is_some()) {
                world.event(Event::Beat { id: vm.id, incarnation: vm.incarnation, status: Status::Ok });
            }
            world.pass(250);
            outside.take(std::mem::take(&mut world.out));
        }
        let vms = world.core.vms();
        prop_assert!(vms.iter().all(|vm| vm.state == VmState::Up), "{:?}", vms);
        prop_assert!(vms.iter().any(|vm| vm.role == Role::Lb));
        prop_assert_eq!(u32::try_from(vms.len()).unwrap(), world.core.capacity().services + 1);
        let wanted: BTreeSet<_> = vms.iter().filter_map(|vm| vm.domain.clone()).collect();
        let running: BTreeSet<_> = outside.running.iter().map(|domain| domain.name.clone()).collect();
        prop_assert_eq!(running, wanted);
    }
}
