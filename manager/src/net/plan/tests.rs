use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::super::mac::{bridge_mac, vm_mac};
use super::*;

const LAN: u32 = 2;
const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 11, 1);
const VM: Ipv4Addr = Ipv4Addr::new(10, 77, 11, 11);
const VIA: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 12);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 99);

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn desired() -> Desired {
    Desired {
        interface: "eth0".into(),
        bridge: "phx0".into(),
        bridge_mac: bridge_mac(HOST),
        addr: net("10.77.11.1/24"),
        routes: [(net("10.77.12.0/24"), VIA)].into(),
        vms: [(VM, vm_mac(VM, 1))].into(),
        vip: None,
    }
}

fn route(dst: &str, via: Option<Ipv4Addr>, oif: u32, protocol: u8, metric: u32) -> Route {
    Route { dst: net(dst), via, oif: Some(oif), protocol, metric }
}

/// The state in which nothing has to be done for [`desired`].
fn settled() -> Observed {
    let desired = desired();
    Observed {
        interface: Some(Interface { index: LAN, up: true }),
        bridge: Some(Bridge {
            index: 5,
            is_bridge: true,
            up: true,
            mac: Some(desired.bridge_mac),
            alias: Some(BRIDGE_ALIAS.into()),
        }),
        addrs: [(desired.addr, true)].into(),
        routes: vec![
            route("10.77.12.0/24", Some(VIA), LAN, ROUTE_PROTOCOL, 0),
            route("0.0.0.0/0", Some(Ipv4Addr::new(10, 77, 0, 1)), LAN, 3, 0),
            route("10.77.11.0/24", None, 5, 2, 0),
        ],
        neighbours: [(VM, Neighbour { mac: vm_mac(VM, 1), ours: true })].into(),
        loose_taps: vec![],
        sysctls: desired.sysctls().into_iter().map(|s| (s.clone(), s.wanted().to_owned())).collect(),
        vip: VipObserved::default(),
    }
}

