//! Datagrams to the managers that are not what they seem, from somebody who listens on the LAN and can lie about the
//! sender.
//!
//! The recordings are of the present sessions, which is the best an outsider can have.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bench::rig::namespace;
use bench::rig::packet::{PacketSocket, Protocol};
use bench::vip::{Mac, mac_of};

use super::super::job::RATE;
use super::frame::Datagram;
use super::readings::metric;
use super::rest::at_rest;
use super::trial::Trial;
use crate::plan::{GOSSIP_PORT, HostPlan, LAN_BRIDGE, LAN_NETNS, Plan};
use crate::state::State;

/// Datagrams of each kind to each host.
const COUNT: usize = 2_000;
/// So many at once, and then a pause: a queue that overflows would drop them before they are looked at.
const BURST: usize = 20;
const PAUSE: Duration = Duration::from_millis(10);
/// Recordings of each direction, and how long they may take.
const RECORDINGS: usize = 20;
const RECORDED_WITHIN: Duration = Duration::from_secs(20);
/// How long a look at the wire may last.
const PATIENCE: Duration = Duration::from_millis(50);
/// The largest frame that is recorded, in bytes.
const FRAME_BYTES: usize = 2_048;
/// Bytes of a sealed datagram's header, and all that a manager can read without the secret.
const HEADER: &[u8] = b"PHX\x01\x03lab";

/// What is sent, and the reason by which a manager must count it.
const KINDS: [(Kind, &str); 4] = [
    (Kind::Garbage, "foreign"),
    (Kind::Truncated, "malformed"),
    (Kind::Forged, "wrong_key"),
    (Kind::Replayed, "replayed"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Noise from an address that is nobody's.
    Garbage,
    /// The beginning of a recording.
    Truncated,
    /// A recording of which something was changed: no other key can be told from that.
    Forged,
    /// A recording.
    Replayed,
}

pub(super) async fn datagrams(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    // Its listener makes the switch show everything that passes.
    let trial = Trial::start(&state.plan, RATE).await?;
    let fault = trial.now();
    let plan = state.plan.clone();
    let recordings = tokio::task::spawn_blocking(move || record(&plan)).await??;
    let mut shown = Vec::new();
    for (kind, reason) in KINDS {
        let dropped = format!("manager_cluster_datagrams_dropped_total{{reason=\"{reason}\"}}");
        let beats = "manager_cluster_datagrams_received_total{kind=\"beat\"}";
        let mut before = Vec::new();
        for host in &state.plan.hosts {
            before.push((metric(host, &dropped).await?, metric(host, beats).await?));
        }
        let mut frames = Vec::new();
        for host in &state.plan.hosts {
            frames.push(frames_to(&state.plan, host, kind, &recordings)?);
        }
        tokio::task::spawn_blocking(move || send(&frames)).await??;
        for (host, before) in state.plan.hosts.iter().zip(before) {
            let (more, heard) =
                (metric(host, &dropped).await? - before.0, metric(host, beats).await? - before.1);
            shown.push(format!("{} {kind:?} {more}", host.name));
            // The kernel may have lost some on the way.
            #[allow(clippy::cast_precision_loss)] // a few thousand
            let enough = COUNT as f64 / 2.0;
            ensure!(more >= enough, "{} counted {more} of {COUNT} as {reason}", host.name);
            ensure!(heard >= 1.0, "{} heard no beat while it was sent {kind:?} datagrams", host.name);
        }
    }
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    after.expect_same(&rest)?;
    seen.none_failed()?.held_by(&[&rest.owner])?;
    Ok(format!("dropped: {}; {}", shown.join(", "), seen.words()))
}

/// Recordings by the host they were sent to.
type Recordings = BTreeMap<SocketAddrV4, Vec<Datagram>>;

fn address(host: &HostPlan) -> SocketAddrV4 {
    SocketAddrV4::new(host.lan_addr, GOSSIP_PORT)
}

/// Listens on the switch until it has enough of what managers say to each other.
fn record(plan: &Plan) -> Result<Recordings> {
    let mut found: Recordings = plan.hosts.iter().map(|host| (address(host), Vec::new())).collect();
    namespace::enter(LAN_NETNS, || {
        let socket = PacketSocket::open(LAN_BRIDGE, Protocol::Ipv4, PATIENCE)?;
        let deadline = Instant::now() + RECORDED_WITHIN;
        let mut buffer = [0; FRAME_BYTES];
        while found.values().any(|list| list.len() < RECORDINGS) {
            ensure!(Instant::now() < deadline, "managers do not speak to each other on port {GOSSIP_PORT}");
            let Some((length, _)) = socket.receive(&mut buffer).context("cannot listen on the switch")?
            else {
                continue;
            };
            let datagram = Datagram::parse(buffer.get(..length).unwrap_or_default());
            let Some(datagram) = datagram.filter(|it| it.from.port() == GOSSIP_PORT) else { continue };
            if let Some(list) = found.get_mut(&datagram.to).filter(|list| list.len() < RECORDINGS) {
                ensure!(datagram.payload.starts_with(HEADER), "a manager says {:?}", datagram.payload);
                list.push(datagram);
            }
        }
        Ok(())
    })?;
    Ok(found)
}

fn frames_to(plan: &Plan, host: &HostPlan, kind: Kind, recordings: &Recordings) -> Result<Vec<Vec<u8>>> {
    let recorded = recordings.get(&address(host)).context("nothing was recorded")?;
    let nobody = (Mac([2, 0, 0, 0, 0, 50]), SocketAddrV4::new(plan.nobodys(50), 50_000));
    let own = mac_of(&host.netns, "eth0")?;
    let frames = recorded.iter().cycle().zip(0..COUNT).map(|(recording, number)| {
        let mut datagram = recording.clone();
        match kind {
            Kind::Garbage => {
                datagram.macs = (nobody.0, own);
                datagram.from = nobody.1;
                datagram.payload = noise(number, number % 1_400);
            }
            // Down to the first byte after the name of the protocol, and never so much that it is one in disguise.
            Kind::Truncated => datagram.payload.truncate(4 + number % 80),
            Kind::Forged => {
                let at = datagram.payload.len() - 1 - number % 16;
                datagram.payload[at] ^= 1 << (number % 8);
            }
            Kind::Replayed => {}
        }
        datagram.frame().context("a recording is too long")
    });
    frames.collect()
}

/// Bytes that look random and begin with nothing known; `seed` tells one from another.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    // Knuth's multiplicative generator (MMIX) is random enough for noise.
    let mut state = seed as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::once(b'X').chain(std::iter::repeat_with(&mut next)).take(length).collect()
}

/// Sends all of them from the switch, to all hosts in turn.
fn send(frames: &[Vec<Vec<u8>>]) -> Result<()> {
    namespace::enter(LAN_NETNS, || {
        let socket = PacketSocket::open(LAN_BRIDGE, Protocol::Ipv4, PATIENCE)?;
        for number in (0..COUNT).step_by(BURST) {
            for to_one in frames {
                for frame in to_one.iter().skip(number).take(BURST) {
                    socket.send(frame).context("cannot send from the switch")?;
                }
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    })
}
