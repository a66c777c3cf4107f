//! The public address: the loop between its machine and the world.
//!
//! What to do is decided by [`manager_core::vip`]. Here the events come in - beats, ARP, the load balancer's health, the
//! disk's and the kernel's answers - and actions go out, each in a task of its own that sends its outcome back. The loop
//! waits for none of them: an owner whose disk hangs must still hear that somebody else claims.

mod check;
mod effects;
#[cfg(test)]
pub(crate) mod fake;
mod handle;
mod health;
mod kernel;
mod noise;
mod nomination;
mod stations;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use manager_core::Time;
use manager_core::core::LbTarget;
use manager_core::vip::{Action, Event, Handed, HandoverError, Outcome, Record, Timing, Vip, VipNet};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use wire::{VipNomination, VipNominationAnswer, VipReport, VipState, VipStatus};

pub use self::handle::{Handle, RequestError};
use self::health::Health;
use self::stations::Stations;
use crate::cluster;
use crate::disk::Disk;
use crate::driver;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::net::announce::{Announcer, ArpSeen};
use crate::net::{Net, VipRoute};
use crate::push::client::Client;

/// Messages that may wait for the loop; each is handled in microseconds.
const QUEUE: usize = 256;

/// For how long what this node says of itself holds. The machine wants a step every 100 ms; a loop that stands for longer
/// than this must not be heard as if it ran.
const REPORT_LIFETIME: Duration = Duration::from_secs(1);

/// How long a peer's manager may take to answer a probe: well below the machine's own patience.
const PROBE_TIMEOUT: Duration = Duration::from_millis(150);

/// What is known of the own load balancer by its manager.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LbStatus {
    /// The one to send traffic to; none while there is none to talk to.
    pub target: Option<LbTarget>,
    /// What its manager makes of its process, its heartbeat, its program and its upstream set.
    pub fitness: Fitness,
    /// Its heartbeat is late or has broken off. That says nothing for certain, and is reason to look at once.
    pub suspect: bool,
}

/// Whether a load balancer can have the public address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fitness {
    /// Too little is known: this manager has just started, or the load balancer has.
    #[default]
    Unknown,
    /// It can.
    Fit,
    /// It cannot, and why.
    Unfit(String),
}

/// Another manager.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its LAN address.
    pub lan: Ipv4Addr,
    /// Its API, for a nomination.
    pub nominate: Client,
    /// Its API, for a probe.
    pub probe: Client,
}

impl Peer {
    /// A peer whose API is at `api`.
    pub fn new(api: std::net::SocketAddrV4, token: &crate::identity::Token, timing: &Timing) -> Self {
        // The machine has a shorter patience of its own, and a longer one with a nominee that is heard at work.
        let nominate = Client::new(api.into(), Some(token.clone()), timing.effect + PROBE_TIMEOUT);
        // A probe asks who is there, so it may reach somebody else: he must not get the token.
        Self { lan: *api.ip(), nominate, probe: Client::new(api.into(), None, PROBE_TIMEOUT) }
    }

    /// The same, spoken to from this host's address `local`.
    #[must_use]
    pub fn from(self, local: std::net::IpAddr) -> Self {
        Self { nominate: self.nominate.from(local), ..self }
    }
}

/// How the load balancer is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Between the starts of two checks.
    pub interval: Duration,
    /// How long it may answer none of them.
    pub timeout: Duration,
    /// Checks that must be open for so long, or fail in a row, before it is broken.
    pub failures: u32,
}

/// What the loop works with.
pub struct Parts {
    /// For the machine.
    pub config: manager_core::vip::Config,
    /// How the load balancer is checked.
    pub checks: Checks,
    /// Where it takes traffic.
    pub lb_port: u16,
    /// The other managers.
    pub peers: BTreeMap<String, Peer>,
    /// What this node says to them.
    pub beats: cluster::Beats,
    /// What they say.
    pub incoming: cluster::Incoming,
    /// The host's network.
    pub net: Arc<Net>,
    /// Announces and asks.
    pub announcer: Arc<Announcer>,
    /// What others say of the address.
    pub seen: mpsc::Receiver<ArpSeen>,
    /// Where the record is.
    pub disk: Disk,
    /// What was on it.
    pub record: Record,
    /// What an earlier life left in the kernel.
    pub adopted: crate::net::VipDesired,
    /// The own load balancer.
    pub lb: watch::Receiver<LbStatus>,
    /// The loop that sees to VMs.
    pub driver: driver::Handle,
    /// The series to keep.
    pub metrics: Arc<Metrics>,
    /// Where decisions are told.
    pub journal: Journal,
}

type Reply<T> = oneshot::Sender<T>;

/// The peers' addresses on the LAN.
type Lans = BTreeMap<String, Ipv4Addr>;

enum Message {
    Event(Event),
    Checked { target: LbTarget, verdict: check::Verdict },
    Nominated(String, VipNomination, Reply<VipNominationAnswer>),
    Handover(Option<String>, Reply<Result<Handed, HandoverError>>),
    Leave(Reply<Result<Handed, HandoverError>>),
    Peers(BTreeMap<String, Peer>, Reply<()>),
    Status(Reply<VipStatus>),
}

