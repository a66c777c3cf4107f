//! When a lab counts as settled.

use serde_json::{Value, json};

use super::*;

fn status() -> Value {
    let host = |name: &str, state: &str| {
        json!({
            "name": name, "netns": format!("phx-{name}"), "lan_addr": "10.77.0.11", "api": "10.77.0.11:7700",
            "manager_pid": 7, "lb_addr": "10.77.11.2", "vip_state": state,
            "vms": [
                {"id": format!("{name}/lb-2"), "role": "lb", "ip": "10.77.11.2", "state": "up", "incarnation": 1, "qemu_pid": 41},
                {"id": format!("{name}/svc-3"), "role": "service", "ip": "10.77.11.3", "state": "up", "incarnation": 5, "qemu_pid": 42},
            ],
        })
    };
    json!({
        "vip": "10.77.0.100", "vip_owner": "host1", "net": "10.77.0.0/16", "supervisor_pid": 5,
        "client": {"netns": "phx-client", "lan_addr": "10.77.0.200"},
        "hosts": [host("host1", "active"), host("host2", "standby")],
    })
}

fn look(status: Value) -> Result<String, String> {
    let vms = BTreeMap::from([("host1".to_owned(), 2), ("host2".to_owned(), 2)]);
    settled(&serde_json::from_value(status).unwrap(), &vms).map_err(|error| error.to_string())
}

#[test]
fn one_owner_and_everything_up_is_settled() {
    assert_eq!(look(status()), Ok("host1".to_owned()));
}

#[test]
fn everything_else_is_not_and_says_why() {
    let null = Value::Null;
    for (at, value, why) in [
        ("/hosts/1/manager_pid", null.clone(), "host2 has no manager"),
        ("/hosts/0/lb_addr", null.clone(), "host1 has no load balancer"),
        ("/hosts/0/vms/1/state", json!("suspect"), "host1/svc-3 is suspect"),
        ("/hosts/0/vms/0/role", json!("service"), "host1 has no load balancer's VM"),
        ("/hosts/1/vms", json!([]), "host2 has 0 of 2 VMs"),
        ("/hosts/1/vip_state", json!("hold_down"), "host2 is in state hold_down"),
        ("/hosts/1/vip_state", null.clone(), "host2 is in state unknown"),
        ("/hosts/1/vip_state", json!("active"), "host1 and host2 own the address"),
        ("/hosts/0/vip_state", json!("standby"), "nobody owns the address"),
        ("/vip_owner", null, "host1 owns the address, and the lab says None"),
    ] {
        let mut changed = status();
        *changed.pointer_mut(at).unwrap() = value;
        assert_eq!(look(changed), Err(why.to_owned()), "{at}");
    }
    let mut silent = status();
    silent["hosts"][1]["error"] = json!("refused");
    assert_eq!(look(silent), Err("host2: refused".to_owned()));
}
