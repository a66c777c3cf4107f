//! ARP for the public address on the LAN: announces it while this host owns it, asks who has it, and listens for
//! others that claim it.
//!
//! It decides nothing: whether to announce, and what another's claim means, is up to whoever holds the [`Announcer`].
//! It does not answer questions either: the kernel does, with its proxy entry ([`super::Net::set_vip`]), and goes on
//! when this process stands still.
//!
//! The interface may vanish and come back. While it is away nothing is sent and a probe fails rather than
//! finding nobody; when it is back, the announcements begin anew after half a second, unless they were stopped meanwhile:
//! another host may have taken the address in between.

mod core;
mod lan;
mod schedule;
mod socket;

use std::convert::Infallible;
use std::future;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use manager_core::Time;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use self::core::{Core, Input, Lan, Output};
use self::socket::ArpSocket;
use super::arp::{Frame, Operation};
use super::mac::MacAddr;

/// Probes that may wait for their turn. Further callers wait with them, outside.
const PROBES: usize = 16;

/// Claims of others that may wait to be looked at. Those beyond are dropped: one more says nothing new.
const SEEN: usize = 64;

/// How often the interface is looked at even if the kernel said nothing of a change.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The longest wait for a look at the kernel's tables; it takes microseconds.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// Somebody else's ARP frame has the address as its sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpSeen {
    /// Where it says the address is.
    pub mac: MacAddr,
    /// Whether it announces the address, rather than answering a question.
    pub announcement: bool,
}

/// Why it is unknown whether somebody has the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// `network.interface` does not exist, or is no Ethernet.
    #[error("network.interface: there is no Ethernet interface {0:?}")]
    NoInterface(String),
    /// It is down, or its cable is unplugged.
    #[error("network.interface: {0:?} is down or has no carrier")]
    NoCarrier(String),
    /// It has no IPv4 address to ask from.
    #[error("network.interface: {0:?} has no IPv4 address")]
    NoAddress(String),
    /// The socket cannot be opened or sent on.
    #[error("network.interface: cannot use ARP on {interface:?}: {reason}")]
    Socket {
        /// The interface.
        interface: String,
        /// The kernel's reason.
        reason: String,
    },
    /// The announcer has ended.
    #[error("the announcer has ended")]
    Ended,
}

/// The announcer's task, which ends when this is dropped.
pub struct Announcer {
    announcing: watch::Sender<Announcing>,
    probes: mpsc::Sender<oneshot::Sender<Probed>>,
    task: JoinHandle<Infallible>,
}

type Probed = Result<Option<MacAddr>, ProbeError>;

/// Whether to announce; `start` differs at each start.
#[derive(Debug, Clone, Copy, Default)]
struct Announcing {
    on: bool,
    start: u64,
}

impl Announcer {
    /// Starts to listen for `vip` on `interface`, in the network namespace of the calling thread. A missing interface is
    /// no error: it is taken into use when it appears.
    ///
    /// The receiver gets what others say of the address, at most 64 at a time; what comes when it is full is dropped.
    ///
    /// # Errors
    /// When no netlink socket can be opened.
    pub async fn open(interface: String, vip: Ipv4Addr) -> io::Result<(Self, mpsc::Receiver<ArpSeen>)> {
        let (announcing, changes) = watch::channel(Announcing::default());
        let (probes, questions) = mpsc::channel(PROBES);
        let (seen, receiver) = mpsc::channel(SEEN);
        let core = Core::new(interface.clone(), vip);
        let watch = LinkWatch::open()?;
        let mut task = Task {
            interface,
            vip,
            core,
            watch,
            socket: None,
            started: Instant::now(),
            waiting: None,
            seen,
            trouble: None,
        };
        task.look().await;
        let task = tokio::spawn(task.run(changes, questions));
        Ok((Self { announcing, probes, task }, receiver))
    }

