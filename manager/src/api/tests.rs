//! Every answer of the API over a real connection.

mod events;
mod nodes;
mod scale;
mod vip;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use manager_core::{Core, Desired, Event, Time};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::{Context, Parts, Places, router, serve};
use crate::cluster::{self, Cluster};
use crate::config::Config;
use crate::config::tests::GOOD;
use crate::driver::fake;
use crate::identity::{Purpose, Secret};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::scale::Scaler;

/// A state that does not come about within this time never will. Nothing is concluded from how long it took.
const NEVER: Duration = Duration::from_secs(60);

struct Api {
    addr: SocketAddr,
    driver: crate::driver::Handle,
    secret: Secret,
    journal: Journal,
    disk_full: Arc<AtomicBool>,
    stop: CancellationToken,
    places: Places,
    _running: Option<cluster::Running>,
    _dir: tempfile::TempDir,
}

/// What is served.
struct Setup {
    /// The node has taken stock.
    ready: bool,
    /// The last digit of the node's name and of its pool: `host1` has 10.77.11.0/29.
    host: u8,
    /// Where it is served; without one on a port of the kernel's choice.
    listener: Option<TcpListener>,
    /// The others' APIs.
    peers: Vec<(String, SocketAddr)>,
    /// Without one it has a cluster of its own.
    gossip: Option<cluster::Gossip>,
    vip: Option<crate::vip::Handle>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { ready: true, host: 1, listener: None, peers: vec![], gossip: None, vip: None }
    }
}

/// `host`'s configuration. Only the first has a peer.
fn config(host: u8) -> Config {
    let small = GOOD
        .replace("10.77.11.0/24", "10.77.11.0/29")
        .replace("[[peers]]", "[service]\nmax_vms = 64\n[[peers]]");
    let text =
        small.replacen("host1", &format!("host{host}"), 1).replace("10.77.11.", &format!("10.77.1{host}."));
    let text = if host == 1 { &text } else { text.split_once("[[peers]]").unwrap().0 };
    toml::from_str(text).unwrap()
}

/// The part of `host` in a cluster on loopback, with `peers` as far as it knows.
async fn cluster_of(host: u8, socket: UdpSocket, peers: Vec<cluster::PeerAddr>) -> Cluster {
    let config = config(host);
    let config = cluster::Config {
        cluster: "test".to_owned(),
        node: config.node,
        boot: 1,
        listen: "127.0.0.1:0".parse().unwrap(),
        pool: config.network.pool,
        peers,
        key: cluster::Key::new([7; 32]),
        forgotten: cluster::Marks::new(),
    };
    cluster::start_on(socket, config, &prometheus::Registry::new()).await.unwrap()
}

async fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

/// Host1 and host2, who know each other.
async fn two_clusters() -> (Cluster, Cluster) {
    let sockets = [udp().await, udp().await];
    let peer = |host: u8, socket: &UdpSocket| {
        let SocketAddr::V4(addr) = socket.local_addr().unwrap() else { unreachable!() };
        cluster::PeerAddr { node: format!("host{host}"), addr, pool: config(host).network.pool }
    };
    let (first, second) = (peer(1, &sockets[0]), peer(2, &sockets[1]));
    let [one, other] = sockets;
    (cluster_of(1, one, vec![second]).await, cluster_of(2, other, vec![first]).await)
}

/// Waits until `gossip` knows what `wanted` asks for of `node`.
async fn until(gossip: &cluster::Gossip, node: &str, wanted: impl Fn(&cluster::NodeView) -> bool) {
    let mut view = gossip.view();
    let seen = view.wait_for(|view| view.nodes.get(node).is_some_and(&wanted));
    tokio::time::timeout(NEVER, seen).await.expect(node).unwrap();
}

impl Api {
    /// Serves a node that has taken stock, if `ready`.
    async fn start(ready: bool) -> Self {
        Self::with(Setup { ready, ..Setup::default() }).await
    }

