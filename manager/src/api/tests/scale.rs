//! Scaling over several managers, each with a core and an API of its own; and over those that do not do their part.

use super::*;
use crate::cluster::Table;

const ADMIN: Option<Purpose<'static>> = Some(Purpose::Api);
const PEER: Option<Purpose<'static>> = Some(Purpose::Peer);

/// Hosts 1 to `count`, each with room for three, and each knows the others and `also`.
async fn hosts(count: u8, also: &[(String, SocketAddr)]) -> Vec<Api> {
    let (mut listeners, mut all) = (vec![], also.to_vec());
    for host in 1..=count {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        all.push((format!("host{host}"), listener.local_addr().unwrap()));
        listeners.push(listener);
    }
    let mut apis = vec![];
    for (host, listener) in (1..).zip(listeners) {
        let name = format!("host{host}");
        let peers = all.iter().filter(|(node, _)| *node != name).cloned().collect();
        apis.push(Api::with(Setup { host, listener: Some(listener), peers, ..Setup::default() }).await);
    }
    apis
}

/// Asks for `replicas`: what each node had and has, in order.
async fn scale(api: &Api, replicas: u32) -> Vec<(u64, u64)> {
    let body = json!({ "replicas": replicas }).to_string();
    let (status, answer) = api.ask(Method::PUT, "/v1/scale", ADMIN, &body).await;
    assert_eq!((status, &answer["replicas"]), (StatusCode::OK, &json!(replicas)), "{answer}");
    let nodes = answer["nodes"].as_array().unwrap();
    let number = |node: &Value, key: &str| node[key].as_u64().unwrap();
    for (node, host) in nodes.iter().zip(1..) {
        assert_eq!(node["node"], format!("host{host}"), "{answer}");
    }
    nodes.iter().map(|node| (number(node, "from"), number(node, "to"))).collect()
}

async fn services(api: &Api) -> u64 {
    let (status, capacity) = api.ask(Method::GET, "/v1/capacity", None, "").await;
    assert_eq!(status, StatusCode::OK);
    let services = capacity["services"].as_u64().unwrap();
    let vms = api.vms().await;
    let listed = vms["vms"].as_array().unwrap().iter().filter(|vm| vm["role"] == "service").count();
    assert_eq!(u64::try_from(listed).unwrap(), services, "{vms}");
    services
}