    /// Announces the address: at once, 0.2, 1.1, 2.2, 3.3 and 4.4 s later, and then every 15 s. Called again, it begins
    /// anew.
    pub fn start(&self) {
        self.announcing.send_modify(|announcing| {
            announcing.on = true;
            announcing.start = announcing.start.wrapping_add(1);
        });
    }

    /// Announces no more.
    pub fn stop(&self) {
        self.announcing.send_modify(|announcing| announcing.on = false);
    }

    /// Asks who has the address, three times within 100 ms, and waits for an answer for 50 ms more. Probes take turns.
    ///
    /// Returns the first other station that answered (or announced the address meanwhile), or none. This host's own
    /// kernel is not asked. Cancelling it is safe: the questions go out, and nobody waits for the answer.
    ///
    /// # Errors
    /// When nothing could be asked; that nobody answered means nothing then.
    pub async fn probe(&self) -> Result<Option<MacAddr>, ProbeError> {
        let (answer, answered) = oneshot::channel();
        self.probes.send(answer).await.map_err(|_| ProbeError::Ended)?;
        answered.await.map_err(|_| ProbeError::Ended)?
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    interface: String,
    vip: Ipv4Addr,
    core: Core,
    watch: LinkWatch,
    /// With the number of its interface.
    socket: Option<(u32, ArpSocket)>,
    started: Instant,
    waiting: Option<oneshot::Sender<Probed>>,
    seen: mpsc::Sender<ArpSeen>,
    /// What is wrong with the socket, so that it is said once.
    trouble: Option<String>,
}

impl Task {
    async fn run(
        mut self,
        mut announcing: watch::Receiver<Announcing>,
        mut probes: mpsc::Receiver<oneshot::Sender<Probed>>,
    ) -> Infallible {
        let mut look_at = Instant::now() + LOOK_AGAIN;
        let mut last_start = 0;
        loop {
            let deadline = self.core.next_deadline().map(|at| self.instant(at));
            let input = tokio::select! {
                // Orders first: a flood of frames must not delay the end of announcements.
                biased;
                Ok(()) = announcing.changed() => {
                    let Announcing { on, start } = *announcing.borrow_and_update();
                    match (on, start != last_start) {
                        (true, true) => { last_start = start; Input::Start }
                        (true, false) => Input::Tick,
                        (false, _) => { last_start = start; Input::Stop }
                    }
                }
                Some(waiting) = probes.recv(), if !self.core.is_probing() => {
                    self.waiting = Some(waiting);
                    Input::Probe
                }
                () = sleep_until(deadline) => Input::Tick,
                () = self.watch.changed() => { look_at = Instant::now(); Input::Tick }
                () = tokio::time::sleep_until(look_at) => Input::Tick,
                frame = recv(self.socket.as_ref()) => match frame {
                    Ok(frame) => Input::Frame(frame),
                    Err(error) => {
                        // A packet socket says once that its interface went down, and goes on when it is up again.
                        debug!(interface = self.interface, %error, "the ARP socket has an error");
                        self.socket = None;
                        look_at = look_at.min(Instant::now() + LOOK_AGAIN / 10);
                        Input::Tick
                    }
                },
            };
            self.step(input).await;
            if Instant::now() >= look_at {
                self.look().await;
                look_at = Instant::now() + LOOK_AGAIN;
            }
        }
    }

    /// Looks at the interface, and takes it into use if it is another one than before.
    async fn look(&mut self) {
        let look = lan::look(&self.watch.handle, &self.interface, self.vip);
        let lan = match tokio::time::timeout(LOOK_TIMEOUT, look).await {
            Ok(Ok(lan)) => lan,
            // The interface is most likely as it was.
            failed => {
                debug!(interface = self.interface, ?failed, "cannot look at the interface");
                self.watch.reopen();
                return;
            }
        };
        if self.socket.as_ref().map(|(index, _)| *index) != lan.map(|lan| lan.index) {
            self.socket = None;
        }
        if let Some(Lan { index, .. }) = lan
            && self.socket.is_none()
        {
            match ArpSocket::open(index, self.vip) {
                Ok(socket) => {
                    self.socket = Some((index, socket));
                    if self.trouble.take().is_some() {
                        info!(interface = self.interface, "ARP works again");
                    }
                }
                Err(error) => self.complain(&error),
            }
        }
        self.step(Input::Lan(lan)).await;
    }

