//! Keeps the kernel's part of the public address as the machine wants it.
//!
//! One task does it, in order, from the latest view: a late change can never undo a newer one.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use manager_core::vip::{Adopted, Event, Route};
use tokio::sync::watch;
use tracing::warn;

use super::{Handle, Lans, VipNet};
use crate::net::{Net, VipDesired, VipRoute};

/// Between two tries of what the kernel refused.
const AGAIN: Duration = Duration::from_millis(200);

/// What the kernel shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Work {
    /// By the machine.
    pub(super) net: VipNet,
    /// Where the own load balancer is, or was last.
    pub(super) lb: Option<Ipv4Addr>,
    /// Where the peers are.
    pub(super) lans: Lans,
}

impl Work {
    /// The same in the words of the network.
    fn desired(&self, addr: Ipv4Addr) -> Result<VipDesired, String> {
        let lan = |node: &String| self.lans.get(node).copied().ok_or_else(|| format!("{node} is no peer"));
        let route = match &self.net.route {
            Route::None => VipRoute::None,
            Route::Via(node) => VipRoute::Via(lan(node)?),
            Route::OwnLb => match self.lb {
                Some(lb) => VipRoute::Bridge(lb),
                None if self.net.answer => return Err("there is no load balancer to route to".to_owned()),
                None => VipRoute::None,
            },
        };
        let second_chance = self.net.second_chance.as_ref().map(lan).transpose()?;
        Ok(VipDesired { addr, answer: self.net.answer, route, second_chance })
    }
}

/// What an earlier life left in the kernel, in the words of the machine. What leads to a node that is no peer any more is
/// left out.
pub(super) fn adopted(found: &VipDesired, lans: &Lans) -> Adopted {
    let node = |lan: Ipv4Addr| lans.iter().find(|(_, at)| **at == lan).map(|(node, _)| node.clone());
    let route = match found.route {
        VipRoute::None => Route::None,
        VipRoute::Bridge(_) => Route::OwnLb,
        VipRoute::Via(lan) => node(lan).map_or(Route::None, Route::Via),
    };
    Adopted { answer: found.answer, route, second_chance: found.second_chance.and_then(node) }
}

/// Follows `work` until the loop is gone.
pub(super) async fn run(net: Arc<Net>, addr: Ipv4Addr, mut work: watch::Receiver<Work>, vip: Handle) {
    let mut failed = false;
    loop {
        let now = work.borrow_and_update().clone();
        let revision = now.net.revision;
        let outcome = match now.desired(addr) {
            Ok(desired) => net.set_vip(desired).await.map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        let event = match outcome {
            Ok(changes) => {
                failed = false;
                for conflict in changes.conflicts {
                    warn!(%conflict, "public address");
                }
                Event::Installed { revision }
            }
            Err(error) => {
                if !failed {
                    warn!(error, revision, "the kernel does not have the public address as it should");
                }
                failed = true;
                Event::InstallFailed { revision, error }
            }
        };
        vip.event(event).await;
        let changed = if failed {
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => Ok(()),
                changed = work.changed() => changed,
            }
        } else {
            work.changed().await
        };
        if changed.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
