//! Gossip: every node's table reaches every node, by whatever way is open, and silence is noticed.
//!
//! Scuttlebutt by the `chitchat` crate, over the cluster's own socket (`transport`). This module runs it,
//! starts it anew if it ends, publishes this node's table and keeps a [`View`] of the peers'. It refuses to
//! conclude anything from silence: a silent manager is not a dead host.
//!
//! Who is forgotten is a *mark*: a node's name and its last generation that does not count any more. Every node that
//! hears a mark of a node it does not hear itself keeps and repeats it, so it outlives the manager that was told first;
//! [`Gossip::marks`] is for the disk. Who is alive is marked by nobody.
//!
//! A generation is a boot and, in its low bits, how often the gossip was started anew within it: a state that
//! begins from nothing must not be taken for the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use self::view::{Here, Life};
pub use self::view::{Liveness, NodeView, View};
use super::PeerAddr;
use super::metrics::Metrics;
use super::refusal::Reporter;
use super::table::{self, Table};
use super::transport::Endpoint;

mod socket;
mod view;

/// Low bits of a generation: starts of the gossip within one boot.
const RESTART_BITS: u32 = 8;
/// The highest boot whose generation is a number still.
pub(super) const BOOT_MAX: u64 = u64::MAX >> RESTART_BITS;
/// Between two rounds of gossip.
pub const EVERY: Duration = Duration::from_millis(200);
/// Silence in mean intervals after which a node is dead. The mean is all but fixed (see [`detector`]), at 160 to
/// 200 ms: so dead means silent for 2.2 to 2.8 s, in a cluster of any size.
const PHI: f64 = 14.0;
/// For how long the last life of a node is passed on. Lives of a manager that restarts every second must not fill
/// the datagrams; the view keeps the last table for longer than that.
const DEAD_KEPT: Duration = Duration::from_secs(300);
/// For how long others may be away and still learn of a deletion by itself; later they get the whole table.
const DELETED_KEPT: Duration = Duration::from_secs(600);
/// After the gossip ended by itself.
const AGAIN: Duration = Duration::from_secs(1);
/// A task that did not run for this long knows nothing of who was silent meanwhile...
const ASLEEP: Duration = Duration::from_secs(1);
/// ...and holds nobody for dead before it has listened for this long.
const LISTEN: Duration = Duration::from_secs(3);
/// Requests that may wait.
const COMMANDS: usize = 16;

/// Who is forgotten, and up to which generation.
pub type Marks = BTreeMap<String, u64>;

/// Why a node cannot be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// It is no peer of this node.
    #[error("node {0} is not a configured peer")]
    Unknown(String),
    /// It is alive.
    #[error("node {0} is alive; stop its manager first")]
    Live(String),
    /// This node is going down.
    #[error("the cluster is stopped")]
    Stopped,
}

enum Command {
    Forget { node: String, answer: oneshot::Sender<Result<(), ForgetError>> },
    Peers(Vec<PeerAddr>),
}

/// This node's part in the gossip.
#[derive(Debug, Clone)]
pub struct Gossip {
    table: watch::Sender<Option<Table>>,
    view: watch::Receiver<Arc<View>>,
    marks: watch::Receiver<Marks>,
    commands: mpsc::Sender<Command>,
}

impl Gossip {
    /// Says `table` of this node from now on.
    ///
    /// # Errors
    /// If it cannot be carried; the table before is said on.
    pub fn publish(&self, table: Table) -> Result<(), table::Error> {
        table::encode(&table, &BTreeMap::new())?;
        self.table.send_replace(Some(table));
        Ok(())
    }

    /// The peers, as the gossip knows them; the latest view, however many there were meanwhile.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Who is forgotten, for [`Config::forgotten`](super::Config::forgotten) of the next start.
    pub fn marks(&self) -> watch::Receiver<Marks> {
        self.marks.clone()
    }

    /// Tells all nodes that `node`, which is dead, does not come back: until it does, with a new boot or alive after
    /// all, its table is gone everywhere.
    ///
    /// # Errors
    /// If it is no peer, or alive.
    pub async fn forget(&self, node: &str) -> Result<(), ForgetError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Forget { node: node.to_owned(), answer };
        self.commands.send(command).await.map_err(|_| ForgetError::Stopped)?;
        answered.await.map_err(|_| ForgetError::Stopped)?
    }

    pub(super) async fn set_peers(&self, peers: Vec<PeerAddr>) {
        // Stopped: then there is nobody to gossip with.
        let _ = self.commands.send(Command::Peers(peers)).await;
    }
}