    async fn step(&mut self, input: Input) {
        let now = self.now();
        let mut out = Vec::new();
        self.core.step(now, input, &mut out);
        for output in out {
            match output {
                Output::Send(frame) => self.send(&frame),
                Output::AnnounceToNeighbours(lan) => self.tell_stations(&lan).await,
                Output::Probed(result) => self.probed(result),
                Output::Seen(seen) => {
                    if self.seen.try_send(seen).is_err() {
                        debug!(mac = %seen.mac, "dropped: too many claims of the address wait to be looked at");
                    }
                }
            }
        }
    }

    fn probed(&mut self, result: Probed) {
        // Questions that did not get out cannot have been answered.
        let result = match (result, &self.socket, &self.trouble) {
            (Ok(None), None, reason) => Err(ProbeError::Socket {
                interface: self.interface.clone(),
                reason: reason.clone().unwrap_or_else(|| "it was closed meanwhile".to_owned()),
            }),
            (Ok(None), Some(_), Some(reason)) => {
                Err(ProbeError::Socket { interface: self.interface.clone(), reason: reason.clone() })
            }
            (result, ..) => result,
        };
        if let Some(waiting) = self.waiting.take() {
            // Who asked may have lost interest.
            let _ = waiting.send(result);
        }
    }

    fn send(&mut self, frame: &Frame) {
        let Some((_, socket)) = &self.socket else { return };
        match socket.send(frame) {
            Ok(()) => self.trouble = None,
            Err(error) => self.complain(&error),
        }
    }

    async fn tell_stations(&mut self, lan: &Lan) {
        let stations = lan::stations(&self.watch.handle, lan, self.vip);
        let stations = match tokio::time::timeout(LOOK_TIMEOUT, stations).await {
            Ok(Ok(stations)) => stations,
            failed => {
                debug!(?failed, "cannot ask the kernel whom to tell of the address");
                return;
            }
        };
        for station in stations {
            self.send(&Frame::announcement(Operation::Reply, station.mac, lan.mac, self.vip));
        }
    }

    fn complain(&mut self, error: &io::Error) {
        let reason = error.to_string();
        if self.trouble.as_ref() != Some(&reason) {
            warn!(interface = self.interface, %error, "cannot use ARP on the LAN");
            self.trouble = Some(reason);
        }
    }

    fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn instant(&self, at: Time) -> Instant {
        self.started + Duration::from_millis(at.as_millis())
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}

async fn recv(socket: Option<&(u32, ArpSocket)>) -> io::Result<Frame> {
    match socket {
        Some((_, socket)) => socket.recv().await,
        None => future::pending().await,
    }
}

/// A netlink connection that also hears of changes of links and addresses.
struct LinkWatch {
    handle: Handle,
    messages: Messages,
    connection: JoinHandle<()>,
}

type Messages = BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;

impl LinkWatch {
    fn open() -> io::Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr];
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&groups)?;
        let messages = messages.map(|(message, _)| message).boxed();
        Ok(Self { handle, messages, connection: tokio::spawn(connection) })
    }

    /// Makes a new connection; the old one stays in use if that fails.
    fn reopen(&mut self) {
        match Self::open() {
            Ok(watch) => *self = watch,
            Err(error) => debug!(%error, "cannot open a netlink socket"),
        }
    }

    /// Waits for a change of any link or IPv4 address.
    async fn changed(&mut self) {
        if self.messages.next().await.is_none() {
            // The connection has ended. The regular look notices and makes another one.
            future::pending::<()>().await;
        }
        // One look is enough for all that happened so far.
        while self.messages.next().now_or_never().flatten().is_some() {}
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
