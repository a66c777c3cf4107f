use super::*;

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a network")
}

fn used(list: &[&str]) -> Vec<InUse> {
    list.iter().map(|text| InUse { net: net(text), by: "route via eth0".to_owned() }).collect()
}

#[test]
fn the_default_is_taken_when_it_is_free() {
    let choice = decide(None, &used(&["192.0.2.0/24", "10.76.0.0/16", "127.0.0.0/8"])).expect("a choice");
    assert_eq!(choice, Choice { net: net("10.77.0.0/16"), instead: None });
}

#[test]
fn the_next_free_network_replaces_a_used_default() {
    let used = used(&["10.77.3.0/24", "10.78.0.1/32"]);
    let choice = decide(None, &used).expect("a choice");
    assert_eq!(choice, Choice { net: net("10.79.0.0/16"), instead: Some(used[0].clone()) });
}

#[test]
fn a_route_to_all_of_ten_leads_elsewhere() {
    assert_eq!(decide(None, &used(&["10.0.0.0/8"])).expect("a choice").net, net("172.16.0.0/16"));
    assert!(decide(None, &used(&["10.0.0.0/8", "172.16.0.0/12"])).is_err());
}

#[test]
fn a_network_asked_for_is_never_replaced() {
    let error = decide(Some(net("10.90.0.0/16")), &used(&["10.90.1.0/24"])).expect_err("in use");
    assert_eq!(
        error.to_string(),
        "--net 10.90.0.0/16: 10.90.1.0/24 is in use on this machine (route via eth0)"
    );
    assert_eq!(decide(Some(net("10.90.0.0/16")), &[]).expect("free").net, net("10.90.0.0/16"));
}

#[test]
fn the_default_route_is_not_a_use() {
    let json = r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
        {"dst":"10.77.0.0/24","dev":"br0","protocol":"kernel","flags":[]},
        {"dst":"10.1.2.3","gateway":"192.0.2.1","dev":"eth0","flags":[]},
        {"type":"local","dst":"127.0.0.0/8","dev":"lo","table":"local","flags":[]}]"#;
    let nets: Vec<_> = routes_in_use(json).expect("routes").into_iter().map(|use_| use_.net).collect();
    assert_eq!(nets, [net("10.77.0.0/24"), net("10.1.2.3/32"), net("127.0.0.0/8")]);
}

#[test]
fn addresses_count_with_their_whole_network() {
    let json = r#"[{},{"ifname":"eth0","addr_info":[{"local":"10.77.5.9","prefixlen":23}]}]"#;
    let found = addresses_in_use(json).expect("addresses");
    assert_eq!(found, [InUse { net: net("10.77.4.0/23"), by: "address of eth0".to_owned() }]);
}
