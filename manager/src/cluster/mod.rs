//! What joins the managers to one cluster: sealed datagrams, short reports of each node, and gossip.
//!
//! - [`seal`] and [`session`]: is this datagram of a member, of its present life, and new? Pure.
//! - `transport`: the one UDP socket, and what becomes of each datagram.
//! - [`beat`]: what each node says of itself ten times a second, and at once when it changes.
//! - [`gossip`]: every node's [`table`] reaches every node; silence is noticed.
//! - [`refusal`]: who does not fit, in words that name both sides.
//!
//! Peers come from the configuration and may change while the cluster runs; nobody is learned from the
//! network. What beats and tables mean is not known here, nor what shall follow from silence.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use ipnet::Ipv4Net;
use prometheus::Registry;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use self::beat::{Beat, Beats, Incoming};
pub use self::gossip::{ForgetError, Gossip, Liveness, Marks, NodeView, View};
pub use self::refusal::Refusal;
pub use self::seal::Key;
pub use self::table::Table;
use self::transport::Endpoint;

pub mod beat;
pub mod gossip;
mod metrics;
pub mod refusal;
pub mod seal;
pub mod session;
pub mod table;
mod transport;

/// The most peers of one node: everybody speaks to everybody ten times a second.
pub const PEERS_MAX: usize = 31;

/// Why a node cannot take part in the cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is impossible.
    #[error("{field}: {message}")]
    Invalid {
        /// The field, as a dotted path.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// The address cannot be used.
    #[error("cluster: cannot receive on {addr}: {source}")]
    Bind {
        /// Which one.
        addr: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A series is registered twice, which is a mistake in this program.
    #[error("cluster: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Another node, by this node's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddr {
    /// Its name.
    pub node: String,
    /// Where it sends from and receives.
    pub addr: SocketAddrV4,
    /// Its pool.
    pub pool: Ipv4Net,
}

/// Everything a node must know to take part.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster's name: 1 to 32 of a-z, 0-9 and '-'.
    pub cluster: String,
    /// This node's name: 1 to 20 of a-z, 0-9 and '-'.
    pub node: String,
    /// Grows with every start of the manager; less than 2^56.
    pub boot: u64,
    /// Where datagrams are received and sent from: one of the host's addresses, as the peers know it.
    pub listen: SocketAddrV4,
    /// This node's pool.
    pub pool: Ipv4Net,
    /// The other nodes, at most 31.
    pub peers: Vec<PeerAddr>,
    /// The key of the cluster's datagrams.
    pub key: Key,
    /// Who was forgotten before this start, as [`Gossip::marks`] said it.
    pub forgotten: Marks,
}

fn invalid(field: impl Into<String>, message: impl Into<String>) -> Error {
    Error::Invalid { field: field.into(), message: message.into() }
}

impl Config {
    /// Checks what the configuration alone shows.
    ///
    /// # Errors
    /// The first field that is impossible.
    pub fn check(&self) -> Result<(), Error> {
        label("cluster.name", &self.cluster, seal::CLUSTER_MAX_BYTES)?;
        label("node", &self.node, seal::NODE_MAX_BYTES)?;
        if self.boot > gossip::BOOT_MAX {
            return Err(invalid("boot", format!("{} is more than {}", self.boot, gossip::BOOT_MAX)));
        }
        if self.listen.ip().is_unspecified() {
            return Err(invalid("api.listen", "must be the address peers know this node by"));
        }
        self.check_peers(&self.peers)
    }

    /// Checks `peers` against this node and each other.
    fn check_peers(&self, peers: &[PeerAddr]) -> Result<(), Error> {
        if peers.len() > PEERS_MAX {
            return Err(invalid("peers", format!("there are {}; {PEERS_MAX} are permitted", peers.len())));
        }
        let mut addrs = BTreeMap::from([(self.listen, self.node.as_str())]);
        let mut pools = BTreeMap::from([(self.node.as_str(), self.pool)]);
        for (index, peer) in peers.iter().enumerate() {
            let field = |name: &str| format!("peers[{index}].{name}");
            label(&field("node"), &peer.node, seal::NODE_MAX_BYTES)?;
            if pools.contains_key(peer.node.as_str()) {
                let owner = if peer.node == self.node { "this node's own name" } else { "given twice" };
                return Err(invalid(field("node"), format!("{} is {owner}", peer.node)));
            }
            if let Some(other) = addrs.insert(peer.addr, &peer.node) {
                let message = format!("{} of {} is the address of {other} too", peer.addr, peer.node);
                return Err(invalid(field("api"), message));
            }
            for (other, pool) in &pools {
                if pool.contains(&peer.pool) || peer.pool.contains(pool) {
                    let message = format!("{} of {} overlaps {pool} of {other}", peer.pool, peer.node);
                    return Err(invalid(field("pool"), message));
                }
            }
            pools.insert(&peer.node, peer.pool);
        }
        Ok(())
    }
}

fn label(field: &str, name: &str, max: usize) -> Result<(), Error> {
    if seal::is_label(name, max) {
        return Ok(());
    }
    Err(invalid(field, format!("{name:?} must be 1 to {max} of a-z, 0-9 and '-'")))
}

