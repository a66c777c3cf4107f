//! Whose connection it is, which decides whose places it takes.
//!
//! A manager that gets no heartbeat takes a service for dead, however well it serves. So the manager has
//! places of its own, for connections and for streams, and whatever others do cannot take them; nor can it take
//! theirs. It is known by its address alone, which is as good as the network between the two.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The manager of this instance.
    Manager,
    /// Anybody else.
    Public,
}

impl Origin {
    /// The origin of a connection from `peer`.
    pub(crate) fn of(peer: SocketAddr, manager: Option<IpAddr>) -> Self {
        if manager.is_some_and(|manager| manager.to_canonical() == peer.ip().to_canonical()) {
            Self::Manager
        } else {
            Self::Public
        }
    }
}

/// Places of one sort, so many for each origin.
#[derive(Debug)]
pub(crate) struct Places {
    public: Arc<Semaphore>,
    manager: Arc<Semaphore>,
}

impl Places {
    pub(crate) fn new(public: usize, manager: usize) -> Self {
        Self { public: Arc::new(Semaphore::new(public)), manager: Arc::new(Semaphore::new(manager)) }
    }

    /// A place, held until the permit is dropped; none if all of this origin are taken.
    pub(crate) fn take(&self, origin: Origin) -> Option<OwnedSemaphorePermit> {
        let places = match origin {
            Origin::Manager => &self.manager,
            Origin::Public => &self.public,
        };
        Arc::clone(places).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests;
