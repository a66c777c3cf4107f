//! The network part against a real kernel, each test in a network namespace of its own.
//!
//! The namespace belongs to a thread and ends with it: there is nothing to clean up.

use std::net::Ipv4Addr;
use std::process::Command;

use manager::net::{Change, Conflict, Error, MacAddr, Net, PeerRoute, Settings, bridge_mac, vm_mac};
use nix::sched::{CloneFlags, unshare};

use crate::libvirtd::{is_root, wait_for};

const VM: Ipv4Addr = Ipv4Addr::new(10, 77, 11, 11);

fn settings() -> Settings {
    Settings {
        interface: "lan0".into(),
        bridge: "phx0".into(),
        pool: "10.77.11.0/24".parse().unwrap(),
        host_addr: "10.77.11.1".parse().unwrap(),
        peers: vec![peer("10.77.12.0/24", "10.77.0.12"), peer("10.77.13.0/24", "10.77.0.13")],
        vip: None,
    }
}

fn peer(pool: &str, via: &str) -> PeerRoute {
    PeerRoute { pool: pool.parse().unwrap(), via: via.parse().unwrap() }
}

/// Runs the test in a new network namespace with a LAN interface `lan0`, 10.77.0.11/24.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    if !is_root() {
        return;
    }
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        for line in [
            "link set lo up",
            "link add lan0 type veth peer name lan1",
            "addr add 10.77.0.11/24 dev lan0",
            "link set lan0 up",
            "link set lan1 up",
        ] {
            ip(line);
        }
        // The kernel says a moment later that the cable is plugged in.
        wait_for("a carrier", || (ip("link show").matches("state UP").count() == 2).then_some(()));
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    };
    // The namespace is the thread's, so the test needs a thread to itself.
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in this thread's namespace and returns what it printed.
fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split_whitespace()).output().expect("ip (package iproute2)");
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn sysctl(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap().trim().to_owned()
}

async fn net(settings: Settings) -> Net {
    Net::open(settings).await.expect("open")
}

#[test]
fn it_makes_everything_once() {
    in_namespace(async || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let net = net(settings()).await;
        let first = net.ensure().await.unwrap();
        assert!(first.applied.contains(&Change::CreateBridge), "{first:?}");
        assert_eq!(first.conflicts, []);

        let link = ip("-d link show phx0");
        assert!(link.contains("bridge") && link.contains("alias phalanx") && link.contains("UP"), "{link}");
        assert!(link.contains(&bridge_mac(settings().host_addr).to_string()), "{link}");
        assert!(ip("-4 addr show dev phx0").contains("inet 10.77.11.1/24"));
        let routes = ip("-4 route show proto 0x50");
        assert!(routes.contains("10.77.12.0/24 via 10.77.0.12 dev lan0"), "{routes}");
        assert!(routes.contains("10.77.13.0/24 via 10.77.0.13 dev lan0"), "{routes}");
        for (name, value) in [
            ("ip_forward", "1"),
            ("conf/all/send_redirects", "0"),
            ("conf/phx0/send_redirects", "0"),
            ("conf/phx0/forwarding", "1"),
            ("conf/lan0/forwarding", "1"),
        ] {
            assert_eq!(sysctl(name), value, "{name}");
        }
        assert_eq!(net.ensure().await.unwrap().applied, [], "the second time there is nothing to do");
    });
}

#[test]
fn a_vms_neighbour_entry_is_permanent_and_follows_its_incarnation() {
    in_namespace(async || {
        let net = net(settings()).await;
        assert!(matches!(net.set_vm(VM, vm_mac(VM, 1)).await, Err(Error::NoBridge(_))));
        assert_eq!(net.vms().await.unwrap(), []);
        net.ensure().await.unwrap();
        assert_eq!(net.vms().await.unwrap(), [(VM, vm_mac(VM, 1))], "it was remembered");

        net.set_vm(VM, vm_mac(VM, 2)).await.unwrap();
        let shown = ip("neigh show dev phx0");
        assert!(shown.contains("10.77.11.11 lladdr 02:02:0a:4d:0b:0b PERMANENT"), "{shown}");
        assert_eq!(net.ensure().await.unwrap().applied, []);

        for refused in ["10.77.11.1", "10.77.11.0", "10.77.11.255", "10.77.12.5"] {
            let refused = refused.parse().unwrap();
            assert!(
                matches!(net.set_vm(refused, vm_mac(VM, 1)).await, Err(Error::NotInPool(..))),
                "{refused}"
            );
        }
        net.remove_vm(VM).await.unwrap();
        net.remove_vm(VM).await.unwrap();
        assert_eq!(net.vms().await.unwrap(), []);
        assert_eq!(net.ensure().await.unwrap().applied, []);
    });
}