    async fn with(setup: Setup) -> Self {
        let Setup { ready, host, listener, peers, gossip, vip } = setup;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "0123456789abcdef0123456789abcdef").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let secret = Secret::load(&path).unwrap();
        let config = config(host);
        let mut core = Core::new(Time::default(), config.core().unwrap());
        if ready {
            let event = Event::Inventory { running: vec![], desired: Desired::default() };
            core.step(Time::default(), event, &mut Vec::new());
        }
        let disk_full = Arc::new(AtomicBool::new(false));
        let driver = fake::spawn(core, Arc::clone(&disk_full));
        let (gossip, running) = match gossip {
            Some(gossip) => (gossip, None),
            None => {
                let Cluster { gossip, running, .. } = cluster_of(host, udp().await, vec![]).await;
                (gossip, Some(running))
            }
        };
        let token = secret.token(Purpose::Peer);
        let journal = Journal::new(&config.node);
        let parts = Parts {
            driver: driver.clone(),
            scaler: Scaler::new(&config.node, None, peers, &token, driver.clone(), gossip.clone()),
            vip,
            gossip,
            journal: journal.clone(),
            metrics: Arc::new(Metrics::new().unwrap()),
        };
        let context = Context::new(parts, &secret);
        let listener = match listener {
            Some(listener) => listener,
            None => TcpListener::bind("127.0.0.1:0").await.unwrap(),
        };
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let places = Places::new([IpAddr::V4(Ipv4Addr::LOCALHOST)], BTreeMap::new());
        tokio::spawn(serve(listener, router(context), places.clone(), stop.clone()));
        Self { addr, driver, places, secret, journal, disk_full, stop, _running: running, _dir: dir }
    }

    async fn raw(
        &self,
        method: Method,
        path: &str,
        token: Option<Purpose<'_>>,
        body: &str,
    ) -> (StatusCode, String) {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        let token = token.map_or_else(String::new, |purpose| {
            format!("Authorization: {}\r\n", self.secret.token(purpose).header())
        });
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}Content-Length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        // A body that is refused early may meet a closed socket.
        let _ = socket.write_all(body.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect(&answer);
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<Purpose<'_>>,
        body: &str,
    ) -> (StatusCode, Value) {
        let (status, body) = self.raw(method, path, token, body).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Asks, and expects an error with this status, code and path.
    async fn refused(
        &self,
        (method, path, token, body): (Method, &str, Option<Purpose<'_>>, &str),
        status: u16,
        code: &str,
        field: Option<&str>,
    ) -> String {
        let (got, answer) = self.ask(method.clone(), path, token, body).await;
        let error = &answer["error"];
        let expected = (status, code, field.map_or(Value::Null, |field| json!(field)));
        assert_eq!(
            (got.as_u16(), error["code"].as_str().unwrap_or_default(), error["path"].clone()),
            expected,
            "{method} {path} {body:.200}: {answer}"
        );
        error["message"].as_str().unwrap().to_owned()
    }

    async fn vms(&self) -> Value {
        self.ask(Method::GET, "/v1/vms", None, "").await.1
    }
}

#[tokio::test]
async fn vms_are_created_shown_and_removed() {
    let api = Api::start(true).await;
    let (status, vm) = api.ask(Method::POST, "/v1/vms", Some(Purpose::Api), "{}").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(vm["id"], "host1/svc-3");
    assert_eq!((&vm["state"], &vm["incarnation"]), (&json!("starting"), &json!(1)));
    let (status, shown) = api.ask(Method::GET, "/v1/vms/host1/svc-3", None, "").await;
    assert_eq!((status, &shown["addr"]), (StatusCode::OK, &json!("10.77.11.3")));
    assert_eq!(api.vms().await["vms"].as_array().unwrap().len(), 2);
    let (status, cluster) = api.ask(Method::GET, "/v1/cluster", None, "").await;
    assert_eq!((status, &cluster["node"]), (StatusCode::OK, &json!("host1")));
    let (status, gone) = api.ask(Method::DELETE, "/v1/vms/host1%2Fsvc-3", Some(Purpose::Api), "").await;
    assert_eq!((status, &gone["state"]), (StatusCode::ACCEPTED, &json!("draining")));
}

#[tokio::test]
async fn what_cannot_be_granted_is_refused_by_name_and_changes_nothing() {
    let api = Api::start(true).await;
    let admin = Some(Purpose::Api);
    for _ in 0..3 {
        assert_eq!(api.ask(Method::POST, "/v1/vms", admin, "{}").await.0, StatusCode::CREATED);
    }
    let before = api.vms().await;
    let post = |body| (Method::POST, "/v1/vms", admin, body);
    let message = api.refused(post(r#"{"addr":"10.77.11.3"}"#), 409, "address_in_use", Some("addr")).await;
    assert_eq!(message, "10.77.11.3 is in use by host1/svc-3");
    let message = api.refused(post("{}"), 409, "no_room", None).await;
    assert!(message.starts_with("this node has 3 service VMs, of at most 3 "), "{message}");
    for foreign in ["10.77.11.1", "10.77.11.7", "10.77.12.3"] {
        let body = format!(r#"{{"addr":"{foreign}"}}"#);
        api.refused((Method::POST, "/v1/vms", admin, &body), 400, "invalid_field", Some("addr")).await;
    }
    let message = api.refused(post(r#"{"adr":"10.77.11.3"}"#), 400, "invalid_body", Some("adr")).await;
    assert!(message.contains("unknown field `adr`"), "{message}");
    api.refused(post(r#"{"addr":"10.77.11"}"#), 400, "invalid_body", Some("addr")).await;
    api.refused(post(r#"{"addr":7}"#), 400, "invalid_body", Some("addr")).await;
    for garbage in ["", "{", "[]", "null", "{} {}", "\u{0}", "{\"addr\":"] {
        let (status, answer) = api.ask(Method::POST, "/v1/vms", admin, garbage).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (400, &json!("invalid_body")), "{garbage:?}");
    }
    let delete = |path| (Method::DELETE, path, admin, "");
    api.refused(delete("/v1/vms/host1/svc-99"), 404, "unknown_vm", None).await;
    api.refused(delete("/v1/vms/host1/lb-2"), 409, "load_balancer", None).await;
    assert_eq!(api.vms().await, before);
}

#[tokio::test]
async fn writes_need_the_token_of_their_purpose() {
    let api = Api::start(true).await;
    let before = api.vms().await;
    let lb = Purpose::LbAdmin { node: "host1" };
    for token in [None, Some(Purpose::Peer), Some(lb)] {
        // Without the token even a bad body is not looked at.
        for body in ["{}", "garbage"] {
            api.refused((Method::POST, "/v1/vms", token, body), 401, "unauthorized", None).await;
        }
        api.refused((Method::DELETE, "/v1/vms/host1/lb-2", token, ""), 401, "unauthorized", None).await;
    }
    for token in [None, Some(Purpose::Api), Some(lb)] {
        let put = (Method::PUT, "/v1/peers/host2/services", token, "{}");
        api.refused(put, 401, "unauthorized", None).await;
    }
    assert_eq!(api.vms().await, before);
}

#[tokio::test]
async fn a_disk_that_is_full_refuses_requests_and_keeps_what_is() {
    let api = Api::start(true).await;
    let admin = Some(Purpose::Api);
    api.ask(Method::POST, "/v1/vms", admin, "{}").await;
    let before = api.vms().await;
    api.disk_full.store(true, Ordering::SeqCst);
    api.refused((Method::POST, "/v1/vms", admin, "{}"), 507, "disk", None).await;
    api.refused((Method::DELETE, "/v1/vms/host1/svc-3", admin, ""), 507, "disk", None).await;
    assert_eq!(api.vms().await, before);
    api.disk_full.store(false, Ordering::SeqCst);
    assert_eq!(api.ask(Method::POST, "/v1/vms", admin, "{}").await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn before_libvirt_is_reached_requests_are_put_off() {
    let api = Api::start(false).await;
    let message =
        api.refused((Method::POST, "/v1/vms", Some(Purpose::Api), "{}"), 503, "not_ready", None).await;
    assert!(message.contains("libvirt"), "{message}");
    assert_eq!(api.vms().await, json!({"vms": []}));
}

#[tokio::test]
async fn peers_give_accounts_of_themselves() {
    let api = Api::start(true).await;
    let path = "/v1/peers/host2/services";
    let account = |id: &str, revision| {
        json!({"boot": 1, "revision": revision, "services":
            [{"id": id, "incarnation": 1, "addr": "10.77.12.3:8080", "state": "up"}]})
        .to_string()
    };
    let peer = Some(Purpose::Peer);
    let (status, ack) = api.ask(Method::PUT, path, peer, &account("host2/svc-3", 5)).await;
    assert_eq!((status, ack), (StatusCode::OK, json!({"boot": 1, "revision": 5})));
    let (status, ack) = api.ask(Method::PUT, path, peer, &account("host2/svc-3", 4)).await;
    assert_eq!((status, ack), (StatusCode::OK, json!({"boot": 1, "revision": 5})), "the newer one is kept");
    let foreign = account("host1/svc-3", 6);
    api.refused((Method::PUT, path, peer, &foreign), 400, "invalid_field", Some("services[0].id")).await;
    let bad = account("host2/svc-3", 6).replace("up", "UP");
    api.refused((Method::PUT, path, peer, &bad), 400, "invalid_body", Some("services[0].state")).await;
    let own = account("host9/svc-3", 6);
    api.refused((Method::PUT, "/v1/peers/host9/services", peer, &own), 404, "unknown_node", None).await;
}

#[tokio::test]
async fn wrong_paths_methods_and_sizes_are_json_errors_too() {
    let api = Api::start(true).await;
    api.refused((Method::GET, "/v1/nothing", None, ""), 404, "not_found", None).await;
    api.refused((Method::GET, "/v1/vms/%ff", None, ""), 400, "invalid_path", None).await;
    api.refused((Method::PATCH, "/v1/vms", None, ""), 405, "method_not_allowed", None).await;
    api.refused((Method::POST, "/v1/cluster", None, ""), 405, "method_not_allowed", None).await;
    let large = " ".repeat(super::BODY_MAX_BYTES + 1);
    let (status, _) = api.ask(Method::POST, "/v1/vms", Some(Purpose::Api), &large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, text) = api.raw(Method::GET, "/metrics", None, "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("manager_lb_generation"), "{text}");
    assert_eq!(api.raw(Method::GET, "/healthz", None, "").await, (StatusCode::OK, "ok\n".to_owned()));
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_the_listener() {
    let api = Api::start(true).await;
    let mut idle = TcpStream::connect(api.addr).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    api.stop.cancel();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(api.addr).await.is_err());
}

#[tokio::test]
async fn a_peer_is_believed_only_where_it_is_configured_to_be() {
    let api = Api::start(true).await;
    let peer = Some(Purpose::Peer);
    let account = json!({"boot": 1, "revision": 1, "services": []}).to_string();
    let path = "/v1/peers/host2/services";
    api.places.set_peers([("host2".to_owned(), "10.77.0.12".parse().unwrap())].into());
    for (method, path, body) in [
        (Method::PUT, path, account.as_str()),
        (Method::PUT, "/v1/peers/host2/scale", r#"{"services": 1, "expect": 0}"#),
        (Method::POST, "/v1/peers/host2/vip/nomination", r#"{"epoch": 1, "drain": false}"#),
    ] {
        let message = api.refused((method, path, peer, body), 403, "wrong_address", None).await;
        assert!(message.contains("10.77.0.12") && message.contains("127.0.0.1"), "{message}");
    }
    // Who has no token learns nothing of addresses.
    api.refused((Method::PUT, path, None, &account), 401, "unauthorized", None).await;
    api.places.set_peers([("host2".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))].into());
    let (status, _) = api.ask(Method::PUT, path, peer, &account).await;
    assert_eq!(status, StatusCode::OK);
}
