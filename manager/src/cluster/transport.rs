//! The cluster's one UDP socket: what leaves is sealed and numbered, what arrives is opened, judged and
//! handed on by its kind.
//!
//! A payload is handed on only if its seal is good, its sender is a configured peer that speaks from its
//! configured address, and its session is proven (see [`session`](super::session)). All else is counted by
//! its reason, and said in the log at most once per reason and 10 seconds. Members that do not fit the
//! configuration are asked for the same proof as peers before they are refused by name, because a recording
//! of one says nothing about today.
//!
//! Nothing here waits for a reader or for the network: what does not fit into a buffer is lost, as datagrams are.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, info, warn};

use super::PeerAddr;
use super::beat::{Beat, Inbox};
use super::metrics::{Dropped, Metrics};
use super::refusal::{Refusal, Reporter};
use super::seal::{DATAGRAM_MAX_BYTES, Envelope, OVERHEAD_MAX_BYTES, OpenError, Sealer};
use super::session::{FRAME_BYTES, Frame, Kind, Life, Session, Verdict};
use strangers::Strangers;

mod strangers;

/// No datagram is shorter, and a hello is never longer: so no answer is longer than what it answers.
pub(super) const DATAGRAM_MIN_BYTES: usize = OVERHEAD_MAX_BYTES + FRAME_BYTES;
/// The longest message of the gossip.
pub(super) const GOSSIP_MAX_BYTES: usize = DATAGRAM_MAX_BYTES - DATAGRAM_MIN_BYTES;
/// Hellos to one peer: a handshake needs three, noise gets no more.
const HELLO_EVERY: Duration = Duration::from_millis(20);
/// Between two lines of log for the same reason.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// Messages of the gossip that may wait to be read.
const GOSSIP_QUEUE: usize = 64;
/// After the socket itself failed.
const SOCKET_AGAIN: Duration = Duration::from_millis(100);

/// A message of the gossip and the address of its sender.
pub(super) type GossipMessage = (SocketAddr, Bytes);

/// What an endpoint is made of.
pub(super) struct Parts {
    pub(super) socket: UdpSocket,
    pub(super) local: SocketAddrV4,
    pub(super) cluster: String,
    pub(super) node: String,
    pub(super) life: Life,
    pub(super) sealer: Sealer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) inbox: Arc<Inbox>,
}

/// The socket and all sessions on it.
pub(super) struct Endpoint {
    of: Parts,
    state: Mutex<State>,
    gossip: Mutex<Option<mpsc::Sender<GossipMessage>>>,
    introduced: Notify,
    #[cfg(test)]
    pub(super) faults: faults::Faults,
}

struct State {
    peers: BTreeMap<String, Peer>,
    strangers: Strangers,
    /// When a reason was last said in the log, and how often it was not said since.
    warned: BTreeMap<Dropped, (Instant, u64)>,
}

struct Peer {
    addr: SocketAddr,
    session: Session,
    /// When it last got a hello.
    hello: Option<Instant>,
}

/// A random number that is not zero.
fn random() -> NonZeroU64 {
    NonZeroU64::new(rand::random()).unwrap_or(NonZeroU64::MIN)
}