#[test]
fn peers_come_and_go_while_it_runs() {
    in_namespace(async || {
        let net = net(settings()).await;
        net.ensure().await.unwrap();
        let routes = || ip("-4 route show proto 0x50");

        // One leaves, one joins, one moves to another host.
        let peers = [peer("10.77.13.0/24", "10.77.0.33"), peer("10.77.14.0/24", "10.77.0.14")];
        net.set_peers(&peers).await.unwrap();
        net.ensure().await.unwrap();
        let now = routes();
        assert!(now.contains("10.77.13.0/24 via 10.77.0.33"), "{now}");
        assert!(now.contains("10.77.14.0/24 via 10.77.0.14"), "{now}");
        assert!(!now.contains("10.77.12.0/24") && !now.contains("10.77.0.13"), "{now}");
        assert_eq!(net.ensure().await.unwrap().applied, []);

        for (bad, field) in [
            (peer("10.77.11.128/25", "10.77.0.15"), "peers[1].pool"),
            (peer("10.77.15.0/24", "10.77.15.1"), "peers[1].api"),
        ] {
            let error = net.set_peers(&[peers[0], bad]).await.unwrap_err();
            assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{error}");
            assert_eq!(net.ensure().await.unwrap().applied, [], "nothing is half-taken");
        }
        net.set_peers(&[]).await.unwrap();
        net.ensure().await.unwrap();
        assert_eq!(routes(), "");
    });
}

#[test]
fn a_restarted_manager_takes_over_and_a_changed_configuration_converges() {
    in_namespace(async || {
        let before = net(settings()).await;
        before.ensure().await.unwrap();
        before.set_vm(VM, vm_mac(VM, 4)).await.unwrap();
        drop(before);

        let same = net(settings()).await;
        assert_eq!(same.ensure().await.unwrap().applied, [], "nothing changes for the running VMs");
        assert_eq!(same.vms().await.unwrap(), [(VM, vm_mac(VM, 4))]);
        drop(same);

        let changed = net(Settings {
            pool: "10.88.1.0/24".parse().unwrap(),
            host_addr: "10.88.1.1".parse().unwrap(),
            peers: vec![peer("10.77.12.0/24", "10.77.0.99"), peer("10.88.2.0/24", "10.77.0.12")],
            ..settings()
        })
        .await;
        changed.ensure().await.unwrap();
        let addrs = ip("-4 addr show dev phx0");
        assert!(addrs.contains("10.88.1.1/24") && !addrs.contains("10.77.11.1"), "{addrs}");
        assert!(ip("link show phx0").contains("02:00:0a:58:01:01"));
        let routes = ip("-4 route show proto 0x50");
        assert_eq!(routes.lines().count(), 2, "{routes}");
        assert!(
            routes.contains("10.77.12.0/24 via 10.77.0.99") && routes.contains("10.88.2.0/24"),
            "{routes}"
        );
        assert_eq!(changed.vms().await.unwrap(), []);
        assert_eq!(changed.ensure().await.unwrap().applied, []);
    });
}

#[test]
fn what_somebody_removes_comes_back() {
    in_namespace(async || {
        let net = net(settings()).await;
        net.ensure().await.unwrap();
        net.set_vm(VM, vm_mac(VM, 1)).await.unwrap();
        // A tap device as libvirt makes them: the VM's MAC with fe in front, plugged into the bridge.
        ip("tuntap add vnet7 mode tap");
        ip("link set vnet7 address fe:01:0a:4d:0b:0b master phx0 up");
        ip("tuntap add other0 mode tap");

        for damage in [
            "link delete phx0",
            "route delete 10.77.12.0/24",
            "addr delete 10.77.11.1/24 dev phx0",
            "link set phx0 down",
            "link set phx0 address 02:11:22:33:44:55",
            "neigh delete 10.77.11.11 dev phx0",
            "neigh replace 10.77.11.11 lladdr 02:99:0a:4d:0b:0b nud permanent dev phx0",
            "link set vnet7 nomaster",
        ] {
            ip(damage);
            let changes = net.ensure().await.unwrap_or_else(|e| panic!("after {damage}: {e}"));
            assert_ne!(changes.applied, [], "{damage} was noticed");
            assert_eq!(changes.conflicts, [], "{damage}");
            assert_eq!(net.ensure().await.unwrap().applied, [], "{damage} was repaired");
            assert_eq!(net.vms().await.unwrap(), [(VM, vm_mac(VM, 1))], "{damage}");
            assert!(ip("link show vnet7").contains("master phx0"), "{damage}");
        }
        assert!(!ip("link show other0").contains("master"), "others' devices are left alone");
    });
}

