//! Listens on the LAN's switch to every ARP packet for the address, and asks for the address all the time.
//!
//! It is a station of its own, with the switch's hardware address and an address that is nobody's, so that nothing a
//! client knows is changed by the answers. It refuses to conclude: that is `claims`' work.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::arp::{self, FRAME_BYTES, Mac};
use super::claims::{Claim, claim};
use crate::rig::ip::ip;
use crate::rig::namespace;
use crate::rig::packet::{PacketSocket, Protocol};

/// The pause between questions.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long a look for packets may last, so that questions are not late.
const PATIENCE: Duration = Duration::from_millis(5);
/// The most claims that are kept of one run: minutes of answers, or a storm.
const MAX_CLAIMS: usize = 500_000;

/// Where the LAN can be listened to, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lan {
    /// The switch's namespace.
    pub namespace: String,
    /// The switch: a bridge.
    pub bridge: String,
    /// The address that is asked for.
    pub vip: Ipv4Addr,
    /// In whose name: an address of the LAN that nobody has.
    pub asker: Ipv4Addr,
}

/// A listener at work. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Seen>>>,
    _promiscuous: Promiscuous,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) claims: Vec<Claim>,
    /// Questions asked.
    pub(super) asked: u64,
}

impl Watch {
    /// Begins; times count from `start`, which is about now.
    pub(super) fn start(start: Instant, lan: &Lan) -> Result<Self> {
        let own = mac_of(&lan.namespace, &lan.bridge)?;
        let promiscuous = Promiscuous::new(&lan.namespace, &lan.bridge)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (opened, ready) = mpsc::channel();
        let thread = std::thread::Builder::new().name("arp".to_owned()).spawn({
            let (lan, stop) = (lan.clone(), Arc::clone(&stop));
            move || {
                let socket = namespace::join(&lan.namespace).and_then(|()| {
                    PacketSocket::open(&lan.bridge, Protocol::Arp, PATIENCE).context("cannot listen to ARP")
                });
                let failed = socket.as_ref().err().map(|error| format!("{error:#}"));
                let _ = opened.send(failed);
                listen(&socket?, start, &lan, own, &stop)
            }
        })?;
        match ready.recv().context("the listener has ended")? {
            None => Ok(Self { stop, thread: Some(thread), _promiscuous: promiscuous }),
            Some(error) => Err(anyhow!(error)),
        }
    }

    /// Ends; all that was seen. It can be asked once.
    pub(super) fn end(&mut self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it has ended")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(socket: &PacketSocket, start: Instant, lan: &Lan, own: Mac, stop: &AtomicBool) -> Result<Seen> {
    // The kernel's times are those of the wall clock.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let epoch = since_1970.saturating_sub(start.elapsed());
    let question = arp::request(own, lan.asker, lan.vip);
    let mut seen = Seen { claims: Vec::new(), asked: 0 };
    let mut next = start;
    let mut buffer = [0; FRAME_BYTES];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now >= next {
            socket.send(&question).context("cannot ask for the address")?;
            seen.asked += 1;
            // A late question is not followed by a burst of them.
            next = now + ASK_EVERY;
        }
        let Some((length, stamp)) = socket.receive(&mut buffer).context("cannot listen to ARP")? else {
            continue;
        };
        let at = stamp.saturating_sub(epoch);
        let packet = arp::parse(&buffer[..length.min(FRAME_BYTES)]);
        if let Some(claim) = packet.and_then(|packet| claim(&packet, lan.vip, at)) {
            ensure!(seen.claims.len() < MAX_CLAIMS, "more than {MAX_CLAIMS} ARP packets claim {}", lan.vip);
            seen.claims.push(claim);
        }
    }
    Ok(seen)
}

/// The bridge hands all that passes to listeners, and not only what is for itself.
#[derive(Debug)]
struct Promiscuous {
    namespace: String,
    bridge: String,
}

impl Promiscuous {
    fn new(namespace: &str, bridge: &str) -> Result<Self> {
        let this = Self { namespace: namespace.to_owned(), bridge: bridge.to_owned() };
        this.set("on").map(|()| this)
    }

    fn set(&self, state: &str) -> Result<()> {
        ip(&["-n", &self.namespace, "link", "set", &self.bridge, "promisc", state]).map(drop)
    }
}

impl Drop for Promiscuous {
    fn drop(&mut self) {
        // Gone with its namespace, maybe.
        let _ = self.set("off");
    }
}

/// The hardware address of an interface.
///
/// # Errors
/// When there is no such interface, or it has none.
pub fn mac_of(namespace: &str, interface: &str) -> Result<Mac> {
    let shown = ip(&["-n", namespace, "-o", "link", "show", "dev", interface])?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether").skip(1);
    let mac = words.next().with_context(|| format!("{interface} has no hardware address"))?;
    mac.parse().map_err(|error: String| anyhow!(error))
}

#[cfg(test)]
mod tests;
