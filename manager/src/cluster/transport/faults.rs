//! A network that loses and records, for tests.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;

use super::lock;

/// Each datagram and where it was sent to.
pub(in crate::cluster) type Sent = Vec<(Vec<u8>, SocketAddr)>;

#[derive(Debug, Default)]
pub(in crate::cluster) struct Faults {
    cut: Mutex<BTreeSet<SocketAddr>>,
    recorded: Mutex<Option<Sent>>,
}

impl Faults {
    /// What is sent to `addr` is lost from now on.
    pub(in crate::cluster) fn cut(&self, addr: SocketAddr) {
        lock(&self.cut).insert(addr);
    }

    /// Nothing is lost any more.
    pub(in crate::cluster) fn heal(&self) {
        lock(&self.cut).clear();
    }

    /// Everything that is sent is recorded from now on.
    pub(in crate::cluster) fn record(&self) {
        *lock(&self.recorded) = Some(Vec::new());
    }

    /// What was recorded.
    pub(in crate::cluster) fn recorded(&self) -> Sent {
        lock(&self.recorded).clone().unwrap_or_default()
    }

    pub(super) fn loses(&self, datagram: &[u8], to: SocketAddr) -> bool {
        if let Some(recorded) = &mut *lock(&self.recorded) {
            recorded.push((datagram.to_vec(), to));
        }
        lock(&self.cut).contains(&to)
    }
}