/// The loop's state beside the machine.
pub struct Driver {
    vip: Vip,
    parts: Parts,
    started: Instant,
    messages: mpsc::Receiver<Message>,
    handle: Handle,
    /// Questions that wait for the machine's answer, by the number it knows them by.
    nominations: BTreeMap<u64, Reply<VipNominationAnswer>>,
    handovers: BTreeMap<u64, Reply<Result<Handed, HandoverError>>>,
    questions: u64,
    health: Health,
    told: Option<VipReport>,
    kernel: watch::Sender<kernel::Work>,
    moves: bool,
    last_malformed: Option<String>,
    /// Where the peers are on the LAN.
    lans: watch::Sender<Lans>,
    /// None of them ends before this loop does.
    tasks: JoinSet<()>,
}

/// A loop, and the handle by which it is spoken to.
pub fn new(parts: Parts) -> (Driver, Handle) {
    let (sender, messages) = mpsc::channel(QUEUE);
    let handle = Handle::new(sender);
    let lans = lans(&parts.peers);
    let adopted = kernel::adopted(&parts.adopted, &lans);
    let vip = Vip::new(Time::default(), parts.config.clone(), parts.record.clone(), adopted);
    let bridge = match parts.adopted.route {
        VipRoute::Bridge(addr) => Some(addr),
        VipRoute::Via(_) | VipRoute::None => None,
    };
    let work = kernel::Work { net: vip.desired().clone(), lb: bridge, lans };
    let driver = Driver {
        lans: watch::Sender::new(work.lans.clone()),
        vip,
        started: Instant::now(),
        messages,
        handle: handle.clone(),
        nominations: BTreeMap::new(),
        handovers: BTreeMap::new(),
        questions: 0,
        health: Health::default(),
        told: None,
        kernel: watch::Sender::new(work),
        moves: false,
        last_malformed: None,
        tasks: JoinSet::new(),
        parts,
    };
    (driver, handle)
}

impl Driver {
    /// Runs until `stop` is cancelled, or until a part of it ends by itself, without which it would decide on what is no
    /// longer so. Routes and answers stay as they are then: the data plane outlives this process.
    pub async fn run(mut self, stop: CancellationToken) {
        self.start();
        let mut actions = Vec::new();
        loop {
            let deadline = self.started + Duration::from_millis(self.vip.next_deadline().as_millis());
            tokio::select! {
                () = stop.cancelled() => return,
                ended = self.tasks.join_next() => {
                    if !stop.is_cancelled() {
                        error!(?ended, "a task of the public address ended by itself");
                    }
                    return;
                }
                Some(message) = self.messages.recv() => self.take(message, &mut actions),
                beat = self.parts.incoming.recv() => self.beat(&beat, &mut actions),
                Ok(()) = self.parts.lb.changed() => {
                    let status = self.parts.lb.borrow_and_update().clone();
                    self.health.manager_says(&status);
                    self.lb_may_have_changed(&mut actions);
                }
                () = tokio::time::sleep_until(deadline) => {}
            }
            if self.vip.next_deadline() <= self.now() {
                self.feed(Event::Tick, &mut actions);
            }
            for action in actions.drain(..) {
                self.execute(action);
            }
            self.tell_others().await;
        }
    }

    fn start(&mut self) {
        let (net, handle) = (Arc::clone(&self.parts.net), self.handle.clone());
        let kernel = kernel::run(net, self.parts.config.addr, self.kernel.subscribe(), handle);
        // What others say of the address goes through a task that finds out who they are.
        let (_, nobody) = mpsc::channel(1);
        let seen = std::mem::replace(&mut self.parts.seen, nobody);
        let stations = stations::run(self.stations(), seen, self.handle.clone());
        let checked = check::Checked {
            checks: self.parts.checks,
            vip: self.parts.config.addr,
            port: self.parts.lb_port,
            lb: self.parts.lb.clone(),
            kernel: self.kernel.subscribe(),
            driver: self.parts.driver.clone(),
        };
        let check = check::run(checked, self.handle.clone());
        self.tasks.spawn(kernel);
        self.tasks.spawn(check);
        self.tasks.spawn(stations);
        self.health.manager_says(&self.parts.lb.borrow_and_update().clone());
    }

    fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn feed(&mut self, event: Event, out: &mut Vec<Action>) {
        self.vip.step(self.now(), event, out);
    }

