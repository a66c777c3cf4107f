//! How PID 1 treats a program: environment, restarts, reaping, signals. Shell scripts stand for the program.

use serde_json::json;
use wire::{FromGuest, Identity, Role, ToGuest};

use crate::overlay;
use crate::vm::{Extra, Machine, Vm, identity};

fn running(machine: Machine, script: &str) -> (Vm, crate::vm::Manager) {
    let vm = Vm::boot(machine, &Extra { overlay: overlay::service(script), ..Extra::default() });
    let mut manager = vm.manager();
    manager.hear_waiting();
    manager.assign(identity());
    manager.hear_assigned();
    (vm, manager)
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn the_program_finds_what_it_was_promised() {
    let script = r#"
        echo "arguments: $*"; echo "config: $(cat "$2")"; env; hostname; cat /etc/hosts
        ip -4 -o addr show dev eth0; ip route; ip neigh; ip -6 addr show dev eth0; ulimit -n
        [ $(( $(date +%s) - STAMP )) -lt 60 ] && echo "clock is set"
        echo ok > /var/lib/phalanx/probe && cat /var/lib/phalanx/probe
        grep SigBlk /proc/self/status
        echo "the end"; exec sleep 1000"#;
    let vm = Vm::boot(Machine::Microvm, &Extra { overlay: overlay::service(script), ..Extra::default() });
    let mut manager = vm.manager();
    let mut own = identity();
    own.env.insert("STAMP".to_owned(), (own.unix_ms / 1000).to_string());
    manager.hear_waiting();
    manager.assign(own);
    manager.hear_assigned();
    vm.wait_for("the end");
    let console = vm.console();
    for line in [
        "arguments: --config /etc/phalanx/service.toml",
        "config: # the defaults will do",
        "GREETING=good day",
        "PHALANX_INSTANCE=host1/svc-11",
        "PHALANX_ADDR=10.77.11.11",
        "PHALANX_INCARNATION=3",
        "svc-11",
        "10.77.11.11 svc-11",
        "inet 10.77.11.11/32",
        "default via 10.77.11.1 dev eth0",
        "10.77.11.1 dev eth0 scope link",
        "10.77.11.1 dev eth0 lladdr 52:55:0a:4d:0b:01",
        "65536",
        "clock is set",
        "ok",
        "SigBlk:\t0000000000000000",
    ] {
        assert!(console.contains(line), "no {line:?} in:\n{console}");
    }
    assert!(!console.contains("inet6"), "{console}");
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn a_load_balancer_finds_the_public_address_on_lo() {
    let script = r#"
        ip -4 -o addr; ip route
        for file in arp_ignore arp_announce; do echo "$file: $(cat /proc/sys/net/ipv4/conf/eth0/$file)"; done
        nc -l -p 80 -s 10.77.0.100 </dev/null & sleep 0.2; netstat -ltn
        echo "the end"; exec sleep 1000"#;
    let extra = Extra { overlay: overlay::load_balancer(script), ..Extra::default() };
    let vm = Vm::boot(Machine::Microvm, &extra);
    let mut manager = vm.manager();
    manager.hear_waiting();
    manager.assign(Identity { role: Role::Lb, vip: Some([10, 77, 0, 100].into()), ..identity() });
    manager.hear_assigned();
    vm.wait_for("the end");
    let console = vm.console();
    for line in [
        "lo    inet 10.77.0.100/32",
        "eth0    inet 10.77.11.11/32",
        // What it begins itself does not come from the public address.
        "default via 10.77.11.1 dev eth0  src 10.77.11.11",
        "arp_ignore: 1",
        "arp_announce: 2",
        "10.77.0.100:80",
    ] {
        assert!(console.contains(line), "no {line:?} in:\n{console}");
    }
}

/// How a fault is put into a VM from outside, without a way in for it: a break on the serial line, and then `i`, which
/// kills all programs but PID 1 (the kernel's Documentation/admin-guide/sysrq.rst).
#[test]
#[ignore = "boots a VM: image/test-boot"]
fn a_program_killed_through_the_console_is_started_again() {
    let (vm, mut manager) = running(Machine::Microvm, "echo runs; exec sleep 1000");
    manager.hear_started();
    vm.kill_all_through_the_console();
    assert_eq!(manager.hear_exited(), ("signal 9".to_owned(), 100));
    let (_, restarts, _) = manager.hear_started();
    assert_eq!(restarts, 1);
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn a_program_that_ends_is_started_again_and_leaves_nothing() {
    // Each run leaves an orphan in its process group and one outside of it, which dies at once.
    let script = r#"
        echo "alive: $(ps | grep -c '[s]leep 777'), zombies: $(ps -o stat | grep -c '^Z')"
        sleep 777 & (setsid true &) ; exit 7"#;
    let (vm, mut manager) = running(Machine::Microvm, script);
    for (round, pause) in [100, 200, 400].into_iter().enumerate() {
        let (_, restarts, _) = manager.hear_started();
        assert_eq!(restarts, u64::try_from(round).unwrap());
        assert_eq!(manager.hear_exited(), ("exit status 7".to_owned(), pause));
    }
    manager.hear_started();
    manager.hear_exited();
    let console = vm.console();
    assert_eq!(console.matches("alive: 0, zombies: 0").count(), 4, "{console}");
    assert!(console.contains("init: program ended: exit status 7; starts again in 100 ms"), "{console}");
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn a_killed_program_is_reported_with_its_signal() {
    let (_vm, mut manager) = running(Machine::Microvm, "kill -9 $$");
    manager.hear_started();
    assert_eq!(manager.hear_exited(), ("signal 9".to_owned(), 100));
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn a_missing_program_is_reported() {
    let overlay = overlay::executable("usr/bin/service", "#!/no/such/interpreter\n");
    let vm = Vm::boot(Machine::Microvm, &Extra { overlay, ..Extra::default() });
    let mut manager = vm.manager();
    manager.hear_waiting();
    manager.assign(identity());
    manager.hear_assigned();
    let (status, pause) = manager.hear_exited();
    assert!(status.starts_with("cannot start: No such file") && pause == 100, "{status}, {pause}");
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn a_program_that_ignores_sigterm_is_killed() {
    let (mut vm, mut manager) =
        running(Machine::Microvm, "trap '' TERM; echo deaf; while :; do sleep 1; done");
    manager.hear_started();
    vm.wait_for("deaf");
    manager.say(&ToGuest::Drain { timeout_ms: 300 });
    assert_eq!(manager.hear(), FromGuest::Draining);
    vm.wait_for_end();
    assert!(vm.console().contains("did not end in time: killed"), "{}", vm.console());
}

fn ends_by_the_power_button(machine: Machine) {
    let (mut vm, mut manager) =
        running(machine, "trap 'echo asked to end; exit 0' TERM; while :; do sleep 0.1; done");
    manager.hear_started();
    // The button's module is loaded a little after the boot.
    vm.wait_for("init: power button connected");
    vm.qmp().run("system_powerdown", &json!({}));
    assert_eq!(manager.hear(), FromGuest::Draining);
    vm.wait_for_end();
    assert!(vm.console().contains("asked to end"), "{}", vm.console());
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn microvm_ends_by_the_power_button() {
    ends_by_the_power_button(Machine::Microvm);
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn q35_ends_by_the_power_button() {
    ends_by_the_power_button(Machine::Q35);
}
