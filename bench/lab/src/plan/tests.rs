use super::*;

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a network")
}

#[test]
fn addresses_follow_from_the_network() {
    let plan = Plan::new(net("10.78.0.0/16"), 2, 24).expect("a plan");
    assert_eq!(plan.lan, net("10.78.0.0/24"));
    assert_eq!(plan.caller, Ipv4Addr::new(10, 78, 0, 1));
    assert_eq!(plan.client, Ipv4Addr::new(10, 78, 0, 200));
    assert_eq!(plan.vip, Ipv4Addr::new(10, 78, 0, 100));
    let host2 = plan.host("host2").expect("host2");
    assert_eq!(host2.netns, "phx-host2");
    assert_eq!(host2.lan_addr, Ipv4Addr::new(10, 78, 0, 12));
    assert_eq!(host2.pool, net("10.78.12.0/24"));
    assert_eq!(host2.api().to_string(), "10.78.0.12:7700");
    assert_eq!(plan.namespaces().collect::<Vec<_>>(), ["phx-lan", "phx-client", "phx-host1", "phx-host2"]);
}

#[test]
fn only_the_last_pool_is_small() {
    let plan = Plan::new(net("10.77.0.0/16"), 3, 29).expect("a plan");
    let pools: Vec<_> = plan.hosts.iter().map(|host| host.pool).collect();
    assert_eq!(pools, [net("10.77.11.0/24"), net("10.77.12.0/24"), net("10.77.13.0/29")]);
}

#[test]
fn addresses_never_overlap_in_the_largest_lab() {
    let plan = Plan::new(net("10.77.0.0/16"), MAX_HOSTS, 24).expect("a plan");
    let mut used = vec![plan.caller, plan.client, plan.vip];
    used.extend(plan.hosts.iter().map(|host| host.lan_addr));
    let count = used.len();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), count);
    assert!(used.iter().all(|addr| plan.lan.contains(addr)));
    assert!(plan.hosts.iter().all(|host| plan.net.contains(&host.pool) && !plan.lan.contains(&host.pool)));
}

#[test]
fn sizes_out_of_range_are_refused_by_name() {
    assert_eq!(Plan::new(net("10.77.0.0/24"), 2, 24), Err(PlanError::NotSixteen(net("10.77.0.0/24"))));
    assert_eq!(Plan::new(net("10.77.1.0/16"), 2, 24), Err(PlanError::NotSixteen(net("10.77.1.0/16"))));
    assert_eq!(Plan::new(net("10.77.0.0/16"), 0, 24), Err(PlanError::Hosts(0)));
    assert_eq!(Plan::new(net("10.77.0.0/16"), 21, 24), Err(PlanError::Hosts(21)));
    assert_eq!(Plan::new(net("10.77.0.0/16"), 2, 30), Err(PlanError::PoolPrefix(30)));
    assert_eq!(Plan::new(net("10.77.0.0/16"), 2, 23), Err(PlanError::PoolPrefix(23)));
}

#[test]
fn a_vm_belongs_to_the_host_in_its_id() {
    let plan = Plan::new(net("10.77.0.0/16"), 2, 24).expect("a plan");
    assert_eq!(plan.host_of_vm("host2/svc-12").map(|host| host.name.as_str()), Some("host2"));
    assert_eq!(plan.host_of_vm("host3/svc-12"), None);
    assert_eq!(plan.host_of_vm("host2"), None);
}

#[test]
fn only_the_labs_own_namespaces_are_recognized() {
    for name in ["phx-lan", "phx-client", "phx-stranger", "phx-host1", "phx-host20"] {
        assert!(is_lab_namespace(name), "{name}");
    }
    for name in ["phx", "phx-hosts", "phx-host", "phx-host0", "phx-host21", "phx-host1x", "phx-t", "lan"] {
        assert!(!is_lab_namespace(name), "{name}");
    }
}