#[tokio::test]
async fn any_manager_spreads_vms_over_all_and_takes_them_back() {
    let hosts = hosts(3, &[]).await;
    assert_eq!(scale(&hosts[0], 5).await, [(0, 2), (0, 2), (0, 1)]);
    assert_eq!(scale(&hosts[1], 5).await, [(2, 2), (2, 2), (1, 1)], "asking again changes nothing");
    assert_eq!(scale(&hosts[2], 9).await, [(2, 3), (2, 3), (1, 3)]);
    let before = hosts[0].vms().await;
    let request = (Method::PUT, "/v1/scale", ADMIN, r#"{"replicas":10}"#);
    let message = hosts[0].refused(request, 409, "no_room", Some("replicas")).await;
    assert_eq!(
        message,
        "replicas: 10 do not fit: 9 are the most there can be now (host1: 3, host2: 3, host3: 3)"
    );
    assert_eq!(hosts[0].vms().await, before);
    assert_eq!(scale(&hosts[1], 4).await, [(3, 2), (3, 1), (3, 1)]);
    for (host, expected) in hosts.iter().zip([2, 1, 1]) {
        assert_eq!(services(host).await, expected);
    }
    assert_eq!(scale(&hosts[0], 0).await, [(2, 0), (1, 0), (1, 0)]);
    let (journal, _) = hosts[0].journal.read();
    let lines: Vec<_> = journal.iter().map(|event| format!("{}: {}", event.subject, event.text)).collect();
    assert!(lines.contains(&"host1: scaled from 0 to 2 service VMs".to_owned()), "{lines:?}");
    assert!(lines.contains(&"host3: scaled this node from 2 to 3 service VMs".to_owned()), "{lines:?}");
}

#[tokio::test]
async fn what_is_no_number_of_vms_is_refused_by_name() {
    let api = &hosts(1, &[]).await[0];
    for (body, field) in [
        (r#"{"replicas":-1}"#, Some("replicas")),
        (r#"{"replicas":4294967296}"#, Some("replicas")),
        (r#"{"replicas":1.5}"#, Some("replicas")),
        (r#"{"replicas":"3"}"#, Some("replicas")),
        (r#"{"replicas":null}"#, Some("replicas")),
        (r#"{"replicas":1,"on":"host1"}"#, Some("on")),
        ("{}", None),
        ("7", None),
    ] {
        api.refused((Method::PUT, "/v1/scale", ADMIN, body), 400, "invalid_body", field).await;
    }
    let huge = (Method::PUT, "/v1/scale", ADMIN, r#"{"replicas":4294967295}"#);
    api.refused(huge, 409, "no_room", Some("replicas")).await;
    for token in [None, PEER] {
        api.refused((Method::PUT, "/v1/scale", token, "garbage"), 401, "unauthorized", None).await;
    }
    api.refused((Method::POST, "/v1/scale", ADMIN, "{}"), 405, "method_not_allowed", None).await;
    assert_eq!(services(api).await, 0);
}

#[tokio::test]
async fn a_peer_changes_this_nodes_number_if_it_is_what_it_saw() {
    let hosts = hosts(2, &[]).await;
    let (api, path) = (&hosts[0], "/v1/peers/host2/scale");
    let put = |body| (Method::PUT, path, PEER, body);
    let answer = api.ask(Method::PUT, path, PEER, r#"{"services":2,"expect":0}"#).await;
    assert_eq!(answer, (StatusCode::OK, json!({"from": 0, "to": 2})));
    let capacity = api.ask(Method::GET, "/v1/capacity", None, "").await;
    assert_eq!(capacity, (StatusCode::OK, json!({"services": 2, "room": 1, "max": 3})));
    // The second of two that saw the same.
    let message = api.refused(put(r#"{"services":3,"expect":0}"#), 409, "changed", Some("expect")).await;
    assert!(message.contains("has 2 service VMs, not 0"), "{message}");
    let message = api.refused(put(r#"{"services":4,"expect":2}"#), 409, "no_room", Some("services")).await;
    assert!(message.contains("room for 1 more (3 at most): 4 do not fit"), "{message}");
    api.refused(put(r#"{"services":-1,"expect":2}"#), 400, "invalid_body", Some("services")).await;
    api.refused(put(r#"{"services":1}"#), 400, "invalid_body", None).await;
    for token in [None, ADMIN] {
        api.refused((Method::PUT, path, token, "garbage"), 401, "unauthorized", None).await;
    }
    for stranger in ["/v1/peers/host9/scale", "/v1/peers/host1/scale"] {
        let request = (Method::PUT, stranger, PEER, r#"{"services":0,"expect":2}"#);
        api.refused(request, 404, "unknown_node", None).await;
    }
    api.disk_full.store(true, Ordering::SeqCst);
    for body in [r#"{"services":0,"expect":2}"#, r#"{"services":3,"expect":2}"#] {
        api.refused(put(body), 507, "disk", None).await;
    }
    assert_eq!(services(api).await, 2);
}

#[tokio::test]
async fn a_node_that_does_not_do_its_part_is_named_and_asking_again_completes_it() {
    let hosts = hosts(3, &[]).await;
    hosts[1].disk_full.store(true, Ordering::SeqCst);
    let request = (Method::PUT, "/v1/scale", ADMIN, r#"{"replicas":6}"#);
    let message = hosts[0].refused(request, 502, "scale_incomplete", None).await;
    for part in [
        "host1 went from 0 to 2",
        "host2 did not go from 0 to 2: ",
        "nothing was changed",
        "host3 went from 0 to 2",
        "asking again completes it",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(services(&hosts[1]).await, 0);
    // The own disk is no other.
    hosts[1].disk_full.store(false, Ordering::SeqCst);
    hosts[2].disk_full.store(true, Ordering::SeqCst);
    let request = (Method::PUT, "/v1/scale", ADMIN, r#"{"replicas":9}"#);
    let message = hosts[2].refused(request, 502, "scale_incomplete", None).await;
    assert!(message.contains("host3 did not go from 2 to 3: "), "{message}");
    hosts[2].disk_full.store(false, Ordering::SeqCst);
    assert_eq!(scale(&hosts[2], 9).await, [(3, 3), (3, 3), (2, 3)]);
    assert_eq!(services(&hosts[2]).await, 3);
}

#[tokio::test]
async fn two_that_scale_at_once_do_not_add_up() {
    let hosts = hosts(3, &[]).await;
    let put = |api: usize, body: &'static str| hosts[api].ask(Method::PUT, "/v1/scale", ADMIN, body);
    let (one, other) = tokio::join!(put(0, r#"{"replicas":3}"#), put(1, r#"{"replicas":6}"#));
    for (status, answer) in [one, other] {
        let code = answer["error"]["code"].clone();
        assert!(status == StatusCode::OK || code == "scale_incomplete", "{answer}");
    }
    for host in &hosts {
        let services = services(host).await;
        assert!([1, 2].contains(&services), "{services} is neither the share of 3 nor of 6");
    }
    assert_eq!(scale(&hosts[2], 6).await.iter().map(|(_, to)| to).sum::<u64>(), 6);
}

/// Host1 among host2, whose manager takes connections and says nothing, and host3, which is not there; what host2
/// last said by gossip is `load`.
async fn among_silent_ones(load: &str) -> (Api, cluster::Running, cluster::Running, TcpListener) {
    let (here, there) = two_clusters().await;
    let service = |last: u8| wire::PeerService {
        id: format!("host2/svc-{last}"),
        incarnation: 1,
        addr: SocketAddr::from(([10, 77, 12, last], 8080)),
        state: wire::UpstreamState::Up,
    };
    let account =
        wire::PeerServices { boot: 1, revision: 1, lb: None, services: vec![service(3), service(4)] };
    there.gossip.publish(Table { account, vip: String::new(), load: load.to_owned() }).unwrap();
    until(&here.gossip, "host2", |node| node.table.is_some()).await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = vec![
        ("host2".to_owned(), mute.local_addr().unwrap()),
        ("host3".to_owned(), gone.local_addr().unwrap()),
    ];
    drop(gone);
    let api = Api::with(Setup { peers, gossip: Some(here.gossip.clone()), ..Setup::default() }).await;
    (api, here.running, there.running, mute)
}

#[tokio::test]
async fn silent_managers_vms_count_and_stay() {
    // (what host2 said of its load, how many that is)
    let cases = [(r#"{"services":5,"room":1,"max":6}"#, 5), ("", 2), ("something newer", 2)];
    for (load, known) in cases {
        let (api, _here, _there, _mute) = among_silent_ones(load).await;
        let body = json!({ "replicas": known + 3 }).to_string();
        let (status, answer) = api.ask(Method::PUT, "/v1/scale", ADMIN, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let nodes = &answer["nodes"];
        assert_eq!(
            (&nodes[0]["from"], &nodes[0]["to"], nodes[0].get("silent")),
            (&json!(0), &json!(3), None)
        );
        assert_eq!((&nodes[1]["from"], &nodes[1]["to"]), (&json!(known), &json!(known)));
        assert_eq!((&nodes[2]["from"], &nodes[2]["to"]), (&json!(0), &json!(0)));
        let silent = |node: usize| nodes[node]["silent"].as_str().unwrap().to_owned();
        assert!(silent(1).contains("did not answer within 1000 ms"), "{answer}");
        assert!(silent(2).contains("cannot reach"), "{answer}");

        let more = json!({ "replicas": known + 4 }).to_string();
        let request = (Method::PUT, "/v1/scale", ADMIN, more.as_str());
        let message = api.refused(request, 409, "no_room", Some("replicas")).await;
        assert!(message.contains(&format!("(host1: 3, host2: {known}, host3: 0)")), "{message}");
        let fewer = json!({ "replicas": known - 1 }).to_string();
        let request = (Method::PUT, "/v1/scale", ADMIN, fewer.as_str());
        let message = api.refused(request, 409, "silent_nodes", Some("replicas")).await;
        assert!(message.contains(&format!("(host2: {known})")), "{message}");
        assert_eq!(services(&api).await, 3);
    }
}

#[tokio::test]
async fn of_one_that_was_never_heard_those_count_that_are_routed_to() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = vec![("host2".to_owned(), gone.local_addr().unwrap())];
    drop(gone);
    let api = Api::with(Setup { peers, ..Setup::default() }).await;
    let service = |last: u8| wire::PeerService {
        id: format!("host2/svc-{last}"),
        incarnation: 1,
        addr: SocketAddr::from(([10, 77, 12, last], 8080)),
        state: wire::UpstreamState::Up,
    };
    let (done, taken) = tokio::sync::oneshot::channel();
    api.driver.lb_routes(vec![service(3), service(4)], done).await;
    taken.await.unwrap();
    assert_eq!(scale(&api, 3).await, [(0, 1), (2, 2)]);
}

#[tokio::test]
async fn a_manager_that_does_not_know_its_vms_yet_counts_as_silent() {
    let unready = Api::with(Setup { ready: false, host: 2, ..Setup::default() }).await;
    let scale_it = (Method::PUT, "/v1/scale", ADMIN, r#"{"replicas":1}"#);
    unready.refused(scale_it, 503, "not_ready", None).await;
    unready.refused((Method::GET, "/v1/capacity", None, ""), 503, "not_ready", None).await;
    let hosts = hosts(1, &[("host2".to_owned(), unready.addr)]).await;
    let (status, answer) = hosts[0].ask(Method::PUT, "/v1/scale", ADMIN, r#"{"replicas":2}"#).await;
    assert_eq!((status, &answer["nodes"][0]["to"]), (StatusCode::OK, &json!(2)), "{answer}");
    assert!(answer["nodes"][1]["silent"].as_str().unwrap().contains("taken stock"), "{answer}");
}
