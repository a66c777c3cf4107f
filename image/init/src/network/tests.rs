use std::fs;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::configure;

/// Runs `test` on a thread of its own, in a network namespace of its own. Needs root, as all of the project's
/// network tests do.
fn in_namespace(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn configures_address_routes_and_neighbour() {
    in_namespace(|| {
        ip("link add eth0 type veth peer name host0");
        ip("link set host0 up");
        let (addr, gateway) = ([10, 77, 11, 11].into(), [10, 77, 11, 1].into());
        configure(addr, gateway, Some([2, 0, 0, 0, 0, 1])).unwrap();

        assert!(ip("-4 -o addr show dev eth0").contains("inet 10.77.11.11/32 scope global eth0"));
        assert_eq!(
            ip("-4 route show").lines().map(str::trim).collect::<Vec<_>>(),
            [
                "default via 10.77.11.1 dev eth0 src 10.77.11.11",
                "10.77.11.1 dev eth0 scope link src 10.77.11.11",
            ]
        );
        assert_eq!(ip("neigh show dev eth0").trim(), "10.77.11.1 lladdr 02:00:00:00:00:01 PERMANENT");
        assert_eq!(ip("-6 -o addr show dev eth0"), "");
        assert!(ip("-o link show lo").contains("LOOPBACK,UP"));
        assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/accept_redirects").unwrap().trim(), "0");
    });
}

#[test]
fn names_the_step_that_failed() {
    in_namespace(|| {
        let error = configure([10, 0, 0, 2].into(), [10, 0, 0, 1].into(), None).unwrap_err();
        assert!(error.to_string().starts_with("cannot find the network interface: "), "{error}");
    });
}

#[test]
fn a_refusal_of_the_kernel_is_passed_on() {
    in_namespace(|| {
        ip("link add eth0 type veth peer name host0");
        // The address of all is the address of nobody, so no route may have it as its source.
        let error = configure([255; 4].into(), [10, 0, 0, 1].into(), None).unwrap_err();
        assert_eq!(error.to_string(), "cannot add the route to the gateway: Invalid argument (os error 22)");
    });
}
