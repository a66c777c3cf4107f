//! The number of service VMs: set as a whole, on disk before it counts, and never more than fit.

use super::super::{Resized, ServicesError};
use super::*;

fn numbers(world: &World) -> (u32, u32, u32) {
    let wire::Capacity { services, room, max } = world.core.capacity();
    (services, room, max)
}

fn set(world: &mut World, services: u32, expect: u32) -> Resized {
    world.core.set_services(services, expect).unwrap()
}

/// The ids of the service VMs that nobody has asked to remove.
fn staying(world: &World) -> Vec<String> {
    let vms = world.core.desired().1.vms.into_iter();
    vms.filter(|vm| vm.role == Role::Service && !vm.removing).map(|vm| vm.id).collect()
}

#[test]
fn all_slots_are_made_in_one_revision_and_begin_when_it_is_on_disk() {
    let mut world = World::started();
    let before = world.core.desired_revision();
    let resized = set(&mut world, 3, 0);
    assert_eq!(resized, Resized { revision: Some(before + 1), from: 0, to: 3 });
    assert_eq!(world.core.desired_revision(), before + 1);
    assert_eq!(world.core.desired().1.vms.len(), 4);
    assert_eq!(world.asked(), [""; 0]);
    assert_eq!(
        set(&mut world, 3, 3).revision,
        Some(before + 1),
        "whoever asks for the same waits for it too"
    );
    world.settle();
    assert_eq!(world.asked(), ["create host1/svc-3.1", "create host1/svc-4.1", "create host1/svc-5.1"]);
    assert_eq!(set(&mut world, 3, 3), Resized { revision: None, from: 3, to: 3 });
}

#[test]
fn a_disk_that_refuses_undoes_all_of_it() {
    for (services, expect) in [(6, 3), (0, 3)] {
        let mut world = World::started();
        for _ in 0..3 {
            world.service();
        }
        let (vms, routes) = (world.core.vms(), world.routes());
        let revision = set(&mut world, services, expect).revision.unwrap();
        assert_eq!(numbers(&world).0, services);
        world.event(Event::PersistFailed { revision });
        assert_eq!((world.core.vms(), world.routes()), (vms, routes));
        assert_eq!(numbers(&world).0, expect);
        assert!(world.core.desired_revision() > revision, "the undoing is written down too");
        world.settle();
        assert_eq!(world.asked(), [""; 0]);
    }
}

#[test]
fn who_saw_another_number_is_refused_with_both() {
    let mut world = World::started();
    set(&mut world, 2, 0);
    let before = world.core.desired();
    let error = world.core.set_services(2, 0).unwrap_err();
    assert_eq!(error, ServicesError::Changed { expected: 0, services: 2 });
    assert!(error.to_string().contains("has 2 service VMs, not 0"), "{error}");
    assert_eq!(world.core.desired(), before, "two scales at once do not add up");
}

#[test]
fn before_the_inventory_nobody_knows_the_number() {
    let mut world = World::new("10.77.11.0/24");
    assert_eq!(world.core.set_services(0, 0), Err(ServicesError::NotReady));
}

#[test]
fn what_is_least_missed_goes_first_and_the_load_balancer_never() {
    let mut world = World::started();
    for _ in 0..5 {
        world.service();
    }
    // svc-3 is up, svc-4 waits for its next try, svc-5 boots, svc-6 is suspect, svc-7 is up, svc-8 is reserved.
    world.kill("host1/svc-4", 1);
    world.event(Event::CreateFailed { id: "host1/svc-4".to_owned(), incarnation: 2, error: "no".to_owned() });
    world.kill("host1/svc-5", 1);
    world.all_created();
    world.event(Event::StreamLost { id: "host1/svc-6".to_owned(), incarnation: 1 });
    world.core.create(None).unwrap();
    let mut order = vec![];
    for left in (0..6).rev() {
        let before = staying(&world);
        set(&mut world, left, left + 1);
        let after = staying(&world);
        order.extend(before.into_iter().filter(|id| !after.contains(id)));
    }
    let expected = ["8", "4", "5", "6", "7", "3"].map(|last| format!("host1/svc-{last}"));
    assert_eq!(order, expected);
    world.settle();
    assert_eq!(world.state("host1/lb-2"), Some((VmState::Up, 1)));
    let draining: Vec<_> = world.core.vms().into_iter().filter(|vm| vm.role == Role::Service).collect();
    assert!(draining.iter().all(|vm| vm.state == VmState::Draining), "{draining:?}");
    assert_eq!(draining.len(), 3, "those that did not serve are gone at once");
}

#[test]
fn an_address_is_room_again_when_its_vm_is_gone() {
    let mut world = World::new("10.77.11.0/29");
    world.event(Event::Inventory { running: vec![], desired: Desired::default() });
    assert_eq!(numbers(&world), (0, 3, 3), "five addresses, of which the load balancer needs two");
    for _ in 0..3 {
        world.service();
    }
    assert_eq!(numbers(&world), (3, 0, 3));
    assert_eq!(world.core.create(None), Err(CreateError::NoRoom { services: 3, max: 3 }));
    let free = Ipv4Addr::new(10, 77, 11, 6);
    assert_eq!(world.core.create(Some(free)), Err(CreateError::NoRoom { services: 3, max: 3 }));
    set(&mut world, 1, 3);
    assert_eq!(numbers(&world), (1, 0, 3), "asked for, and they serve on");
    world.settle();
    assert_eq!(numbers(&world), (1, 0, 3), "they drain");
    assert_eq!(
        world.core.set_services(2, 1),
        Err(ServicesError::NoRoom { asked: 2, services: 1, room: 0, max: 3 })
    );
    for addr in [None, Some(free)] {
        assert_eq!(world.core.create(addr), Err(CreateError::Exhausted(5)));
    }
    world.kill("host1/svc-5", 1);
    assert_eq!(numbers(&world), (1, 1, 3));
    set(&mut world, 2, 1);
}

#[test]
fn the_hosts_limit_holds_for_all_and_takes_nothing_away() {
    let mut world = World::started();
    for _ in 0..4 {
        world.service();
    }
    world.core.config.max_vms = 3;
    assert_eq!(numbers(&world), (4, 0, 3));
    assert_eq!(world.core.create(None), Err(CreateError::NoRoom { services: 4, max: 3 }));
    assert_eq!(
        world.core.set_services(5, 4),
        Err(ServicesError::NoRoom { asked: 5, services: 4, room: 0, max: 3 })
    );
    assert_eq!(set(&mut world, 4, 4), Resized { revision: None, from: 4, to: 4 });
    world.kill("host1/svc-3", 1);
    assert_eq!(world.state("host1/svc-3"), Some((VmState::Starting, 2)), "healing is not creation");
    set(&mut world, 3, 4);
    assert_eq!(staying(&world).len(), 3);
    assert_eq!(numbers(&world), (3, 0, 3));
}

#[test]
fn a_manager_that_restarts_knows_the_number() {
    let mut world = World::started();
    set(&mut world, 3, 0);
    set(&mut world, 2, 3);
    let (_, wanted) = world.core.desired();
    let mut next = World::new("10.77.11.0/24");
    next.event(Event::Inventory { running: vec![], desired: wanted });
    assert_eq!(numbers(&next).0, 2);
}
