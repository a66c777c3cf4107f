use super::super::{Bridge, plan, plan_teardown, plan_vip};
use super::*;
use crate::net::mac::bridge_mac;

const LAN: u32 = 2;
const BRIDGE: u32 = 5;
const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 11, 1);
const LB: Ipv4Addr = Ipv4Addr::new(10, 77, 11, 10);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 12);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 13);
const PEER_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xb]);

const OWNER: VipDesired =
    VipDesired { addr: VIP, answer: true, route: VipRoute::Bridge(LB), second_chance: None };

fn spec(except_from: Option<MacAddr>) -> FilterSpec {
    FilterSpec { vip: VIP, except_from }
}

fn desired(vip: VipDesired) -> Desired {
    Desired {
        interface: "eth0".into(),
        bridge: "phx0".into(),
        bridge_mac: bridge_mac(HOST),
        addr: "10.77.11.1/24".parse().unwrap(),
        routes: BTreeMap::new(),
        vms: BTreeMap::new(),
        vip: Some(vip),
    }
}

fn route(via: Ipv4Addr, oif: u32) -> Route {
    Route { dst: VIP.into(), via: Some(via), oif: Some(oif), protocol: ROUTE_PROTOCOL, metric: 0 }
}

/// The kernel with this much of the address, and all else as it should be.
fn kernel(vip: VipDesired) -> Observed {
    let desired = desired(vip);
    let mut observed = Observed {
        interface: Some(Interface { index: LAN, up: true }),
        bridge: Some(Bridge {
            index: BRIDGE,
            is_bridge: true,
            up: true,
            mac: Some(desired.bridge_mac),
            alias: Some(super::super::BRIDGE_ALIAS.into()),
        }),
        addrs: [(desired.addr, true)].into(),
        sysctls: desired.sysctls().into_iter().map(|s| (s.clone(), s.wanted().to_owned())).collect(),
        ..Observed::default()
    };
    if vip.answer {
        observed.vip.proxies.insert(VIP, true);
    }
    match vip.route {
        VipRoute::None => {}
        VipRoute::Bridge(via) => observed.routes.push(route(via, BRIDGE)),
        VipRoute::Via(via) => observed.routes.push(route(via, LAN)),
    }
    if let Some(via) = vip.second_chance {
        observed.vip.marked_routes.push(route(via, LAN));
        observed.vip.rules.push(MarkRule::of(VIP));
        observed.vip.filter = Filter::Is(spec(None));
    }
    observed
}

/// Everything a host may be asked for, except answers without an own load balancer.
fn all() -> Vec<VipDesired> {
    let mut all = Vec::new();
    for route in [VipRoute::None, VipRoute::Bridge(LB), VipRoute::Via(PEER), VipRoute::Via(OTHER)] {
        for second_chance in [None, Some(PEER), Some(OTHER)] {
            for answer in [false, true] {
                if !answer || matches!(route, VipRoute::Bridge(_)) {
                    all.push(VipDesired { addr: VIP, answer, route, second_chance });
                }
            }
        }
    }
    all
}

/// What the steps make of the kernel's state.
fn after(mut observed: Observed, changes: &[Change]) -> Observed {
    for change in changes {
        let vip = &mut observed.vip;
        match change {
            Change::Answer(addr) => drop(vip.proxies.insert(*addr, true)),
            Change::StopAnswering(addr) => drop(vip.proxies.remove(addr)),
            Change::SetRoute(dst, via) | Change::SetBridgeRoute(dst, via) => {
                observed.routes.retain(|route| route.dst != *dst);
                let oif = if matches!(change, Change::SetRoute(..)) { LAN } else { BRIDGE };
                observed.routes.push(route(*via, oif));
            }
            Change::RemoveRoute(route) => observed.routes.retain(|is| is != route),
            Change::SetMarkedRoute(_, via) => vip.marked_routes = vec![route(*via, LAN)],
            Change::RemoveMarkedRoute(route) => vip.marked_routes.retain(|is| is != route),
            Change::AddMarkRule(rule) => vip.rules.push(*rule),
            Change::RemoveMarkRule(rule) => vip.rules.retain(|is| is != rule),
            Change::InstallFilter(spec) => vip.filter = Filter::Is(*spec),
            Change::RemoveFilter => vip.filter = Filter::Absent,
            other => panic!("{other:?} has nothing to do with the address"),
        }
    }
    observed
}