/// A node's part in the cluster. It ends when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// What this node says of itself.
    pub beats: Beats,
    /// What the peers say of themselves.
    pub incoming: Incoming,
    /// The tables of all nodes.
    pub gossip: Gossip,
    /// Who is refused. Not reading them does no harm.
    pub refusals: mpsc::Receiver<Refusal>,
    /// The rest: keep it.
    pub running: Running,
}

/// The tasks of a cluster; dropping it ends them.
pub struct Running {
    config: Config,
    endpoint: Arc<Endpoint>,
    gossip: Gossip,
    tasks: JoinSet<()>,
    ended: watch::Sender<Option<&'static str>>,
}

/// Says that a task is over, however it came to that.
struct Ending {
    task: &'static str,
    ended: watch::Sender<Option<&'static str>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.ended.send_if_modified(|ended| ended.replace(self.task).is_none());
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("node", &self.config.node).finish_non_exhaustive()
    }
}

impl Running {
    /// The address peers know this node by.
    pub fn local_addr(&self) -> SocketAddrV4 {
        self.endpoint.local()
    }

    /// Whether [`Running::set_peers`] would take `peers`.
    ///
    /// # Errors
    /// The first field that is impossible.
    pub fn check_peers(&self, peers: &[PeerAddr]) -> Result<(), Error> {
        self.config.check_peers(peers)
    }

    /// Takes `peers` for the other nodes from now on. What is known of those that stay is kept.
    ///
    /// # Errors
    /// If they are impossible; nothing is changed then.
    pub async fn set_peers(&mut self, peers: Vec<PeerAddr>) -> Result<(), Error> {
        self.config.check_peers(&peers)?;
        self.endpoint.set_peers(&peers);
        self.config.peers.clone_from(&peers);
        self.gossip.set_peers(peers).await;
        Ok(())
    }

    /// Resolves when a task of the cluster is over, with what it was to do: none ends by itself, so it has panicked, or
    /// this was stopped or dropped. Independent of `self`, which may be elsewhere meanwhile.
    pub fn ended(&self) -> impl Future<Output = &'static str> + Send + use<> {
        let mut ended = self.ended.subscribe();
        async move {
            let task = ended.wait_for(Option::is_some).await;
            task.ok().and_then(|task| *task).unwrap_or("all of it")
        }
    }

    fn spawn(&mut self, task: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let ending = Ending { task, ended: self.ended.clone() };
        self.tasks.spawn(async move {
            let _ending = ending;
            work.await;
        });
    }

    /// Ends all tasks and closes the socket.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        // The gossip borrows the endpoint for the moments in which it sends.
        while Arc::strong_count(&self.endpoint) > 1 {
            tokio::task::yield_now().await;
        }
    }
}

/// Takes part in the cluster of `config`; its series are registered with `registry`.
///
/// # Errors
/// If the configuration is impossible, or the address cannot be used.
pub async fn start(config: Config, registry: &Registry) -> Result<Cluster, Error> {
    config.check()?;
    let addr = SocketAddr::V4(config.listen);
    let socket = UdpSocket::bind(addr).await.map_err(|source| Error::Bind { addr, source })?;
    start_on(socket, config, registry).await
}

/// As [`start`], on a socket that is bound already; `config.listen` is replaced by its address.
///
/// # Errors
/// As [`start`].
pub async fn start_on(socket: UdpSocket, mut config: Config, registry: &Registry) -> Result<Cluster, Error> {
    let bind = |addr| move |source| Error::Bind { addr, source };
    let local = match socket.local_addr().map_err(bind(config.listen.into()))? {
        SocketAddr::V4(local) => local,
        SocketAddr::V6(local) => return Err(invalid("api.listen", format!("{local} is no IPv4 address"))),
    };
    config.listen = local;
    config.check()?;
    let sealer = seal::Sealer::new(&config.key, &config.cluster, &config.node)
        .ok_or_else(|| invalid("node", "cannot be part of a datagram"))?;
    // Sending never waits, and a socket takes nothing before it was seen to be ready.
    socket.writable().await.map_err(bind(local.into()))?;

    let metrics = Arc::new(metrics::Metrics::new(registry)?);
    let (reporter, refusals) = refusal::Reporter::new();
    let reporter = Arc::new(reporter);
    let inbox = Arc::new(beat::Inbox::default());
    let parts = transport::Parts {
        socket,
        local,
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        life: session::Life { session: rand::random(), boot: config.boot },
        sealer,
        metrics: Arc::clone(&metrics),
        reporter: Arc::clone(&reporter),
        inbox: Arc::clone(&inbox),
    };
    let endpoint = Arc::new(Endpoint::new(parts, &config.peers));
    let (gossip, gossiping) = gossip::new(gossip::Parts {
        endpoint: Arc::clone(&endpoint),
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        boot: config.boot,
        pool: config.pool,
        peers: config.peers.clone(),
        forgotten: config.forgotten.clone(),
        metrics,
        reporter,
    });
    let beats = Beats::new();
    let receiving = Arc::clone(&endpoint).run();
    let beating = beats.run(Arc::clone(&endpoint));
    let (tasks, ended) = (JoinSet::new(), watch::Sender::new(None));
    let mut running = Running { config, endpoint, gossip: gossip.clone(), tasks, ended };
    running.spawn("receiving datagrams", receiving);
    running.spawn("sending beats", beating);
    running.spawn("gossip", gossiping);
    Ok(Cluster { beats, incoming: Incoming::new(inbox), gossip, refusals, running })
}

#[cfg(test)]
mod tests;