#[test]
fn what_belongs_to_others_is_reported_and_left_alone() {
    in_namespace(async || {
        ip("route add 10.77.12.0/24 via 10.77.0.77 dev lan0");
        let net = net(settings()).await;
        net.ensure().await.unwrap();
        ip("addr add 192.168.9.1/24 dev phx0");
        ip("route add 10.77.13.0/24 via 10.77.0.78 dev lan0 metric 50");

        let changes = net.ensure().await.unwrap();
        assert_eq!(changes.applied, []);
        let foreign_addr =
            Conflict::ForeignAddr { bridge: "phx0".into(), addr: "192.168.9.1/24".parse().unwrap() };
        assert!(changes.conflicts.contains(&foreign_addr), "{changes:?}");
        assert!(
            changes.conflicts.iter().any(|c| c.to_string().contains("10.77.12.0/24")),
            "the route is named: {changes:?}"
        );
        assert_eq!(changes.conflicts.len(), 2, "a route that loses against ours is no conflict: {changes:?}");
        assert!(ip("route show 10.77.12.0/24").contains("via 10.77.0.77"));

        ip("route delete 10.77.12.0/24");
        net.ensure().await.unwrap();
        assert!(
            ip("route show 10.77.12.0/24").contains("via 10.77.0.12"),
            "ours follows when the way is free"
        );

        net.teardown().await.unwrap();
        assert!(ip("route show 10.77.13.0/24").contains("via 10.77.0.78"), "teardown spares it, too");
    });
}

#[test]
fn a_foreign_bridge_is_neither_changed_nor_deleted() {
    in_namespace(async || {
        ip("link add phx0 type bridge");
        let net = net(settings()).await;
        let changes = net.ensure().await.unwrap();
        assert_eq!(changes.conflicts, [Conflict::ForeignBridge("phx0".into())]);
        assert!(!ip("link show phx0").contains("alias"));
        assert_eq!(ip("-4 addr show dev phx0"), "");
        net.teardown().await.unwrap();
        ip("link show phx0");
    });
}

#[test]
fn a_missing_or_switched_off_interface_is_named_and_the_rest_is_done() {
    in_namespace(async || {
        let missing = net(Settings { interface: "nope0".into(), ..settings() }).await;
        let error = missing.ensure().await.expect_err("the interface is missing").to_string();
        assert!(error.contains("network.interface") && error.contains("nope0"), "{error}");
        assert!(ip("-4 addr show dev phx0").contains("10.77.11.1/24"), "the bridge does not need it");
        drop(missing);

        ip("link set lan0 down");
        let net = net(settings()).await;
        let error = net.ensure().await.expect_err("the interface is down").to_string();
        assert!(error.contains("lan0") && error.contains("down"), "{error}");
        ip("link set lan0 up");
        net.ensure().await.unwrap();
        assert_eq!(ip("-4 route show proto 0x50").lines().count(), 2);
    });
}

#[test]
fn an_unreachable_peer_address_is_named() {
    in_namespace(async || {
        let mut settings = settings();
        settings.peers[0] = peer("10.77.12.0/24", "172.16.0.1");
        let error = net(settings).await.ensure().await.expect_err("nothing leads there").to_string();
        assert!(error.contains("10.77.12.0/24 via 172.16.0.1"), "{error}");
        assert!(ip("-4 route show proto 0x50").contains("10.77.13.0/24"), "the other peer's route is there");
    });
}

#[test]
fn teardown_leaves_nothing_of_ours() {
    in_namespace(async || {
        let before = (ip("link show"), ip("-4 addr show"), ip("-4 route show table all"), ip("neigh show"));
        let net = net(settings()).await;
        net.ensure().await.unwrap();
        net.set_vm(VM, MacAddr::new([2, 0, 0, 0, 0, 9])).await.unwrap();
        net.teardown().await.unwrap();
        let after = (ip("link show"), ip("-4 addr show"), ip("-4 route show table all"), ip("neigh show"));
        assert_eq!(before, after);
        net.teardown().await.unwrap();
    });
}