/// One way in which the state differs from the settled one: how, the steps, and the conflicts.
type Case = (&'static str, fn(&mut Observed), Vec<Change>, Vec<Conflict>);

#[test]
fn every_difference_has_its_step() {
    let wanted = net("10.77.12.0/24");
    let redirects = |name: &str| Change::SetSysctl(Sysctl::SendRedirects(name.into()));
    let cases: Vec<Case> = vec![
        ("settled", |_| {}, vec![], vec![]),
        ("the bridge's MAC", |o| o.bridge.as_mut().unwrap().mac = None, vec![Change::SetBridgeMac], vec![]),
        ("its alias", |o| o.bridge.as_mut().unwrap().alias = None, vec![Change::SetBridgeAlias], vec![]),
        ("it is down", |o| o.bridge.as_mut().unwrap().up = false, vec![Change::SetBridgeUp], vec![]),
        ("no address", |o| o.addrs.clear(), vec![Change::AddAddr(net("10.77.11.1/24"))], vec![]),
        (
            "an old address of ours",
            |o| {
                o.addrs.insert(net("10.99.0.1/24"), true);
            },
            vec![Change::RemoveAddr(net("10.99.0.1/24"))],
            vec![],
        ),
        (
            "the right address with a wrong length",
            |o| o.addrs = [(net("10.77.11.1/16"), true)].into(),
            vec![Change::AddAddr(net("10.77.11.1/24")), Change::RemoveAddr(net("10.77.11.1/16"))],
            vec![],
        ),
        (
            "a foreign address",
            |o| {
                o.addrs.insert(net("192.168.1.1/24"), false);
            },
            vec![],
            vec![Conflict::ForeignAddr { bridge: "phx0".into(), addr: net("192.168.1.1/24") }],
        ),
        ("our address without a mark", |o| o.addrs = [(net("10.77.11.1/24"), false)].into(), vec![], vec![]),
        (
            "no route",
            |o| o.routes.retain(|route| route.protocol != ROUTE_PROTOCOL),
            vec![Change::SetRoute(wanted, VIA)],
            vec![],
        ),
        (
            "a route by another way",
            |o| o.routes[0].via = Some(OTHER),
            vec![Change::SetRoute(wanted, VIA)],
            vec![],
        ),
        (
            "a route by another interface",
            |o| o.routes[0].oif = Some(9),
            vec![Change::SetRoute(wanted, VIA)],
            vec![],
        ),
        (
            "a stale route of ours",
            |o| {
                o.routes.push(route("10.9.0.0/24", Some(OTHER), LAN, ROUTE_PROTOCOL, 0));
            },
            vec![Change::RemoveRoute(route("10.9.0.0/24", Some(OTHER), LAN, ROUTE_PROTOCOL, 0))],
            vec![],
        ),
        (
            "our route a second time, with a metric",
            |o| o.routes.push(route("10.77.12.0/24", Some(VIA), LAN, ROUTE_PROTOCOL, 7)),
            vec![Change::RemoveRoute(route("10.77.12.0/24", Some(VIA), LAN, ROUTE_PROTOCOL, 7))],
            vec![],
        ),
        (
            "a foreign route instead of ours",
            |o| o.routes[0].protocol = 4,
            vec![],
            vec![Conflict::ForeignRoute { dst: wanted, via: Some(VIA), protocol: 4, wanted: VIA }],
        ),
        (
            "a foreign route that loses against ours",
            |o| o.routes.push(route("10.77.12.0/24", Some(OTHER), LAN, 4, 100)),
            vec![],
            vec![],
        ),
        ("no neighbour", |o| o.neighbours.clear(), vec![Change::SetNeighbour(VM, vm_mac(VM, 1))], vec![]),
        (
            "the neighbour's former life",
            |o| {
                o.neighbours.insert(VM, Neighbour { mac: vm_mac(VM, 0), ours: true });
            },
            vec![Change::SetNeighbour(VM, vm_mac(VM, 1))],
            vec![],
        ),
        (
            "neighbours nobody wants: ours and another's",
            |o| {
                let mac = vm_mac(VM, 9);
                o.neighbours.insert(Ipv4Addr::new(10, 77, 11, 12), Neighbour { mac, ours: true });
                o.neighbours.insert(Ipv4Addr::new(10, 77, 11, 13), Neighbour { mac, ours: false });
            },
            vec![Change::RemoveNeighbour(Ipv4Addr::new(10, 77, 11, 12))],
            vec![],
        ),
        (
            "loose taps: a VM's and another's",
            |o| {
                o.loose_taps = vec![
                    ("vnet0".into(), vm_mac(VM, 1).host_side()),
                    ("tun0".into(), vm_mac(VM, 2).host_side()),
                ];
            },
            vec![Change::AttachTap("vnet0".into())],
            vec![],
        ),
        (
            "switches",
            |o| {
                o.sysctls.insert(Sysctl::IpForward, "0".into());
                o.sysctls.insert(Sysctl::SendRedirects("all".into()), "1".into());
                o.sysctls.remove(&Sysctl::SendRedirects("phx0".into()));
            },
            vec![Change::SetSysctl(Sysctl::IpForward), redirects("all"), redirects("phx0")],
            vec![],
        ),
        (
            "the interface is down",
            |o| {
                o.interface = Some(Interface { index: LAN, up: false });
                o.routes.clear();
            },
            vec![],
            vec![Conflict::InterfaceDown("eth0".into())],
        ),
        (
            "the interface is missing",
            |o| {
                o.interface = None;
                o.routes.clear();
                o.sysctls.remove(&Sysctl::Forwarding("eth0".into()));
            },
            vec![],
            vec![Conflict::InterfaceMissing("eth0".into())],
        ),
    ];
    for (name, spoil, changes, conflicts) in cases {
        let mut observed = settled();
        spoil(&mut observed);
        assert_eq!(plan(&desired(), &observed), (changes, conflicts), "{name}");
    }
}

#[test]
fn everything_is_made_in_an_order_that_works() {
    let observed = Observed { interface: settled().interface, ..Observed::default() };
    let (changes, conflicts) = plan(&desired(), &observed);
    let sysctls = desired().sysctls().into_iter().map(Change::SetSysctl);
    let mut expected = vec![
        Change::CreateBridge,
        Change::SetBridgeAlias,
        Change::AddAddr(net("10.77.11.1/24")),
        Change::SetBridgeUp,
    ];
    expected.extend(sysctls);
    expected.push(Change::SetNeighbour(VM, vm_mac(VM, 1)));
    expected.push(Change::SetRoute(net("10.77.12.0/24"), VIA));
    assert_eq!(changes, expected);
    assert_eq!(conflicts, []);
}

#[test]
fn a_foreign_device_with_the_bridges_name_is_left_alone() {
    let spoils: [fn(&mut Bridge); 2] = [
        |bridge| bridge.is_bridge = false,
        |bridge| {
            bridge.alias = Some("mine".into());
            bridge.mac = Some(vm_mac(VM, 1));
        },
    ];
    for spoil in spoils {
        let mut observed = settled();
        spoil(observed.bridge.as_mut().unwrap());
        observed.addrs.clear();
        observed.neighbours.clear();
        observed.sysctls.remove(&Sysctl::SendRedirects("phx0".into()));
        let (changes, conflicts) = plan(&desired(), &observed);
        assert_eq!(changes, []);
        assert_eq!(conflicts, [Conflict::ForeignBridge("phx0".into())]);
        let ours = Change::RemoveRoute(observed.routes[0].clone());
        assert_eq!(plan_teardown(&desired(), &observed), [ours]);
    }
}

#[test]
fn another_pool_means_another_address_mac_and_peers() {
    let host = Ipv4Addr::new(10, 88, 1, 1);
    let desired = Desired {
        bridge_mac: bridge_mac(host),
        addr: net("10.88.1.1/24"),
        routes: [(net("10.88.2.0/24"), VIA)].into(),
        vms: BTreeMap::new(),
        ..desired()
    };
    let (changes, conflicts) = plan(&desired, &settled());
    let expected = [
        Change::SetBridgeMac,
        Change::AddAddr(net("10.88.1.1/24")),
        Change::RemoveAddr(net("10.77.11.1/24")),
        Change::RemoveNeighbour(VM),
        Change::SetRoute(net("10.88.2.0/24"), VIA),
        Change::RemoveRoute(settled().routes[0].clone()),
    ];
    assert_eq!(changes, expected);
    assert_eq!(conflicts, []);
}

#[test]
fn teardown_removes_what_is_ours_and_nothing_else() {
    let ours = Change::RemoveRoute(settled().routes[0].clone());
    assert_eq!(plan_teardown(&desired(), &settled()), [ours, Change::DeleteBridge]);
    assert_eq!(plan_teardown(&desired(), &Observed::default()), []);
}