#[test]
fn every_change_of_part_arrives_in_a_safe_order() {
    for from in all() {
        for to in all() {
            let before = kernel(from);
            let (changes, conflicts) = plan_vip(&desired(to), &before);
            assert_eq!(conflicts, [], "{from:?} to {to:?}");
            let mut full = plan(&desired(to), &before).0;
            let unmarked = full.contains(&Change::RemoveFilter);
            assert_eq!(unmarked, from.second_chance.is_some() && to.second_chance.is_none());
            full.retain(|change| *change != Change::RemoveFilter);
            assert_eq!(full, changes, "both plans agree: {from:?} to {to:?}");
            assert_eq!(installed(VIP, &after(before.clone(), &changes)), to, "from {from:?} by {changes:?}");
            if from == to {
                assert_eq!(changes, []);
            }
            // Whenever the kernel answers, there is a way to the load balancer and, if wanted, to the former owner.
            for done in 0..=changes.len() {
                let now = installed(VIP, &after(before.clone(), &changes[..done]));
                if now.answer {
                    assert!(matches!(now.route, VipRoute::Bridge(_)), "{from:?} to {to:?}: {changes:?}");
                    let chance = now.second_chance;
                    let fine = from.answer || to.second_chance.is_none() || chance == to.second_chance;
                    assert!(fine, "answers before the way is there: {from:?} to {to:?}: {changes:?}");
                }
            }
            let first_end = changes.iter().position(|change| matches!(change, Change::StopAnswering(_)));
            assert!(first_end.is_none_or(|at| at == 0), "the answers end first: {changes:?}");
        }
    }
}

#[test]
fn taking_over_from_a_peer_step_by_step() {
    let wanted = VipDesired { second_chance: Some(PEER), ..OWNER };
    let mut observed = kernel(VipDesired::released(VIP));
    observed.vip.former_owner = Some(PEER_MAC);
    let expected = [
        Change::SetMarkedRoute(VIP, PEER),
        Change::AddMarkRule(MarkRule::of(VIP)),
        Change::InstallFilter(spec(Some(PEER_MAC))),
        Change::SetBridgeRoute(VIP.into(), LB),
        Change::Answer(VIP),
    ];
    assert_eq!(plan_vip(&desired(wanted), &observed), (expected.to_vec(), vec![]));
}

