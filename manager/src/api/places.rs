//! How many connections, and how many event streams, each client of the API may hold.
//!
//! A place is taken before anybody has shown a token, so whoever reaches the port could take them all by saying nothing:
//! then no nomination would arrive, and no failover would happen. So a share is kept for the *members*: the peers' LAN
//! addresses, this host's own and the loopback. All others have the rest, and no single address has more than its part
//! of it. Who has no place is refused at once and does not wait: one that waits would keep the next one waiting.
//!
//! An address is no proof of anything. Who can speak in a member's address on the LAN has that member's part, and no
//! more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections. Each of 31 peers has four at most: accounts, nominations, probes and scaling.
const CONNECTIONS: Limits = Limits { all: 256, strangers: 128, address: 32 };
const _: () = assert!(CONNECTIONS.all - CONNECTIONS.strangers >= 31 * 4);
/// Streams of events, each of which is a connection besides.
const STREAMS: Limits = Limits { all: 16, strangers: 12, address: 8 };

/// There is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// The client itself has too many.
    #[error("{addr} has {held} already, as many as one address may have")]
    Address {
        /// The client.
        addr: IpAddr,
        /// How many it has.
        held: usize,
    },
    /// Those who are no members have too many.
    #[error(
        "there are {0} already of clients that are no managers of this cluster, and the rest is kept for those"
    )]
    Strangers(usize),
    /// All together have too many.
    #[error("there are {0} already, as many as there may be")]
    All(usize),
}

/// What may be held at once.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// By all.
    all: usize,
    /// By all who are no members.
    strangers: usize,
    /// By one address.
    address: usize,
}

/// Who holds how many of one kind; pure.
#[derive(Debug)]
struct Held {
    limits: Limits,
    by: BTreeMap<IpAddr, usize>,
}

impl Held {
    const fn new(limits: Limits) -> Self {
        Self { limits, by: BTreeMap::new() }
    }

    fn take(&mut self, addr: IpAddr, members: &BTreeSet<IpAddr>) -> Result<(), Full> {
        let held = self.by.get(&addr).copied().unwrap_or_default();
        if held >= self.limits.address {
            return Err(Full::Address { addr, held });
        }
        let strangers =
            self.by.iter().filter(|(addr, _)| !members.contains(addr)).map(|(_, held)| held).sum();
        if !members.contains(&addr) && strangers >= self.limits.strangers {
            return Err(Full::Strangers(strangers));
        }
        let all = self.by.values().sum();
        if all >= self.limits.all {
            return Err(Full::All(all));
        }
        *self.by.entry(addr).or_default() += 1;
        Ok(())
    }

    fn give_back(&mut self, addr: IpAddr) {
        if let Some(held) = self.by.get_mut(&addr) {
            *held -= 1;
            if *held == 0 {
                self.by.remove(&addr);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Connection,
    Stream,
}

#[derive(Debug)]
struct State {
    own: BTreeSet<IpAddr>,
    peers: BTreeMap<String, IpAddr>,
    /// All of these.
    members: BTreeSet<IpAddr>,
    connections: Held,
    streams: Held,
}

/// The places of one API; clones are the same.
#[derive(Debug, Clone)]
pub struct Places(Arc<Mutex<State>>);

impl Places {
    /// All of them free, with a share kept for this host's `own` addresses and for the `peers`.
    pub fn new(own: impl IntoIterator<Item = IpAddr>, peers: BTreeMap<String, IpAddr>) -> Self {
        let (connections, streams) = (Held::new(CONNECTIONS), Held::new(STREAMS));
        let (own, members) = (own.into_iter().collect(), BTreeSet::new());
        let places =
            Self(Arc::new(Mutex::new(State { own, peers: BTreeMap::new(), members, connections, streams })));
        places.set_peers(peers);
        places
    }

    /// From now on the share is kept for these peers, and their orders come from these addresses only. What is held stays
    /// held.
    pub fn set_peers(&self, peers: BTreeMap<String, IpAddr>) {
        let mut state = self.lock();
        state.members = state.own.iter().chain(peers.values()).copied().collect();
        state.peers = peers;
    }

    /// A place for a connection from `addr`.
    pub(super) fn connection(&self, addr: IpAddr) -> Result<Place, Full> {
        self.place(addr, Kind::Connection)
    }

    fn place(&self, addr: IpAddr, kind: Kind) -> Result<Place, Full> {
        let mut state = self.lock();
        let State { members, connections, streams, .. } = &mut *state;
        match kind {
            Kind::Connection => connections.take(addr, members)?,
            Kind::Stream => streams.take(addr, members)?,
        }
        drop(state);
        Ok(Place { places: self.clone(), addr, kind })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    addr: IpAddr,
    kind: Kind,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        match self.kind {
            Kind::Connection => state.connections.give_back(self.addr),
            Kind::Stream => state.streams.give_back(self.addr),
        }
    }
}

/// Who sent a request; the server puts it into the request's extensions.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) places: Places,
    pub(super) addr: IpAddr,
}

impl Caller {
    /// Where `node` is configured to be, if the caller is not there.
    pub(super) fn elsewhere(&self, node: &str) -> Option<IpAddr> {
        self.places.lock().peers.get(node).copied().filter(|configured| *configured != self.addr)
    }

    /// A place for a stream of events.
    pub(super) fn stream(&self) -> Result<Place, Full> {
        self.places.place(self.addr, Kind::Stream)
    }
}

#[cfg(test)]
mod tests;
