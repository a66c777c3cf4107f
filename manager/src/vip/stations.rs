//! Whose is a MAC? What the kernel's neighbour table says, so that events name a node and not only a number.
//!
//! It names configured peers only, and nothing depends on it: who cannot be named is a MAC.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use manager_core::vip::{Event, Mac, Station};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::{Handle, Lans};
use crate::net::announce::ArpSeen;
use crate::net::{MacAddr, Net};

/// A look at the kernel's table takes microseconds. A name is not worth a longer wait.
const PATIENCE: Duration = Duration::from_millis(50);

/// The peers' addresses, and the way to the kernel's table.
#[derive(Clone)]
pub(super) struct Stations {
    pub(super) net: Arc<Net>,
    pub(super) lans: watch::Receiver<Lans>,
}

impl Stations {
    /// Who is at `mac`.
    pub(super) async fn at(&self, mac: MacAddr) -> Station {
        let node = match tokio::time::timeout(PATIENCE, self.net.stations(mac)).await {
            Ok(Ok(addrs)) => whose(&addrs, &self.lans.borrow()),
            Ok(Err(error)) => {
                debug!(%mac, %error, "cannot find out whose this is");
                None
            }
            Err(_) => None,
        };
        Station { mac: Mac(mac.octets()), node }
    }
}

/// The node that has one of `addrs`.
fn whose(addrs: &[Ipv4Addr], lans: &Lans) -> Option<String> {
    lans.iter().find(|(_, lan)| addrs.contains(lan)).map(|(node, _)| node.clone())
}

/// Tells the loop of all that is `seen`, by name, until the announcer is gone.
pub(super) async fn run(stations: Stations, mut seen: mpsc::Receiver<ArpSeen>, vip: Handle) {
    while let Some(ArpSeen { mac, announcement }) = seen.recv().await {
        vip.event(Event::ArpSeen { station: stations.at(mac).await, announcement }).await;
    }
}

#[cfg(test)]
mod tests;