#[test]
fn every_damage_has_its_repair() {
    type Case = (&'static str, fn(&mut Observed), Vec<Change>);
    let wanted = VipDesired { second_chance: Some(PEER), ..OWNER };
    let stray = MarkRule { priority: 7, ..MarkRule::of(VIP) };
    let old: Ipv4Addr = "10.77.0.200".parse().unwrap();
    let old_route = Route { dst: old.into(), ..route(LB, BRIDGE) };
    let cases: Vec<Case> = vec![
        ("no proxy entry", |o| o.vip.proxies.clear(), vec![Change::Answer(VIP)]),
        ("no route", |o| o.routes.clear(), vec![Change::SetBridgeRoute(VIP.into(), LB)]),
        (
            "a route into the LAN",
            |o| o.routes = vec![route(LB, LAN)],
            vec![Change::SetBridgeRoute(VIP.into(), LB)],
        ),
        ("no marked route", |o| o.vip.marked_routes.clear(), vec![Change::SetMarkedRoute(VIP, PEER)]),
        (
            "the interface was made anew",
            |o| o.vip.marked_routes = vec![route(PEER, 9)],
            vec![Change::SetMarkedRoute(VIP, PEER)],
        ),
        ("no rule", |o| o.vip.rules.clear(), vec![Change::AddMarkRule(MarkRule::of(VIP))]),
        (
            "another rule",
            |o| o.vip.rules.push(MarkRule { priority: 7, ..MarkRule::of(VIP) }),
            vec![Change::RemoveMarkRule(stray)],
        ),
        ("no filter", |o| o.vip.filter = Filter::Absent, vec![Change::InstallFilter(spec(None))]),
        ("a changed filter", |o| o.vip.filter = Filter::Unknown, vec![Change::InstallFilter(spec(None))]),
        (
            "a filter for another address",
            |o| o.vip.filter = Filter::Is(FilterSpec { vip: HOST, except_from: None }),
            vec![Change::InstallFilter(spec(None))],
        ),
        (
            "the former owner's MAC became known",
            |o| o.vip.former_owner = Some(PEER_MAC),
            vec![Change::InstallFilter(spec(Some(PEER_MAC)))],
        ),
        ("its MAC was forgotten", |o| o.vip.filter = Filter::Is(spec(Some(PEER_MAC))), vec![]),
        (
            "what is left of another address",
            |o| {
                let old: Ipv4Addr = "10.77.0.200".parse().unwrap();
                o.vip.proxies.insert(old, true);
                o.routes.push(Route { dst: old.into(), ..route(LB, BRIDGE) });
            },
            vec![Change::StopAnswering(old), Change::RemoveRoute(old_route)],
        ),
    ];
    for (name, spoil, expected) in cases {
        let mut observed = kernel(wanted);
        spoil(&mut observed);
        assert_eq!(plan(&desired(wanted), &observed), (expected, vec![]), "{name}");
    }
}

#[test]
fn what_belongs_to_others_is_named_and_left_alone() {
    let released = VipDesired::released(VIP);
    let proxy = Conflict::ForeignProxy { interface: "eth0".into(), addr: VIP };
    for wanted in [released, OWNER] {
        let mut observed = kernel(VipDesired { answer: false, ..wanted });
        observed.vip.proxies.insert(VIP, false);
        assert_eq!(plan_vip(&desired(wanted), &observed), (vec![], vec![proxy.clone()]));
    }

    let mut observed = kernel(VipDesired { answer: false, ..OWNER });
    observed.vip.local.insert(VIP);
    assert_eq!(plan_vip(&desired(OWNER), &observed), (vec![], vec![Conflict::VipIsLocal(VIP)]));

    let mut observed = kernel(VipDesired { answer: false, ..OWNER });
    observed.routes[0].protocol = 4;
    let (changes, conflicts) = plan_vip(&desired(OWNER), &observed);
    assert_eq!(changes, [], "no answers where a foreign route decides");
    assert!(matches!(&conflicts[..], [Conflict::ForeignRoute { protocol: 4, .. }]), "{conflicts:?}");
}

#[test]
fn without_an_interface_or_a_bridge_of_ours_nobody_is_answered() {
    let mut down = kernel(VipDesired::released(VIP));
    down.interface = Some(Interface { index: LAN, up: false });
    let (changes, conflicts) = plan_vip(&desired(OWNER), &down);
    assert_eq!(changes, [Change::SetBridgeRoute(VIP.into(), LB)]);
    assert_eq!(conflicts, [Conflict::InterfaceDown("eth0".into())]);

    let mut foreign = kernel(VipDesired::released(VIP));
    foreign.bridge.as_mut().unwrap().is_bridge = false;
    assert_eq!(plan_vip(&desired(OWNER), &foreign).0, []);
}

#[test]
fn strict_tracking_is_said() {
    let wanted = VipDesired { second_chance: Some(PEER), ..OWNER };
    let mut observed = kernel(wanted);
    observed.vip.strict_tracking = true;
    let (changes, conflicts) = plan_vip(&desired(wanted), &observed);
    assert_eq!(changes, []);
    assert!(matches!(&conflicts[..], [Conflict::NoSecondChance { via: PEER, .. }]), "{conflicts:?}");
}

#[test]
fn teardown_removes_all_of_it_answers_first() {
    let wanted = VipDesired { second_chance: Some(PEER), ..OWNER };
    let observed = kernel(wanted);
    let changes = plan_teardown(&desired(wanted), &observed);
    let expected = [
        Change::StopAnswering(VIP),
        Change::RemoveRoute(route(LB, BRIDGE)),
        Change::RemoveFilter,
        Change::RemoveMarkRule(MarkRule::of(VIP)),
        Change::RemoveMarkedRoute(route(PEER, LAN)),
        Change::DeleteBridge,
    ];
    assert_eq!(changes, expected);
}
