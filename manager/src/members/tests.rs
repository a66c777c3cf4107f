//! Two nodes on loopback: a real cluster on both sides, and a real core on this one.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use manager_core::{Core, Desired, Event, Time};
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;
use wire::{PeerService, PeerView, UpstreamState};

use super::*;
use crate::cluster::{self, Cluster, Marks, PeerAddr};
use crate::config::Config;
use crate::config::tests::GOOD;
use crate::driver::fake;

/// A state that does not come about within this time never will. Nothing is concluded from how long it took.
const NEVER: Duration = Duration::from_secs(60);

struct Node {
    driver: Handle,
    journal: Journal,
    gossip: Gossip,
    account: watch::Sender<Arc<PeerServices>>,
    capacity: watch::Sender<Capacity>,
    refusals: mpsc::Sender<Refusal>,
    running: cluster::Running,
    _members: AbortOnDropHandle<Infallible>,
}

fn account(host: u8, boot: u64, revision: u64, services: u8) -> PeerServices {
    let service = |last: u8| PeerService {
        id: format!("host{host}/svc-{last}"),
        incarnation: 1,
        addr: SocketAddr::from(([10, 77, 10 + host, last], 8080)),
        state: UpstreamState::Up,
    };
    PeerServices { boot, revision, lb: None, services: (3..3 + services).map(service).collect() }
}

fn table(revision: u64, services: u8) -> Table {
    Table { account: account(2, 1, revision, services), vip: String::new(), load: String::new() }
}

/// This node with its members, and the cluster's other side.
async fn start() -> (Node, Cluster) {
    start_with(None).await
}

/// The same, with what this node believes of the public address.
async fn start_with(vip: Option<&str>) -> (Node, Cluster) {
    let config: Config = toml::from_str(GOOD).unwrap();
    let bind = async || {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(addr) = socket.local_addr().unwrap() else { unreachable!() };
        (socket, addr)
    };
    let ((here, at), (there, peer_at)) = (bind().await, bind().await);
    let join = async |socket, node: &str, pool, (peer, addr, peers_pool): (&str, _, _)| {
        let config = cluster::Config {
            cluster: "test".to_owned(),
            node: node.to_owned(),
            boot: 1,
            listen: "127.0.0.1:0".parse().unwrap(),
            pool,
            peers: vec![PeerAddr { node: peer.to_owned(), addr, pool: peers_pool }],
            key: cluster::Key::new([7; 32]),
            forgotten: Marks::new(),
        };
        cluster::start_on(socket, config, &prometheus::Registry::new()).await.unwrap()
    };
    let pools = (config.network.pool, config.peers[0].pool);
    let Cluster { gossip, running, .. } = join(here, "host1", pools.0, ("host2", peer_at, pools.1)).await;
    let other = join(there, "host2", pools.1, ("host1", at, pools.0)).await;

    let mut core = Core::new(Time::default(), config.core().unwrap());
    let event = Event::Inventory { running: vec![], desired: Desired::default() };
    core.step(Time::default(), event, &mut Vec::new());
    let driver = fake::spawn(core, Arc::new(AtomicBool::new(false)));
    let journal = Journal::new("host1");
    let account = watch::Sender::new(Arc::new(account(1, 1, 0, 0)));
    let capacity = watch::Sender::new(Capacity::default());
    let (refusals, refused) = mpsc::channel(4);
    let members = Members {
        node: "host1".to_owned(),
        vip: vip.map(|text| VipSettings::of(&toml::from_str(text).unwrap())),
        gossip: gossip.clone(),
        refusals: refused,
        account: account.subscribe(),
        capacity: capacity.subscribe(),
        driver: driver.clone(),
        journal: journal.clone(),
    };
    let members = AbortOnDropHandle::new(tokio::spawn(members.run()));
    let node = Node { driver, journal, gossip, account, capacity, refusals, running, _members: members };
    (node, other)
}

