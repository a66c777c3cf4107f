//! Whole clusters on loopback: real sockets, real gossip, and a network that loses and records on demand.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::Registry;
use tokio::net::UdpSocket;
use wire::{PeerService, PeerServices, UpstreamState};

use super::metrics::Dropped;
use super::transport::DATAGRAM_MIN_BYTES;
use super::{
    Beat, Cluster, Config, Error, ForgetError, Key, Liveness, Marks, PeerAddr, Refusal, Table, start_on,
};

mod attacks;
mod membership;

/// A state that does not come about within this time never will. Nothing is concluded from how long it took.
const NEVER: Duration = Duration::from_secs(60);

/// A report that holds until the test is over.
const LONG: Duration = Duration::from_secs(3_600);

fn secret() -> Key {
    Key::new([7; 32])
}

async fn socket() -> (UdpSocket, SocketAddrV4) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let SocketAddr::V4(addr) = socket.local_addr().unwrap() else { unreachable!() };
    (socket, addr)
}

fn peer(host: u8, addr: SocketAddrV4) -> PeerAddr {
    PeerAddr { node: format!("host{host}"), addr, pool: format!("10.77.{host}.0/24").parse().unwrap() }
}

fn config(host: u8, boot: u64, addr: SocketAddrV4, peers: &[PeerAddr]) -> Config {
    let PeerAddr { node, pool, .. } = peer(host, addr);
    let peers = peers.iter().filter(|peer| peer.node != node).cloned().collect();
    Config {
        cluster: "lab".to_owned(),
        node,
        boot,
        listen: addr,
        pool,
        peers,
        key: secret(),
        forgotten: Marks::new(),
    }
}

fn table(host: u8, boot: u64, revision: u64) -> Table {
    let addr = SocketAddr::from(([10, 77, host, 11], 8080));
    let id = format!("host{host}/svc-11");
    let services = vec![PeerService { id, incarnation: revision, addr, state: UpstreamState::Up }];
    let account = PeerServices { boot, revision, lb: None, services };
    Table { account, vip: format!("vip of host{host}"), load: "0".to_owned() }
}

async fn join(socket: UdpSocket, config: Config) -> Cluster {
    let host = config.node.strip_prefix("host").unwrap().parse().unwrap();
    let boot = config.boot;
    let cluster = start_on(socket, config, &Registry::new()).await.unwrap();
    cluster.gossip.publish(table(host, boot, 1)).unwrap();
    cluster.beats.set(Bytes::from(format!("host{host} boot {boot}")), LONG).unwrap();
    cluster
}

/// Hosts 1 to `count`, at boot 1, each with all others for peers.
async fn cluster(count: u8) -> (Vec<Cluster>, Vec<PeerAddr>) {
    let (mut sockets, mut peers) = (Vec::new(), Vec::new());
    for host in 1..=count {
        let (socket, addr) = socket().await;
        sockets.push(socket);
        peers.push(peer(host, addr));
    }
    let mut nodes = Vec::new();
    for (host, socket) in (1..).zip(sockets) {
        let config = config(host, 1, peers[usize::from(host) - 1].addr, &peers);
        nodes.push(join(socket, config).await);
    }
    (nodes, peers)
}

/// Waits until `at` sees `node` like this.
async fn until(at: &Cluster, node: &str, liveness: Liveness, boot: u64, revision: Option<u64>) {
    let mut view = at.gossip.view();
    let seen = view.wait_for(|view| {
        view.nodes.get(node).is_some_and(|node| {
            let revision_seen = node.table.as_ref().map(|table| table.account.revision);
            (node.liveness, node.boot, revision_seen) == (liveness, boot, revision)
        })
    });
    let outcome = tokio::time::timeout(NEVER, seen).await.is_ok();
    assert!(outcome, "{node} is not {liveness:?} at boot {boot}: {:?}", *at.gossip.view().borrow());
}

/// Waits for a beat that `wanted` describes.
async fn beat(at: &mut Cluster, wanted: impl Fn(&Beat) -> bool) -> Beat {
    let found = async {
        loop {
            let beat = at.incoming.recv().await;
            if wanted(&beat) {
                return beat;
            }
        }
    };
    tokio::time::timeout(NEVER, found).await.expect("no such beat")
}

/// Waits for a new beat of each of `nodes`.
async fn beats_of(at: &mut Cluster, nodes: &[&str]) {
    let now = Instant::now();
    for node in nodes {
        beat(at, |beat| beat.node == *node && beat.at > now).await;
    }
}

async fn refusal(at: &mut Cluster, wanted: impl Fn(&Refusal) -> bool) -> String {
    let found = async {
        loop {
            let refusal = at.refusals.recv().await.expect("the cluster runs");
            if wanted(&refusal) {
                return refusal.to_string();
            }
        }
    };
    tokio::time::timeout(NEVER, found).await.expect("no such refusal")
}

/// Waits until `at` has dropped `count` datagrams for `reason`.
async fn dropped(at: &Cluster, reason: Dropped, count: u64) {
    let seen = async {
        while at.running.endpoint.dropped(reason) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = tokio::time::timeout(NEVER, seen).await.is_ok();
    assert!(outcome, "{reason:?}: {} of {count}", at.running.endpoint.dropped(reason));
}

async fn stop(node: Cluster) {
    node.running.stop().await;
}
