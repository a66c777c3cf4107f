//! A useless VM ends at once: QEMU is gone, and the console says why.

use wire::Identity;

use crate::overlay;
use crate::vm::{Extra, Machine, Vm, identity};

fn ends_saying(mut vm: Vm, reason: &str) {
    vm.wait_for_end();
    let console = vm.console();
    assert!(console.contains(reason), "no {reason:?} in:\n{console}");
    assert!(console.contains("Kernel panic"), "{console}");
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn a_panic_in_pid_1_ends_the_vm() {
    for machine in [Machine::Microvm, Machine::Q35] {
        let extra = Extra { cmdline: "init.fault=panic", ..Extra::default() };
        ends_saying(Vm::boot(machine, &extra), "asked for by init.fault=panic");
    }
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn no_port_ends_the_vm() {
    let extra = Extra { no_port: true, ..Extra::default() };
    ends_saying(
        Vm::boot(Machine::Microvm, &extra),
        "init: fatal: no virtio-serial port named org.phalanx.guest.0",
    );
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn a_damaged_module_ends_the_vm() {
    let overlay = overlay::executable("lib/modules/virtio_net.ko", "not a module");
    let extra = Extra { overlay, ..Extra::default() };
    ends_saying(Vm::boot(Machine::Microvm, &extra), "init: fatal: cannot load module virtio_net: ");
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn no_network_interface_ends_the_vm_when_it_is_needed() {
    let vm = Vm::boot(Machine::Microvm, &Extra { no_network: true, ..Extra::default() });
    let mut manager = vm.manager();
    manager.hear_waiting();
    manager.assign(identity());
    ends_saying(vm, "init: fatal: cannot find the network interface: ");
}

#[test]
#[ignore = "boots a VM: image/test-boot"]
fn a_kernel_fault_ends_the_vm() {
    let overlay = overlay::service("echo c > /proc/sysrq-trigger");
    let vm = Vm::boot(Machine::Microvm, &Extra { overlay, ..Extra::default() });
    let mut manager = vm.manager();
    manager.hear_waiting();
    manager.assign(Identity { config: String::new(), ..identity() });
    ends_saying(vm, "sysrq");
}