impl Node {
    /// Waits until what is known of host2 is `wanted`.
    async fn until(&self, wanted: impl Fn(&PeerView) -> bool) {
        let seen = async {
            while !self.driver.cluster().await.unwrap().peers.iter().any(&wanted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let outcome = tokio::time::timeout(NEVER, seen).await;
        assert!(outcome.is_ok(), "{:?}", self.driver.cluster().await);
    }

    /// Waits until the journal says `text` of `subject`, after what it said before.
    async fn said(&self, subject: &str, text: &str) {
        let (kept, mut news) = self.journal.read();
        let is = |event: &wire::ClusterEvent| event.subject == subject && event.text.contains(text);
        let said = async {
            if !kept.iter().any(is) {
                while !is(&news.recv().await.unwrap()) {}
            }
        };
        assert!(tokio::time::timeout(NEVER, said).await.is_ok(), "{text}: {:?}", self.journal.read().0);
    }
}

/// Waits until host1 says by gossip what `wanted` asks for.
async fn told(other: &Cluster, wanted: impl Fn(&Table) -> bool) {
    let mut view = other.gossip.view();
    let told = view.wait_for(|view| {
        view.nodes.get("host1").and_then(|node| node.table.as_ref()).is_some_and(|table| wanted(table))
    });
    let outcome = tokio::time::timeout(NEVER, told).await.is_ok();
    assert!(outcome, "{:?}", *other.gossip.view().borrow());
}

#[tokio::test]
async fn what_this_node_has_and_can_bear_is_told() {
    let (node, other) = start().await;
    let capacity = Capacity { services: 2, room: 5, max: 7 };
    node.capacity.send_replace(capacity);
    node.account.send_replace(Arc::new(account(1, 1, 1, 2)));
    let is = |table: &Table, capacity: Capacity, revision| {
        table.load == serde_json::to_string(&capacity).unwrap() && table.account.revision == revision
    };
    told(&other, |table| is(table, capacity, 1)).await;
    // The capacity alone is news too.
    let more = Capacity { room: 3, ..capacity };
    node.capacity.send_replace(more);
    told(&other, |table| is(table, more, 1)).await;
    node.account.send_replace(Arc::new(account(1, 1, 2, 1)));
    told(&other, |table| is(table, more, 2) && table.account.services.len() == 1).await;
}

#[tokio::test]
async fn a_node_that_does_not_know_itself_says_nothing() {
    let (node, other) = start().await;
    node.capacity.send_replace(Capacity { services: 0, room: 0, max: 7 });
    other.gossip.publish(table(1, 0)).unwrap();
    node.until(|peer| peer.heard_ms_ago.is_some()).await;
    assert!(other.gossip.view().borrow().nodes["host1"].table.is_none());
}

#[tokio::test]
async fn a_peer_lives_dies_is_forgotten_and_comes_back() {
    let (node, other) = start().await;
    other.gossip.publish(table(1, 2)).unwrap();
    node.until(|peer| peer.services.len() == 2).await;
    node.said("host2", "live by gossip").await;
    other.gossip.publish(table(2, 1)).unwrap();
    node.until(|peer| (peer.revision, peer.services.len()) == (2, 1)).await;

    let at = other.running.local_addr();
    other.running.stop().await;
    let mut view = node.gossip.view();
    let dead = view.wait_for(|view| view.nodes["host2"].liveness == Liveness::Dead);
    tokio::time::timeout(NEVER, dead).await.expect("host2 dies").unwrap();
    node.said("host2", "dead by gossip").await;
    node.until(|peer| peer.services.len() == 1).await;
    node.gossip.forget("host2").await.unwrap();
    node.said("host2", "forgotten by gossip").await;
    node.until(|peer| (peer.boot, peer.services.len(), peer.heard_ms_ago) == (0, 0, None)).await;

    let config: Config = toml::from_str(GOOD).unwrap();
    let back = cluster::Config {
        cluster: "test".to_owned(),
        node: "host2".to_owned(),
        boot: 2,
        listen: at,
        pool: config.peers[0].pool,
        peers: vec![PeerAddr {
            node: "host1".to_owned(),
            addr: node.running.local_addr(),
            pool: config.network.pool,
        }],
        key: cluster::Key::new([7; 32]),
        forgotten: Marks::new(),
    };
    let back = cluster::start(back, &prometheus::Registry::new()).await.unwrap();
    // Its disk is new, so its account begins anew: it is news all the same.
    back.gossip.publish(table(1, 2)).unwrap();
    node.until(|peer| (peer.boot, peer.revision, peer.services.len()) == (1, 1, 2)).await;
}

#[tokio::test]
async fn who_is_refused_is_told() {
    let (node, _other) = start().await;
    let refusal = Refusal::Table { node: "host9".to_owned(), reason: "it is not whole".to_owned() };
    let text = refusal.to_string();
    node.refusals.send(refusal).await.unwrap();
    node.said("cluster", &text).await;
}

#[tokio::test]
async fn another_idea_of_the_public_address_is_told_once_and_so_is_its_end() {
    let (node, other) = start_with(Some("addr = \"10.77.0.100\"")).await;
    node.account.send_replace(Arc::new(account(1, 1, 1, 0)));
    let says = |revision, vip: &str| {
        other.gossip.publish(Table { vip: vip.to_owned(), ..table(revision, 0) }).unwrap();
    };
    let vip = |addr: &str, silence: u64| {
        format!(r#"{{"addr":"{addr}","silence_ms":{silence},"hold_down_ms":5000,"release_ms":30000}}"#)
    };
    let same = vip("10.77.0.100", 300);
    told(&other, |table| table.vip == same).await;

    says(1, &vip("10.77.0.101", 400));
    let differs = "vip.addr is 10.77.0.100 on host1 and 10.77.0.101 on host2, vip.silence_ms is 300 on host1 and 400 \
                   on host2; it must be the same on all nodes";
    node.said("cluster", differs).await;
    says(2, &vip("10.77.0.101", 400));
    node.until(|peer| peer.revision == 2).await;
    says(3, &same);
    node.said("cluster", "[vip] is the same on host1 and host2 now").await;
    says(4, "null");
    node.said("cluster", "host1 has the public address 10.77.0.100 and host2 has none").await;
    // Once each, however often the table changed meanwhile.
    let (kept, _) = node.journal.read();
    let texts: Vec<_> =
        kept.iter().filter(|event| event.subject == "cluster").map(|event| &event.text).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
}

#[tokio::test]
async fn a_peer_that_was_removed_and_added_again_is_news() {
    let (mut node, other) = start().await;
    other.gossip.publish(table(1, 2)).unwrap();
    node.until(|peer| peer.services.len() == 2).await;
    let config: Config = toml::from_str(GOOD).unwrap();
    let member =
        PeerAddr { node: "host2".to_owned(), addr: other.running.local_addr(), pool: config.peers[0].pool };

    node.driver.set_peers(Vec::new()).await;
    node.running.set_peers(Vec::new()).await.unwrap();
    let mut view = node.gossip.view();
    let gone = view.wait_for(|view| view.nodes.is_empty());
    tokio::time::timeout(NEVER, gone).await.expect("host2 is shown for ever").unwrap();
    assert!(node.driver.cluster().await.unwrap().peers.is_empty(), "and so are its services");

    node.driver.set_peers(config.peers).await;
    node.running.set_peers(vec![member]).await.unwrap();
    // Its account has not changed meanwhile.
    node.until(|peer| (peer.revision, peer.services.len()) == (1, 2)).await;
}
