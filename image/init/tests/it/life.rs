//! A VM's whole life with the real service, on both machine types.

use wire::{FromGuest, Identity, ToGuest};

use crate::vm::{Extra, Machine, Vm, get_events, identity};

fn lives_and_drains(machine: Machine) {
    let mut vm = Vm::boot(machine, &Extra::default());
    let port = vm.qmp().forwarded_port();
    let mut manager = vm.manager();
    let waiting = manager.hear_waiting();
    assert!(0 < waiting.init_ms && waiting.init_ms <= waiting.ready_ms, "{waiting:?}");
    let heard = vm.began.elapsed();

    manager.say_raw(b"\xff\0 garbage");
    assert!(manager.hear_rejected().starts_with("not a message: "));
    manager.say_raw(&vec![b'x'; 300 * 1024]);
    assert!(manager.hear_rejected().contains("262144"));
    manager.assign(Identity { hostname: "not a label".to_owned(), ..identity() });
    assert!(manager.hear_rejected().starts_with("assign.hostname: "));

    let told = vm.began.elapsed();
    manager.assign(identity());
    manager.hear_assigned();
    let (pid, restarts, stages) = manager.hear_started();
    let started = vm.began.elapsed();
    assert!(pid > 1 && restarts == 0);
    assert!(stages.ready_ms <= stages.assigned_ms && stages.assigned_ms <= stages.started_ms, "{stages:?}");
    let answer = get_events(port, "/heartbeat", 1);
    let beat = vm.began.elapsed();
    assert!(answer.contains("data: {\"status\":\"OK\""), "{answer}");
    eprintln!(
        "{machine:?}: guest's clock: init {} ms, ready {} ms, assigned {} ms, started {} ms; \
         after QEMU's start: waiting heard {} ms, identity sent {} ms, started heard {} ms, first heartbeat {} ms",
        stages.init_ms,
        stages.ready_ms,
        stages.assigned_ms,
        stages.started_ms,
        heard.as_millis(),
        told.as_millis(),
        started.as_millis(),
        beat.as_millis()
    );

    // Another manager takes over, in the middle of a line of the first. A line end ends that (which is refused, if
    // the VM did not see the change of managers), an empty line asks for the state (which it also tells by itself).
    manager.say_torn(b"{\"dra");
    drop(manager);
    let mut manager = vm.manager();
    manager.say_raw(b"\n");
    manager.assign(Identity { incarnation: 4, ..identity() });
    let (mut told, mut refused) = (Vec::new(), String::new());
    while !refused.starts_with("assign.") {
        match manager.hear() {
            FromGuest::Rejected { message } => refused = message,
            other => told.push(other),
        }
    }
    assert_eq!(refused, "assign.id: the VM is host1/svc-11 incarnation 3 already");
    let assigned = FromGuest::Assigned { id: identity().id, incarnation: 3 };
    assert!(told.ends_with(&[assigned, FromGuest::Started { pid, restarts: 0, stages }]), "{told:?}");

    manager.say(&ToGuest::Drain { timeout_ms: 20_000 });
    assert_eq!(manager.hear(), FromGuest::Draining);
    vm.wait_for_end();
    let console = vm.console();
    assert!(console.contains("init: program ended: exit status 0"), "{console}");
    assert!(console.contains("init: power off"), "{console}");
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn microvm_lives_and_drains() {
    lives_and_drains(Machine::Microvm);
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn q35_lives_and_drains() {
    lives_and_drains(Machine::Q35);
}

/// Whatever service is in the image: the one promise on which all else rests.
#[test]
#[ignore = "boots a VM: image/test-boot"]
fn service_serves() {
    let mut vm = Vm::boot(Machine::Microvm, &Extra::default());
    let port = vm.qmp().forwarded_port();
    let mut manager = vm.manager();
    manager.hear_waiting();
    manager.assign(identity());
    manager.hear_assigned();
    manager.hear_started();
    let answer = get_events(port, "/heartbeat", 3);
    assert!(answer.matches("data: {\"status\":\"OK\"").count() >= 3, "{answer}");
    manager.say(&ToGuest::Drain { timeout_ms: 20_000 });
    assert_eq!(manager.hear(), FromGuest::Draining);
    vm.wait_for_end();
}
