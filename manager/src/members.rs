//! The cluster's membership: what the other nodes say of themselves, by gossip.
//!
//! A change that clients can feel is pushed as well (`push::peer`): the push is quick, gossip is certain and also comes
//! by way of third nodes. Both end in the same merge, which takes the latest account whichever way it came.

mod vip;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};
use wire::{Capacity, PeerServices};

pub use self::vip::VipSettings;
use crate::cluster::{Gossip, Liveness, Refusal, Table, View};
use crate::driver::Handle;
use crate::journal::Journal;
use crate::scale;

/// What it works with.
pub struct Members {
    /// This node.
    pub node: String,
    /// What it believes of the public address, if it has one.
    pub vip: Option<VipSettings>,
    /// The other nodes' tables.
    pub gossip: Gossip,
    /// Who is refused.
    pub refusals: mpsc::Receiver<Refusal>,
    /// What this node says of itself.
    pub account: watch::Receiver<Arc<PeerServices>>,
    /// What this node can bear.
    pub capacity: watch::Receiver<Capacity>,
    /// Who merges accounts.
    pub driver: Handle,
    /// Where it is told.
    pub journal: Journal,
}

/// What is known of a node already.
#[derive(Debug, Default)]
struct Known {
    liveness: Option<Liveness>,
    account: Option<(u64, u64)>,
    /// In what it differs from this node, as it was said.
    differs: Option<String>,
}

impl Members {
    /// Runs until it is dropped.
    pub async fn run(mut self) -> Infallible {
        let mut view = self.gossip.view();
        let mut known = BTreeMap::new();
        loop {
            tokio::select! {
                Ok(()) = self.account.changed() => self.publish(),
                Ok(()) = self.capacity.changed() => self.publish(),
                Ok(()) = view.changed() => {
                    let now = Arc::clone(&view.borrow_and_update());
                    self.take(&now, &mut known).await;
                }
                Some(refusal) = self.refusals.recv() => {
                    let text = refusal.to_string();
                    if refusal.is_proven() {
                        error!(%refusal, "a node is refused");
                        self.journal.write("cluster", &text);
                    } else {
                        warn!(%refusal, "datagrams are refused");
                        self.journal.write_rationed(Instant::now(), refusal.kind(), "cluster", &text);
                    }
                }
                else => std::future::pending::<()>().await,
            }
        }
    }

    fn publish(&mut self) {
        let account = (**self.account.borrow_and_update()).clone();
        let capacity = *self.capacity.borrow_and_update();
        if account.revision == 0 {
            // Stock has not been taken: this node does not know itself yet.
            return;
        }
        let published = scale::encode(&capacity)
            .and_then(|load| Ok((load, vip::encode(self.vip.as_ref())?)))
            .map_err(|error| error.to_string())
            .map(|(load, vip)| Table { account, vip, load })
            .and_then(|table| self.gossip.publish(table).map_err(|error| error.to_string()));
        if let Err(error) = published {
            warn!(error, "this node's account is not told by gossip");
        }
    }

    async fn take(&self, view: &View, known: &mut BTreeMap<String, Known>) {
        // Who is no peer any more is news when he is one again.
        known.retain(|node, _| view.nodes.contains_key(node));
        for (node, now) in &view.nodes {
            let before = known.entry(node.clone()).or_default();
            if before.liveness != Some(now.liveness) {
                let word = now.liveness.as_str();
                info!(node, to = word, boot = now.boot, "member");
                self.journal.write(node, &format!("{word} by gossip"));
                before.liveness = Some(now.liveness);
                if now.liveness == Liveness::Forgotten {
                    // When it is back, what it says is news again.
                    before.account = None;
                    self.driver.forget(node.clone()).await;
                }
            }
            let Some(table) = now.table.as_ref().filter(|_| now.liveness != Liveness::Forgotten) else {
                continue;
            };
            if now.liveness == Liveness::Live {
                self.compare(node, &table.vip, &mut before.differs);
            }
            let account = (table.account.boot, table.account.revision);
            if before.account.is_none_or(|last| account > last) {
                before.account = Some(account);
                if let Err(error) = self.driver.account(node.clone(), table.account.clone()).await {
                    warn!(node, %error, "an account that came by gossip is not taken");
                }
            }
        }
    }

    /// Says it once if `node`, whose table says `vip`, has another idea of the public address.
    fn compare(&self, node: &str, vip: &str, said: &mut Option<String>) {
        let differs = vip::difference((&self.node, self.vip.as_ref()), (node, vip));
        if differs == *said {
            return;
        }
        if let Some(text) = &differs {
            error!(node, difference = text, "the nodes' [vip] differ");
            self.journal.write("cluster", text);
        } else {
            info!(node, "the nodes' [vip] are the same now");
            self.journal.write("cluster", &format!("[vip] is the same on {} and {node} now", self.node));
        }
        *said = differs;
    }
}

#[cfg(test)]
mod tests;