impl Peer {
    fn new(addr: SocketAddrV4) -> Self {
        Self { addr: addr.into(), session: Session::new(random()), hello: None }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    pub(super) fn new(parts: Parts, peers: &[PeerAddr]) -> Self {
        let peers = peers.iter().map(|peer| (peer.node.clone(), Peer::new(peer.addr))).collect();
        let state = State { peers, strangers: Strangers::default(), warned: BTreeMap::new() };
        Self {
            of: parts,
            state: Mutex::new(state),
            gossip: Mutex::new(None),
            introduced: Notify::new(),
            #[cfg(test)]
            faults: faults::Faults::default(),
        }
    }

    /// The address peers know this node by.
    pub(super) const fn local(&self) -> SocketAddrV4 {
        self.of.local
    }

    /// Takes `peers` for the configured ones from now on. Sessions with those that stay at their address go on.
    pub(super) fn set_peers(&self, peers: &[PeerAddr]) {
        let mut state = lock(&self.state);
        let mut before = std::mem::take(&mut state.peers);
        for peer in peers {
            let kept = before.remove(&peer.node).filter(|known| known.addr == SocketAddr::V4(peer.addr));
            state.peers.insert(peer.node.clone(), kept.unwrap_or_else(|| Peer::new(peer.addr)));
        }
    }

    /// Resolves after a peer has proved a new session.
    pub(super) async fn introduced(&self) {
        self.introduced.notified().await;
    }

    /// Where the gossip's messages come out from now on; the reader before gets no more.
    pub(super) fn read_gossip(&self) -> mpsc::Receiver<GossipMessage> {
        let (sender, receiver) = mpsc::channel(GOSSIP_QUEUE);
        *lock(&self.gossip) = Some(sender);
        receiver
    }

    /// Sends `payload` to every peer.
    pub(super) fn send_to_all(&self, kind: Kind, payload: &[u8]) {
        let mut state = lock(&self.state);
        for peer in state.peers.values_mut() {
            let frame = peer.session.frame(self.of.life, kind);
            self.send(peer.addr, &frame, payload);
        }
    }

    /// Sends `payload` to the peer at `addr`; whether there is one.
    pub(super) fn send_to(&self, addr: SocketAddr, kind: Kind, payload: &[u8]) -> bool {
        let mut state = lock(&self.state);
        let Some(peer) = state.peers.values_mut().find(|peer| peer.addr == addr) else { return false };
        let frame = peer.session.frame(self.of.life, kind);
        self.send(addr, &frame, payload);
        true
    }

    fn send(&self, to: SocketAddr, frame: &Frame, payload: &[u8]) {
        let plain_min = DATAGRAM_MIN_BYTES - self.of.sealer.overhead();
        let sealed =
            frame.encode(payload, plain_min).and_then(|plain| self.of.sealer.seal(rand::random(), &plain));
        let sent = match sealed {
            Some(datagram) => self.transmit(&datagram, to),
            None => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
        };
        self.of.metrics.sent(frame.kind, sent.is_ok());
        if let Err(error) = sent {
            // No route, no room: what is lost is sent again by those who need it.
            debug!(%error, %to, kind = frame.kind.as_str(), bytes = payload.len(), "cannot send a datagram");
        }
    }

    fn transmit(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.loses(datagram, to) {
            return Ok(());
        }
        self.of.socket.try_send_to(datagram, to).map(|_| ())
    }

    /// Receives until it is dropped. Dropping the future loses at most what is in the socket's buffer.
    pub(super) async fn run(self: Arc<Self>) {
        let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
        loop {
            match self.of.socket.recv_from(&mut buffer).await {
                Ok((length, from)) => self.receive(Instant::now(), from, &buffer[..length]),
                Err(error) => {
                    warn!(%error, "cannot receive datagrams; trying again");
                    tokio::time::sleep(SOCKET_AGAIN).await;
                }
            }
        }
    }

    /// Judges one datagram and hands its payload on.
    pub(super) fn receive(&self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if let Err((reason, detail)) = self.take(now, from, datagram) {
            self.of.metrics.dropped(reason);
            self.complain(now, from, reason, &detail);
        }
    }

    fn take(&self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<(), (Dropped, String)> {
        let envelope = Envelope::parse(datagram).map_err(|error| (unreadable(&error), error.to_string()))?;
        if datagram.len() < DATAGRAM_MIN_BYTES {
            return Err((Dropped::Malformed, format!("has {} bytes", datagram.len())));
        }
        let sender = envelope.sender;
        if envelope.cluster != self.of.cluster {
            self.of.reporter.report(
                now,
                Refusal::Cluster {
                    node: sender.to_owned(),
                    there: from,
                    theirs: envelope.cluster.to_owned(),
                    here: self.of.node.clone(),
                    ours: self.of.cluster.clone(),
                },
            );
            return Err((Dropped::OtherCluster, format!("is of cluster {}", envelope.cluster)));
        }
        let plain = self.of.sealer.open(&envelope).map_err(|error| {
            self.report_secret(now, sender, from);
            (Dropped::WrongKey, error.to_string())
        })?;
        let (frame, payload) = Frame::decode(&plain)
            .ok_or_else(|| (Dropped::Malformed, format!("of node {sender} has no frame")))?;
        if sender == self.of.node && frame.life.session == self.of.life.session {
            return Err((Dropped::Reflected, "was sent by this process itself".to_owned()));
        }
        let mut state = lock(&self.state);
        match state.peers.get_mut(sender) {
            Some(peer) if peer.addr == from => {
                let verdict = peer.session.receive(&frame, random());
                let wants_hello = match verdict {
                    Verdict::Adopted { .. } => true,
                    Verdict::Unproven => {
                        peer.hello.is_none_or(|at| now.saturating_duration_since(at) >= HELLO_EVERY)
                    }
                    Verdict::Taken | Verdict::Replayed | Verdict::Overtaken => false,
                };
                if wants_hello {
                    peer.hello = Some(now);
                    let hello = peer.session.hello(self.of.life, &frame);
                    self.send(from, &hello, &[]);
                }
                drop(state);
                self.judged(now, sender, from, &frame, payload, verdict)
            }
            known => {
                let configured = known.map(|peer| peer.addr);
                let (hello, proven) = state.strangers.receive(now, sender, from, &frame, self.of.life);
                drop(state);
                if let Some(hello) = hello {
                    self.send(from, &hello, &[]);
                }
                Err(self.refuse(now, sender, from, configured, &frame, proven))
            }
        }
    }

    /// Hands on what a peer sent, if it is new.
    fn judged(
        &self,
        now: Instant,
        node: &str,
        from: SocketAddr,
        frame: &Frame,
        payload: &[u8],
        verdict: Verdict,
    ) -> Result<(), (Dropped, String)> {
        let detail = || format!("of node {node}, {} {}", frame.kind.as_str(), frame.sequence);
        match verdict {
            Verdict::Taken => {}
            Verdict::Adopted { before } => self.greet(now, node, from, frame.life, before),
            Verdict::Unproven => return Err((Dropped::Unproven, detail())),
            Verdict::Replayed => return Err((Dropped::Replayed, detail())),
            Verdict::Overtaken => return Err((Dropped::Overtaken, detail())),
        }
        match frame.kind {
            Kind::Hello => {}
            Kind::Beat => {
                let payload = Bytes::copy_from_slice(payload);
                self.of.inbox.put(Beat { node: node.to_owned(), boot: frame.life.boot, payload, at: now });
            }
            Kind::Gossip => {
                let reader = lock(&self.gossip);
                let message = (from, Bytes::copy_from_slice(payload));
                if reader.as_ref().is_none_or(|reader| reader.try_send(message).is_err()) {
                    return Err((Dropped::Overrun, detail()));
                }
            }
        }
        self.of.metrics.received(frame.kind);
        Ok(())
    }

    fn greet(&self, now: Instant, node: &str, from: SocketAddr, life: Life, before: Option<Life>) {
        self.introduced.notify_one();
        let before_boot = before.map(|before| before.boot);
        info!(node, addr = %from, boot = life.boot, before = ?before_boot, "a life of this peer begins to be heard");
        if let Some(before) = before.filter(|before| life.boot < before.boot) {
            let refusal =
                Refusal::BootWentBack { node: node.to_owned(), boot: life.boot, before: before.boot };
            self.of.reporter.report(now, refusal);
        }
    }

    /// Says why a member is none of ours, once it has proved that it is one.
    fn refuse(
        &self,
        now: Instant,
        node: &str,
        from: SocketAddr,
        configured: Option<SocketAddr>,
        frame: &Frame,
        proven: bool,
    ) -> (Dropped, String) {
        let name = node.to_owned();
        let (reason, refusal) = match configured {
            _ if node == self.of.node => {
                let (here, boot) = (self.of.local.into(), self.of.life.boot);
                let refusal =
                    Refusal::SameName { node: name, here, boot, there: from, other_boot: frame.life.boot };
                (Dropped::OwnName, refusal)
            }
            Some(configured) => {
                (Dropped::WrongAddress, Refusal::Address { node: name, configured, there: from })
            }
            None => {
                let here = self.of.node.clone();
                (Dropped::UnknownSender, Refusal::Unknown { node: name, there: from, here })
            }
        };
        if proven {
            self.of.reporter.report(now, refusal);
        }
        (reason, format!("of node {node}"))
    }

    /// A peer with another secret is worth a word; noise is not.
    fn report_secret(&self, now: Instant, sender: &str, from: SocketAddr) {
        if lock(&self.state).peers.get(sender).is_some_and(|peer| peer.addr == from) {
            let here = self.of.node.clone();
            self.of.reporter.report(now, Refusal::Secret { node: sender.to_owned(), there: from, here });
        }
    }

    fn complain(&self, now: Instant, from: SocketAddr, reason: Dropped, detail: &str) {
        if reason.is_ordinary() {
            debug!(%from, reason = reason.as_str(), detail, "datagram is not used");
            return;
        }
        let mut state = lock(&self.state);
        let more = match state.warned.get_mut(&reason) {
            Some((at, unsaid)) if now.saturating_duration_since(*at) < WARN_EVERY => {
                *unsaid += 1;
                return;
            }
            said => said.map_or(0, |(_, unsaid)| *unsaid),
        };
        state.warned.insert(reason, (now, 0));
        drop(state);
        warn!(%from, reason = reason.as_str(), detail, more, "datagram is refused");
    }

    #[cfg(test)]
    pub(super) fn strangers(&self) -> usize {
        lock(&self.state).strangers.len()
    }

    #[cfg(test)]
    pub(super) fn dropped(&self, reason: Dropped) -> u64 {
        self.of.metrics.count(reason)
    }

    #[cfg(test)]
    pub(super) fn gossip_restarts(&self) -> u64 {
        self.of.metrics.gossip_restarts.get()
    }
}

const fn unreadable(error: &OpenError) -> Dropped {
    match error {
        OpenError::Malformed => Dropped::Malformed,
        OpenError::Foreign => Dropped::Foreign,
        OpenError::Version(_) => Dropped::Version,
        OpenError::Key => Dropped::WrongKey,
    }
}

#[cfg(test)]
pub(super) mod faults;
