use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use super::configure;
use crate::identity::{Plan, check, tests::sound};

const ADDR: Ipv4Addr = Ipv4Addr::new(10, 77, 11, 11);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 11, 1);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

fn plan() -> Plan {
    Plan { gateway_mac: Some([2, 0, 0, 0, 0, 1]), ..check(&sound()).unwrap() }
}

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
        configure(&plan()).unwrap();

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
        assert!(!ip("-4 -o addr show dev lo").contains("10.77"));
        assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/accept_redirects").unwrap().trim(), "0");
    });
}

#[test]
fn names_the_step_that_failed() {
    in_namespace(|| {
        let error = configure(&plan()).unwrap_err();
        assert!(error.to_string().starts_with("cannot find the network interface: "), "{error}");
    });
}

#[test]
fn a_refusal_of_the_kernel_is_passed_on() {
    in_namespace(|| {
        ip("link add eth0 type veth peer name host0");
        // The address of all is the address of nobody, so no route may have it as its source.
        let error = configure(&Plan { addr: Ipv4Addr::BROADCAST, ..plan() }).unwrap_err();
        assert_eq!(error.to_string(), "cannot add the route to the gateway: Invalid argument (os error 22)");
    });
}

#[test]
fn the_public_address_is_on_lo_and_silent() {
    let (ready, host) = mpsc::channel();
    let (done, end) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // The host's end of the cable is in a namespace of its own, or the kernel would deliver everything to itself.
        scope.spawn(move || {
            in_namespace(move || {
                ready.send(format!("/proc/self/task/{}/ns/net", nix::unistd::gettid())).unwrap();
                // Until the other namespace has put its end in here, and beyond.
                let _ = end.recv();
                host_side();
            });
        });
        in_namespace(move || {
            let place = host.recv().unwrap();
            ip("link add eth0 type veth peer name host0");
            // `ip` is another process, so "self" is to be said by number.
            let place = place.replace("self", &std::process::id().to_string());
            ip(&format!("link set host0 netns {place}"));
            configure(&Plan { vip: Some(VIP), ..plan() }).unwrap();
            assert!(ip("-4 -o addr show dev lo").contains("inet 10.77.0.100/32 scope global lo"));
            assert!(ip("-4 route get 10.0.0.1").contains("via 10.77.11.1 dev eth0 src 10.77.11.11"));
            // What is sent to it arrives, as long as nobody has to ask where it is.
            let socket = UdpSocket::bind((VIP, 7000)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            done.send(()).unwrap();
            let (_, from) = socket.recv_from(&mut [0; 16]).unwrap();
            assert_eq!(from.ip(), GATEWAY);
        });
    });
}

/// The host asks for both addresses: one is answered, the other is not, until its route leads through the first.
fn host_side() {
    ip("link set lo up");
    ip("addr add 10.77.11.1/24 dev host0");
    ip("link set host0 up");
    ip("route add 10.77.0.100/32 dev host0");
    // It is given up after three questions.
    fs::write("/proc/sys/net/ipv4/neigh/host0/retrans_time_ms", "100").unwrap();
    let socket = UdpSocket::bind((GATEWAY, 0)).unwrap();
    let state_of = |addr: Ipv4Addr, wanted: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            // Nobody listens on the VM's own address, and what the kernel says to that is of no interest.
            let _: io::Result<usize> = socket.send_to(b"x", (addr, 7001));
            let shown = ip(&format!("neigh show {addr} dev host0"));
            if shown.contains(wanted) {
                return;
            }
            assert!(!(wanted == "FAILED" && shown.contains("lladdr")), "{addr} is answered: {shown}");
            assert!(Instant::now() < deadline, "{addr}: {wanted} expected: {shown}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    state_of(ADDR, "lladdr");
    state_of(VIP, "FAILED");
    ip("route replace 10.77.0.100/32 via 10.77.11.11 dev host0");
    // The VM's permanent entry for its gateway is a made-up one, so an answer would not come back; this one arrives.
    socket.send_to(b"x", (VIP, 7000)).unwrap();
}
