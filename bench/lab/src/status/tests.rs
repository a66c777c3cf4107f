use serde_json::json;

use super::*;

fn plan() -> Plan {
    Plan::new("10.77.0.0/16".parse().expect("a network"), 2, 24).expect("a plan")
}

fn account() -> Account {
    parse_account(json!({
        "node": "host1", "boot": 1, "accel": "tcg", "lb": "10.77.11.2:80", "lb_generation": 4,
        "vms": [
            {"id": "host1/lb-2", "role": "lb", "addr": "10.77.11.2", "state": "up", "incarnation": 1,
             "domain": "phx-lb-2", "qemu_pid": 41},
            {"id": "host1/svc-3", "role": "service", "addr": "10.77.11.3", "state": "suspect", "incarnation": 5},
        ],
        "peers": [],
        "vip": {"addr": "10.77.0.100", "node": "host1", "state": "active", "ballot": {"epoch": 3, "node": "host1"},
                "confirmed": true, "recorded": true, "reason": "started", "peers": []},
    }))
    .expect("an account")
}

fn units() -> Vec<UnitView> {
    let unit =
        |host: &str, kind, pid| UnitView { host: host.to_owned(), kind, pid, starts: 1, last_exit: None };
    vec![
        unit("host1", Kind::Libvirtd, Some(6)),
        unit("host1", Kind::Manager, Some(7)),
        unit("host2", Kind::Manager, None),
    ]
}

#[test]
fn the_names_programs_rely_on_are_there() {
    let last = vec![Vec::new(), vec![HostVm::from(account().view.vms[1].clone())]];
    let status =
        Status::build(&plan(), Some(5), &units(), vec![Ok(account()), Err("refused".to_owned())], last);
    let expected = json!({
        "vip": "10.77.0.100",
        "vip_owner": "host1",
        "net": "10.77.0.0/16",
        "supervisor_pid": 5,
        "client": {"netns": "phx-client", "lan_addr": "10.77.0.200"},
        "hosts": [
            {"name": "host1", "netns": "phx-host1", "lan_addr": "10.77.0.11", "api": "10.77.0.11:7700",
             "manager_pid": 7, "lb_addr": "10.77.11.2",
             "vip_state": "active",
             "vms": [
                {"id": "host1/lb-2", "role": "lb", "ip": "10.77.11.2", "state": "up", "incarnation": 1, "qemu_pid": 41},
                {"id": "host1/svc-3", "role": "service", "ip": "10.77.11.3", "state": "suspect", "incarnation": 5,
                 "qemu_pid": null},
             ]},
            {"name": "host2", "netns": "phx-host2", "lan_addr": "10.77.0.12", "api": "10.77.0.12:7700",
             "manager_pid": null, "lb_addr": null,
             "vip_state": null,
             "vms": [
                {"id": "host1/svc-3", "role": "service", "ip": "10.77.11.3", "state": "suspect", "incarnation": 5,
                 "qemu_pid": null},
             ],
             "error": "refused"},
        ],
    });
    assert_eq!(serde_json::to_value(&status).expect("json"), expected);
}

#[test]
fn the_load_balancers_address_is_known_from_its_vm_before_it_is_healthy() {
    let mut account = account();
    account.view.lb = None;
    let host = Host::build(&plan().hosts[0], &[], Ok(account), Vec::new());
    assert_eq!(host.lb_addr, Some(Ipv4Addr::new(10, 77, 11, 2)));
}

#[test]
fn words_are_those_of_the_json() {
    for state in [VmState::Starting, VmState::Up, VmState::Suspect, VmState::Draining, VmState::Down] {
        assert_eq!(serde_json::to_value(state).expect("json"), json!(state_word(state)));
    }
}

#[test]
fn the_table_names_every_vm_and_every_error() {
    let views = vec![Ok(account()), Err("refused".to_owned())];
    let text = Status::build(&plan(), None, &units(), views, vec![Vec::new(), Vec::new()]).table();
    for part in [
        "public address 10.77.0.100, owned by host1 (host1 active, host2 unknown)",
        "host1/lb-2",
        "host1/svc-3",
        "suspect",
        "refused",
        "http://10.77.0.12:7700",
        "supervisor has ended",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn only_one_owner_is_an_owner() {
    let with = |state: &str| {
        let mut account = account();
        account.vip = Some(VipPart { addr: [10, 77, 0, 100].into(), state: state.to_owned() });
        Ok(account)
    };
    let owner = |first: &str, second: &str| {
        let last = vec![Vec::new(), Vec::new()];
        Status::build(&plan(), None, &units(), vec![with(first), with(second)], last).vip_owner
    };
    assert_eq!(owner("standby", "active"), Some("host2".to_owned()));
    assert_eq!(owner("active", "active"), None);
    assert_eq!(owner("standby", "hold_down"), None);
}

#[test]
fn a_manager_without_a_public_address_says_nothing_of_it() {
    let view = ClusterView { vip: None, ..account().view };
    let mut value = serde_json::to_value(view).expect("json");
    assert_eq!(parse_account(value.clone()).expect("an account").vip, None);
    value["vip"] = json!(null);
    assert_eq!(parse_account(value.clone()).expect("an account").vip, None);
    value["vip"] = json!({"addr": "10.77.0.100"});
    let error = format!("{:#}", parse_account(value).expect_err("no state"));
    assert!(error.contains("missing field"), "{error}");
}