/// What the gossip is made of.
pub(super) struct Parts {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) cluster: String,
    pub(super) node: String,
    pub(super) boot: u64,
    pub(super) pool: ipnet::Ipv4Net,
    pub(super) peers: Vec<PeerAddr>,
    pub(super) forgotten: Marks,
    pub(super) metrics: Arc<Metrics>,
    pub(super) reporter: Arc<Reporter>,
}

/// The handle, and the task that runs until it is dropped.
pub(super) fn new(parts: Parts) -> (Gossip, impl Future<Output = ()>) {
    let (table, tables) = watch::channel(None);
    let (views, view) = watch::channel(Arc::new(View::default()));
    let (kept, marks) = watch::channel(parts.forgotten);
    // A mark may be older than its node's return: first listen whether that is alive.
    let hold_until = Instant::now() + if marks.borrow().is_empty() { Duration::ZERO } else { LISTEN };
    let (commands, requests) = mpsc::channel(COMMANDS);
    let addr = SocketAddr::V4(parts.endpoint.local());
    let here = Here { node: parts.node, boot: parts.boot, addr, pool: parts.pool, peers: parts.peers };
    let task = Task {
        here,
        cluster: parts.cluster,
        endpoint: parts.endpoint,
        metrics: parts.metrics,
        reporter: parts.reporter,
        tables,
        views,
        requests,
        said: BTreeMap::new(),
        forgotten: kept,
        awake: Instant::now(),
        hold_until,
    };
    (Gossip { table, view, marks, commands }, task.run())
}

struct Task {
    here: Here,
    cluster: String,
    endpoint: Arc<Endpoint>,
    metrics: Arc<Metrics>,
    reporter: Arc<Reporter>,
    tables: watch::Receiver<Option<Table>>,
    views: watch::Sender<Arc<View>>,
    requests: mpsc::Receiver<Command>,
    /// The values of the table that this start of the gossip says.
    said: BTreeMap<String, String>,
    /// Who is forgotten, as far as this node knows.
    forgotten: watch::Sender<Marks>,
    /// When this task last ran.
    awake: Instant,
    hold_until: Instant,
}

impl Task {
    async fn run(mut self) {
        for restart in 0..1 << RESTART_BITS {
            let generation = (self.here.boot << RESTART_BITS) | restart;
            match self.start(generation).await {
                Ok(handle) => {
                    let ended = self.serve(&handle, restart).await;
                    handle.abort();
                    let Some(reason) = ended else { return };
                    error!(%reason, "the gossip has ended; starting it anew");
                }
                Err(reason) => error!(%reason, "the gossip cannot start; trying again"),
            }
            self.metrics.gossip_restarts.inc();
            tokio::time::sleep(AGAIN).await;
        }
        error!("the gossip ended too often; this node takes no part in it until its manager is restarted");
    }

    async fn start(&mut self, generation: u64) -> anyhow::Result<ChitchatHandle> {
        self.said.clear();
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(self.here.node.as_str(), generation, self.here.addr),
            cluster_id: self.cluster.clone(),
            gossip_interval: EVERY,
            listen_addr: self.here.addr,
            // Peers are spoken to by `call`, because seeds cannot change while the gossip runs.
            seed_nodes: Vec::new(),
            failure_detector_config: detector(),
            marked_for_deletion_grace_period: DELETED_KEPT,
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        let mut values = vec![table::encode_pool(self.here.pool)];
        values.extend(
            self.forgotten.borrow().iter().map(|(node, mark)| (table::forgotten_key(node), mark.to_string())),
        );
        spawn_chitchat(config, values, &socket::Sealed(Arc::clone(&self.endpoint))).await
    }

