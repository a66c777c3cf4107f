//! The cluster's membership: what the other nodes say of themselves, by gossip.
//!
//! A change that clients can feel is pushed as well (`push::peer`): the push is quick, gossip is certain and also comes
//! by way of third nodes. Both end in the same merge, which takes the latest account whichever way it came.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};
use wire::PeerServices;

use crate::cluster::{Gossip, Liveness, Refusal, Table, View};
use crate::driver::Handle;
use crate::journal::Journal;

/// What it works with.
pub struct Members {
    /// The other nodes' tables.
    pub gossip: Gossip,
    /// Who is refused.
    pub refusals: mpsc::Receiver<Refusal>,
    /// What this node says of itself.
    pub account: watch::Receiver<Arc<PeerServices>>,
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
}

impl Members {
    /// Runs until it is dropped.
    pub async fn run(mut self) -> Infallible {
        let mut view = self.gossip.view();
        let mut known = BTreeMap::new();
        loop {
            tokio::select! {
                Ok(()) = self.account.changed() => {
                    let account = (**self.account.borrow_and_update()).clone();
                    let table = Table { account, vip: String::new(), load: String::new() };
                    if let Err(error) = self.gossip.publish(table) {
                        warn!(%error, "this node's account is not told by gossip");
                    }
                }
                Ok(()) = view.changed() => {
                    let now = Arc::clone(&view.borrow_and_update());
                    self.take(&now, &mut known).await;
                }
                Some(refusal) = self.refusals.recv() => {
                    error!(%refusal, "a node is refused");
                    self.journal.write("cluster", &refusal.to_string());
                }
                else => std::future::pending::<()>().await,
            }
        }
    }

    async fn take(&self, view: &View, known: &mut BTreeMap<String, Known>) {
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
            let account = (table.account.boot, table.account.revision);
            if before.account.is_none_or(|last| account > last) {
                before.account = Some(account);
                if let Err(error) = self.driver.account(node.clone(), table.account.clone()).await {
                    warn!(node, %error, "an account that came by gossip is not taken");
                }
            }
        }
    }
}