    fn take(&mut self, message: Message, out: &mut Vec<Action>) {
        match message {
            Message::Event(event) => self.feed(event, out),
            Message::Checked { target, verdict } => {
                if self.health.checked(&target, verdict) {
                    self.lb_may_have_changed(out);
                }
            }
            // Who has given up waiting must not be surprised later.
            Message::Nominated(_, _, reply) if reply.is_closed() => {}
            Message::Nominated(from, nomination, reply) => {
                let highest = self.vip.report().ballot.map_or(0, |ballot| ballot.epoch);
                if let Some(reason) = nomination::far_fetched(&nomination, highest) {
                    self.note(&format!("refuses a nomination by {from}: {reason}"));
                    let outcome = Outcome::Refused { reason, highest };
                    let _ = reply.send(nomination::answer(outcome, highest));
                    return;
                }
                let VipNomination { epoch, drain } = nomination;
                let id = self.next_question();
                self.nominations.insert(id, reply);
                self.feed(Event::Nominated { id, from, epoch, drain }, out);
            }
            Message::Handover(_, reply) if reply.is_closed() => {}
            Message::Handover(to, reply) => {
                let id = self.next_question();
                self.handovers.insert(id, reply);
                self.feed(Event::Handover { id, to }, out);
            }
            Message::Leave(reply) => {
                let id = self.next_question();
                self.handovers.insert(id, reply);
                self.feed(Event::Leave { id }, out);
            }
            Message::Peers(peers, done) => {
                self.set_peers(peers, out);
                let _ = done.send(());
            }
            Message::Status(reply) => drop(reply.send(self.vip.status())),
        }
    }

    /// Takes `peers` for the other managers from now on. Connections to those that stay are kept.
    fn set_peers(&mut self, peers: BTreeMap<String, Peer>, out: &mut Vec<Action>) {
        let mut before = std::mem::replace(&mut self.parts.peers, peers);
        for (node, peer) in &mut self.parts.peers {
            if let Some(known) = before.remove(node).filter(|known| known.probe.addr() == peer.probe.addr()) {
                *peer = known;
            }
        }
        self.lans.send_replace(lans(&self.parts.peers));
        self.feed(Event::Peers(self.parts.peers.keys().cloned().collect()), out);
    }

    fn stations(&self) -> Stations {
        Stations { net: Arc::clone(&self.parts.net), lans: self.lans.subscribe() }
    }

    const fn next_question(&mut self) -> u64 {
        self.questions += 1;
        self.questions
    }

    fn beat(&mut self, beat: &cluster::Beat, out: &mut Vec<Action>) {
        // It joins or leaves at this moment, and the socket knows it a moment earlier or later.
        if !self.parts.peers.contains_key(&beat.node) {
            return;
        }
        match serde_json::from_slice::<VipReport>(&beat.payload) {
            Ok(report) => self.feed(Event::Report { node: beat.node.clone(), report }, out),
            Err(error) => {
                let text = format!("{}: {error}", beat.node);
                if self.last_malformed.as_ref() != Some(&text) {
                    warn!(node = beat.node, boot = beat.boot, %error, "a peer's beat cannot be understood");
                    self.last_malformed = Some(text);
                }
            }
        }
    }

    fn lb_may_have_changed(&mut self, out: &mut Vec<Action>) {
        if let Some((healthy, reason)) = self.health.changed() {
            debug!(healthy, reason, "load balancer");
            self.feed(Event::Lb { healthy, reason }, out);
        }
    }

    /// Compares what others were told last with what is so now.
    async fn tell_others(&mut self) {
        self.parts.beats.renew(REPORT_LIFETIME);
        let report = self.vip.report();
        if self.told.as_ref() != Some(&report) {
            self.say(&report);
            self.parts.metrics.vip_is(report.state, report.ballot.as_ref().map_or(0, |ballot| ballot.epoch));
            self.told = Some(report);
        }
        let (net, lb) = (self.vip.desired(), self.health.target().map(|target| target.addr));
        self.kernel.send_if_modified(|work| {
            // While a load balancer is replaced, the way stays where it led.
            let lb = lb.or(work.lb);
            if work.net == *net && work.lb == lb && work.lans == *self.lans.borrow() {
                return false;
            }
            *work = kernel::Work { net: net.clone(), lb, lans: self.lans.borrow().clone() };
            true
        });
        let moves = self.vip.would_hand_over();
        if moves != self.moves {
            self.moves = moves;
            self.parts.driver.lb_moves(moves).await;
        }
    }

    fn say(&self, report: &VipReport) {
        let said = serde_json::to_vec(report).map_err(|error| error.to_string()).and_then(|payload| {
            self.parts.beats.set(Bytes::from(payload), REPORT_LIFETIME).map_err(|error| error.to_string())
        });
        if let Err(error) = said {
            warn!(error, "cannot say what this node has to do with the address");
        }
    }

    fn answer_nomination(&mut self, id: u64, outcome: Outcome) {
        let Some(reply) = self.nominations.remove(&id) else { return };
        let highest = self.vip.report().ballot.map_or(0, |ballot| ballot.epoch);
        let _ = reply.send(nomination::answer(outcome, highest));
    }

    fn log(&self, from: VipState, to: VipState, reason: &str) {
        info!(from = from.as_str(), to = to.as_str(), reason, "public address");
        self.parts.metrics.vip_transitions.with_label_values(&[to.as_str()]).inc();
        self.parts.journal.write("vip", &format!("{} -> {}: {reason}", from.as_str(), to.as_str()));
    }

    fn note(&self, text: &str) {
        info!(reason = text, "public address");
        self.parts.journal.write_rationed(std::time::Instant::now(), &noise::kind(text), "vip", text);
    }
}

fn lans(peers: &BTreeMap<String, Peer>) -> Lans {
    peers.iter().map(|(node, peer)| (node.clone(), peer.lan)).collect()
}
