//! The spelling of everything that crosses a socket. A change here breaks running clusters.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::{
    Capacity, CreateVm, ErrorBody, FromGuest, Generation, Heartbeat, Identity, Latency, Load, NodeScaled,
    PeerAck, PeerScale, PeerScaled, PeerService, PeerServices, PutScale, PutUpstreams, Role, Scaled, Stages,
    Status, ToGuest, Upstream, UpstreamState, UpstreamStatus, UpstreamsView, Vm, VmList, VmState,
};

/// `value` is written as `text`, and `text` is read as `value`.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, text: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), text);
    assert_eq!(&serde_json::from_str::<T>(text).unwrap(), value);
}

fn refused<T: DeserializeOwned + Debug>(text: &str, why: &str) {
    let error = serde_json::from_str::<T>(text).unwrap_err().to_string();
    assert!(error.contains(why), "{text}: {error}");
}

fn upstream() -> Upstream {
    Upstream {
        id: "host1/svc-11".to_owned(),
        incarnation: 3,
        addr: "10.77.11.11:8080".parse().unwrap(),
        weight: 1,
        state: UpstreamState::Up,
        backup: false,
        max_conns: 0,
    }
}

#[test]
fn errors() {
    golden(
        &ErrorBody::new("invalid_field", "no").at("upstreams[2].addr"),
        r#"{"error":{"code":"invalid_field","message":"no","path":"upstreams[2].addr"}}"#,
    );
    golden(&ErrorBody::new("not_found", "no"), r#"{"error":{"code":"not_found","message":"no"}}"#);
}

#[test]
fn heartbeats() {
    golden(&Heartbeat { status: Status::Ok, load: None, generation: None }, r#"{"status":"OK"}"#);
    golden(
        &Heartbeat {
            status: Status::Draining,
            load: Some(Load { in_flight: 1, requests_total: 2, cpu_ms: 3, ..Load::default() }),
            generation: Some(7),
        },
        r#"{"status":"DRAINING","load":{"in_flight":1,"requests_total":2,"cpu_ms":3},"generation":7}"#,
    );
    let latency_ms = Some(Latency { mean: 0.75, p99: 12.5 });
    let load = Load { cpu_ms: 3, requests_per_second: Some(199.5), latency_ms, ..Load::default() };
    golden(
        &load,
        r#"{"in_flight":0,"requests_total":0,"cpu_ms":3,"requests_per_second":199.5,"latency_ms":{"mean":0.75,"p99":12.5}}"#,
    );
    let newer: Heartbeat = serde_json::from_str(r#"{"status":"OK","something_new":1}"#).unwrap();
    assert_eq!(newer.status, Status::Ok);
}

#[test]
fn upstreams() {
    let text = r#"{"id":"host1/svc-11","incarnation":3,"addr":"10.77.11.11:8080","weight":1,"state":"up","backup":false,"max_conns":0}"#;
    golden(
        &PutUpstreams { generation: 7, upstreams: vec![upstream()] },
        &format!(r#"{{"generation":7,"upstreams":[{text}]}}"#),
    );
    let short = r#"{"id":"host1/svc-11","incarnation":3,"addr":"10.77.11.11:8080"}"#;
    assert_eq!(serde_json::from_str::<Upstream>(short).unwrap(), upstream(), "the rest has defaults");
    golden(&Generation { generation: 7 }, r#"{"generation":7}"#);
    golden(&UpstreamState::Draining, r#""draining""#);
    let status = UpstreamStatus {
        upstream: upstream(),
        available: true,
        in_flight: 1,
        attempts_total: 2,
        failures_total: 3,
    };
    golden(
        &UpstreamsView { generation: 7, upstreams: vec![status] },
        &format!(
            r#"{{"generation":7,"upstreams":[{},"available":true,"in_flight":1,"attempts_total":2,"failures_total":3}}]}}"#,
            text.trim_end_matches('}')
        ),
    );
    refused::<PutUpstreams>(r#"{"generation":7,"upstreams":[],"x":1}"#, "unknown field `x`");
    refused::<PutUpstreams>(r#"{"upstreams":[]}"#, "missing field `generation`");
    refused::<Upstream>(&text.replace("\"up\"", "\"UP\""), "unknown variant `UP`");
    refused::<Upstream>(&text.replace("10.77.11.11:8080", "10.77.11.11"), "invalid socket address");
}

#[test]
fn peers() {
    let service = PeerService {
        id: "host2/svc-3".to_owned(),
        incarnation: 1,
        addr: "10.77.12.3:8080".parse().unwrap(),
        state: UpstreamState::Up,
    };
    golden(
        &PeerServices {
            boot: 2,
            revision: 3,
            lb: Some("10.77.12.2:80".parse().unwrap()),
            services: vec![service],
        },
        r#"{"boot":2,"revision":3,"lb":"10.77.12.2:80","services":[{"id":"host2/svc-3","incarnation":1,"addr":"10.77.12.3:8080","state":"up"}]}"#,
    );
    golden(&PeerAck { boot: 2, revision: 3 }, r#"{"boot":2,"revision":3}"#);
    refused::<PeerServices>(r#"{"boot":2,"revision":3,"services":[],"y":0}"#, "unknown field `y`");
}

#[test]
fn scaling() {
    golden(&PutScale { replicas: 5 }, r#"{"replicas":5}"#);
    refused::<PutScale>(r#"{"replicas":5,"z":1}"#, "unknown field `z`");
    refused::<PutScale>(r#"{"replicas":-1}"#, "invalid value: integer `-1`");
    refused::<PutScale>(r#"{"replicas":4294967296}"#, "invalid value: integer `4294967296`");
    refused::<PutScale>(r#"{"replicas":2.5}"#, "invalid type: floating point");
    let here = NodeScaled { node: "host1".to_owned(), from: 1, to: 3, silent: None };
    let away = NodeScaled { node: "host2".to_owned(), from: 2, to: 2, silent: Some("gone".to_owned()) };
    golden(
        &Scaled { replicas: 5, nodes: vec![here, away] },
        r#"{"replicas":5,"nodes":[{"node":"host1","from":1,"to":3},{"node":"host2","from":2,"to":2,"silent":"gone"}]}"#,
    );
    golden(&PeerScale { services: 3, expect: 1 }, r#"{"services":3,"expect":1}"#);
    refused::<PeerScale>(r#"{"services":3}"#, "missing field `expect`");
    golden(&PeerScaled { from: 1, to: 3 }, r#"{"from":1,"to":3}"#);
    golden(&Capacity { services: 3, room: 4, max: 8 }, r#"{"services":3,"room":4,"max":8}"#);
}

#[test]
fn vms() {
    golden(&CreateVm { addr: None }, "{}");
    golden(&CreateVm { addr: Some("10.77.11.3".parse().unwrap()) }, r#"{"addr":"10.77.11.3"}"#);
    refused::<CreateVm>(r#"{"adr":"10.77.11.3"}"#, "unknown field `adr`");
    let vm = Vm {
        id: "host1/svc-3".to_owned(),
        role: Role::Service,
        addr: "10.77.11.3".parse().unwrap(),
        state: VmState::Up,
        incarnation: 2,
        domain: Some("phalanx-host1-svc-3.2".to_owned()),
        qemu_pid: Some(4711),
        last_error: None,
    };
    golden(
        &VmList { vms: vec![vm] },
        r#"{"vms":[{"id":"host1/svc-3","role":"service","addr":"10.77.11.3","state":"up","incarnation":2,"domain":"phalanx-host1-svc-3.2","qemu_pid":4711}]}"#,
    );
    for state in [VmState::Starting, VmState::Up, VmState::Suspect, VmState::Draining, VmState::Down] {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
    for role in [Role::Lb, Role::Service] {
        assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
    }
}

#[test]
fn guests() {
    let identity = Identity {
        id: "host1/svc-3".to_owned(),
        role: Role::Service,
        incarnation: 2,
        hostname: "host1-svc-3".to_owned(),
        addr: "10.77.11.3".parse().unwrap(),
        gateway: "10.77.11.1".parse().unwrap(),
        gateway_mac: Some("02:00:0a:4d:0b:01".to_owned()),
        vip: None,
        config: "listen = \"0.0.0.0:8080\"\n".to_owned(),
        env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
        unix_ms: 1_700_000_000_000,
        seed: "00".repeat(32),
    };
    let text = format!(
        r#"{{"assign":{{"id":"host1/svc-3","role":"service","incarnation":2,"hostname":"host1-svc-3","addr":"10.77.11.3","gateway":"10.77.11.1","gateway_mac":"02:00:0a:4d:0b:01","config":"listen = \"0.0.0.0:8080\"\n","env":{{"A":"b"}},"unix_ms":1700000000000,"seed":"{}"}}}}"#,
        "00".repeat(32)
    );
    golden(&ToGuest::Assign(Box::new(identity.clone())), &text);
    let owner = Identity { role: Role::Lb, vip: Some("10.77.0.100".parse().unwrap()), ..identity };
    let owner_text = text
        .replace(r#""role":"service""#, r#""role":"lb""#)
        .replace(r#","config""#, r#","vip":"10.77.0.100","config""#);
    golden(&ToGuest::Assign(Box::new(owner)), &owner_text);
    refused::<ToGuest>(&text.replace("\"unix_ms\"", "\"z\":1,\"unix_ms\""), "unknown field `z`");
    golden(&ToGuest::Drain { timeout_ms: 5_000 }, r#"{"drain":{"timeout_ms":5000}}"#);
    let stages = Stages { init_ms: 1, ready_ms: 2, assigned_ms: 3, started_ms: 4 };
    let stages_text = r#"{"init_ms":1,"ready_ms":2,"assigned_ms":3,"started_ms":4}"#;
    golden(&FromGuest::Waiting(stages), &format!(r#"{{"waiting":{stages_text}}}"#));
    golden(
        &FromGuest::Assigned { id: "host1/svc-3".to_owned(), incarnation: 2 },
        r#"{"assigned":{"id":"host1/svc-3","incarnation":2}}"#,
    );
    golden(&FromGuest::Rejected { message: "no".to_owned() }, r#"{"rejected":{"message":"no"}}"#);
    golden(
        &FromGuest::Started { pid: 77, restarts: 1, stages },
        &format!(r#"{{"started":{{"pid":77,"restarts":1,"stages":{stages_text}}}}}"#),
    );
    golden(
        &FromGuest::Exited { status: "signal 9".to_owned(), backoff_ms: 100 },
        r#"{"exited":{"status":"signal 9","backoff_ms":100}}"#,
    );
    golden(&FromGuest::Draining, r#""draining""#);
}