    /// Serves one start of the gossip: why it ended by itself, or none if the handles are gone.
    async fn serve(&mut self, handle: &ChitchatHandle, restart: u64) -> Option<anyhow::Error> {
        let mut lives = handle.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
        let ended = handle.termination_watcher();
        tokio::pin!(ended);
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.tables.mark_changed();
        loop {
            tokio::select! {
                ended = &mut ended => {
                    let reason = ended.err().unwrap_or_else(|| anyhow::anyhow!("it stopped"));
                    return Some(reason.context(format!("start {restart}")));
                }
                changed = self.tables.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                    self.say(handle).await;
                }
                command = self.requests.recv() => match command {
                    Some(Command::Forget { node, answer }) => {
                        let outcome = self.forget(handle, &node).await;
                        // Who asked may be gone; it is forgotten all the same.
                        let _ = answer.send(outcome);
                    }
                    Some(Command::Peers(peers)) => {
                        self.here.peers = peers;
                    }
                    None => return None,
                },
                _ = every.tick() => {}
                // The sender is part of the gossip, whose end is seen above.
                Ok(()) = lives.changed() => {}
            }
            self.look(handle).await;
        }
    }

    /// Says the latest table; what was said already is not said again.
    async fn say(&mut self, handle: &ChitchatHandle) {
        let Some(table) = self.tables.borrow_and_update().clone() else { return };
        let values = match table::encode(&table, &self.said) {
            Ok(values) => values,
            Err(error) => return error!(%error, "the table cannot be said"),
        };
        let now: BTreeMap<_, _> = values.iter().cloned().collect();
        let gone: Vec<_> = self.said.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
        handle
            .with_chitchat(|chitchat| {
                let own = chitchat.self_node_state();
                gone.iter().for_each(|key| own.delete(key));
                values.iter().for_each(|(key, value)| own.set(key, value));
            })
            .await;
        self.said = now;
    }

    async fn forget(&mut self, handle: &ChitchatHandle, node: &str) -> Result<(), ForgetError> {
        let view = self.views.borrow().nodes.get(node).map(|view| (view.liveness, view.generation));
        match view {
            None => return Err(ForgetError::Unknown(node.to_owned())),
            Some((Liveness::Live, _)) => return Err(ForgetError::Live(node.to_owned())),
            Some((Liveness::Unheard | Liveness::Dead | Liveness::Forgotten, generation)) => {
                let mut marks = self.forgotten.borrow().clone();
                marks.insert(node.to_owned(), generation);
                self.mark(handle, marks).await;
            }
        }
        info!(node, "node is forgotten");
        Ok(())
    }

    /// Says `marks` from now on, and no others.
    async fn mark(&self, handle: &ChitchatHandle, marks: Marks) {
        let before = self.forgotten.borrow().clone();
        if before == marks {
            return;
        }
        handle
            .with_chitchat(|chitchat| {
                let own = chitchat.self_node_state();
                for node in before.keys().filter(|node| !marks.contains_key(*node)) {
                    own.delete(&table::forgotten_key(node));
                }
                for (node, mark) in &marks {
                    own.set(table::forgotten_key(node), mark);
                }
            })
            .await;
        self.forgotten.send_replace(marks);
    }

    /// Compares the view with what the gossip holds, and speaks to those that it does not hear.
    async fn look(&mut self, handle: &ChitchatHandle) {
        let now = Instant::now();
        if now - std::mem::replace(&mut self.awake, now) > ASLEEP {
            warn!("this process was asleep; listening before anybody is held for dead");
            self.hold_until = now + LISTEN;
        }
        let lives = handle.with_chitchat(|chitchat| observe(chitchat)).await;
        let before = Arc::clone(&self.views.borrow());
        let hold = now < self.hold_until;
        let marks = self.forgotten.borrow().clone();
        let (view, marks, refusals) = view::build(&self.here, &lives, &marks, &before, hold);
        self.mark(handle, marks).await;
        for refusal in refusals {
            self.reporter.report(now.into_std(), refusal);
        }
        for peer in &self.here.peers {
            let live = view.nodes.get(&peer.node).is_some_and(|view| view.liveness == Liveness::Live);
            if !live {
                // It ends with the gossip only, which is seen elsewhere.
                let _ = handle.gossip(peer.addr.into());
            }
        }
        self.show(&before, view);
    }

    fn show(&self, before: &View, view: View) {
        for liveness in Liveness::ALL {
            let count = view.nodes.values().filter(|view| view.liveness == liveness).count();
            let gauge = self.metrics.peers.with_label_values(&[liveness.as_str()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (node, now) in &view.nodes {
            let from = before.nodes.get(node).map_or(Liveness::Unheard, |view| view.liveness);
            if from != now.liveness {
                let (from, to) = (from.as_str(), now.liveness.as_str());
                info!(node, boot = now.boot, from, to, "gossip: peer has changed");
            }
        }
        if *before != view {
            self.views.send_replace(Arc::new(view));
        }
    }
}

/// The failure timeout is `PHI` times the mean interval between heartbeats, and those come the more often the more
/// nodes pass them on. A window of two against a prior that weighs five keeps the mean near the interval.
fn detector() -> FailureDetectorConfig {
    FailureDetectorConfig {
        phi_threshold: PHI,
        sampling_window_size: 2,
        max_interval: Duration::from_secs(2),
        initial_interval: EVERY,
        dead_node_grace_period: DEAD_KEPT,
    }
}

/// All lives that the gossip holds, but this one.
fn observe(chitchat: &Chitchat) -> Vec<Life> {
    let live: BTreeSet<_> = chitchat.live_nodes().collect();
    let others = chitchat.node_states().iter().filter(|(id, _)| *id != chitchat.self_chitchat_id());
    others
        .map(|(id, state)| Life {
            node: id.node_id.to_string(),
            generation: id.generation_id,
            addr: id.gossip_advertise_addr,
            live: live.contains(id),
            values: state.key_values().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        })
        .collect()
}
