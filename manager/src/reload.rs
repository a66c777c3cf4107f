//! Reads the configuration again while the manager runs: nodes join and leave without a restart of the others.
//!
//! `[[peers]]` takes effect at once, everywhere or nowhere: all that could refuse the new peers is asked before anything
//! is changed. Every other key needs a restart; those that were changed are named, and nothing is done about them. The
//! contents of `secret_file` are not read again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::{error, info, warn};

use crate::config::{self, Config, Peer};
use crate::journal::Journal;
use crate::net::Net;
use crate::scale::Scaler;
use crate::{cluster, driver, net, run, vip};

/// Why a configuration is not taken. Nothing has been changed then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not a configuration.
    #[error(transparent)]
    File(#[from] config::Error),
    /// The file is good, but its peers do not fit what runs until the restart that other keys of it need.
    #[error("the peers do not fit the configuration that this manager runs with: {0}")]
    Running(#[source] config::Error),
    /// The host's network cannot be like that.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// The cluster cannot be like that.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// Reading the file did not come to an end.
    #[error("the file could not be read: {0}")]
    Read(#[from] tokio::task::JoinError),
}

/// What a file asks for that is not so yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// New peers.
    pub joined: Vec<Peer>,
    /// Those that are no more.
    pub left: Vec<String>,
    /// Those with another API or another pool.
    pub moved: Vec<Peer>,
    /// Keys that only a restart brings into effect, as dotted paths.
    pub restart: Vec<String>,
}

impl Changes {
    /// What is to be done about `running` to come to `file`.
    pub fn between(running: &Config, file: &Config) -> Self {
        let by_name = |config: &Config| -> BTreeMap<String, Peer> {
            config.peers.iter().map(|peer| (peer.node.clone(), peer.clone())).collect()
        };
        let (before, after) = (by_name(running), by_name(file));
        let mut changes = Self { restart: restart(running, file), ..Self::default() };
        for (node, peer) in &after {
            match before.get(node) {
                None => changes.joined.push(peer.clone()),
                Some(was) if was != peer => changes.moved.push(peer.clone()),
                Some(_) => {}
            }
        }
        changes.left = before.into_keys().filter(|node| !after.contains_key(node)).collect();
        changes
    }

    /// Whether the peers are others now.
    pub const fn of_peers(&self) -> bool {
        !(self.joined.is_empty() && self.left.is_empty() && self.moved.is_empty())
    }
}

impl fmt::Display for Changes {
    /// The changed peers, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |peer: &Peer| format!("{} at {} with pool {}", peer.node, peer.api, peer.pool);
        let joined = self.joined.iter().map(|peer| format!("{} joins", at(peer)));
        let moved = self.moved.iter().map(|peer| format!("{} now", at(peer)));
        let left = self.left.iter().map(|node| format!("{node} leaves"));
        let words: Vec<_> = joined.chain(moved).chain(left).collect();
        f.write_str(&words.join(", "))
    }
}

/// The keys that differ, but for the peers.
fn restart(running: &Config, file: &Config) -> Vec<String> {
    let table = |config: &Config| {
        // Every value of a configuration was read from this format.
        let mut table = toml::Table::try_from(config).unwrap_or_default();
        table.remove("peers");
        table
    };
    let mut keys = Vec::new();
    differences("", &table(running), &table(file), &mut keys);
    keys
}

fn differences(path: &str, one: &toml::Table, other: &toml::Table, keys: &mut Vec<String>) {
    let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (one.get(name), other.get(name)) {
            (Some(toml::Value::Table(one)), Some(toml::Value::Table(other))) => {
                differences(&path, one, other, keys);
            }
            (one, other) if one == other => {}
            _ => keys.push(path),
        }
    }
}

/// Everybody who must know of other peers.
pub struct Parts {
    /// The configuration file.
    pub path: PathBuf,
    /// What this manager runs with.
    pub config: Arc<Config>,
    /// The ways to other managers, as the loop of the public address needs them.
    pub ways: Ways,
    /// Routes to the peers' pools.
    pub net: Arc<Net>,
    /// The loop that sees to VMs.
    pub driver: driver::Handle,
    /// The loop that sees to the public address, if there is one.
    pub vip: Option<vip::Handle>,
    /// Spreads service VMs over the nodes.
    pub scaler: Scaler,
    /// Whose connections to the API have a share of their own.
    pub places: crate::api::Places,
    /// Beats and gossip.
    pub cluster: cluster::Running,
    /// Where it is told.
    pub journal: Journal,
}

/// Makes the ways to the managers of a configuration.
pub type Ways = Box<dyn Fn(&Config) -> BTreeMap<String, vip::Peer> + Send + Sync>;

/// Takes the configuration file into effect, as far as that is possible without a restart.
pub struct Reloader(Parts);

impl Reloader {
    /// One that works with `parts`.
    pub const fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// The cluster, to be stopped.
    pub fn into_cluster(self) -> cluster::Running {
        self.0.cluster
    }

    /// Reads the file and does what it says; the outcome is in the log, and changed peers in the journal.
    pub async fn reload(&mut self) {
        let path = self.0.path.display().to_string();
        match self.take().await {
            Err(error) => {
                error!(file = path, %error, "the configuration is not taken; all stays as it is");
                self.0.journal.write("config", &format!("not taken, all stays as it is: {error}"));
            }
            Ok(changes) => {
                if changes.of_peers() {
                    info!(file = path, peers = %changes, "the configuration was read again");
                    self.0.journal.write("config", &changes.to_string());
                } else {
                    info!(file = path, "the configuration was read again; the peers are the same");
                }
                if !changes.restart.is_empty() {
                    let keys = changes.restart.join(", ");
                    warn!(file = path, keys, "these keys were changed and need a restart of this manager");
                }
            }
        }
    }

    /// Reads the file and brings its peers into effect. Cancelling it may leave them known to some and not to others.
    ///
    /// # Errors
    /// If anything of the file is impossible, or its peers are; nothing is changed then.
    pub async fn take(&mut self) -> Result<Changes, Error> {
        let parts = &mut self.0;
        let path = parts.path.clone();
        let file = tokio::task::spawn_blocking(move || Config::load(&path)).await??;
        let changes = Changes::between(&parts.config, &file);
        if !changes.of_peers() {
            return Ok(changes);
        }
        let next = parts.config.with_peers(file.peers).map_err(Error::Running)?;
        let (routes, members) = (run::peer_routes(&next), run::members(&next));
        parts.net.check_peers(&routes)?;
        parts.cluster.check_peers(&members)?;

        // From here on nobody refuses. The public address first: what leads to a node that leaves is given up before its
        // route is. The cluster last: what a node that joins says is understood when it is heard.
        if let Some(vip) = &parts.vip
            && let Err(error) = vip.set_peers((parts.ways)(&next)).await
        {
            // It is in its queue, and will be taken when the loop runs again.
            warn!(%error, "the public address's loop has not yet taken the peers");
        }
        parts.net.set_peers(&routes).await?;
        parts.driver.set_peers(next.peers.clone()).await;
        parts.scaler.set_peers(run::peer_apis(&next));
        parts.places.set_peers(run::peer_addrs(&next));
        parts.cluster.set_peers(members).await?;
        // What it cannot do now is done, and complained of, by those who repair the network every second.
        let _ = parts.net.ensure().await;
        parts.config = Arc::new(next);
        Ok(changes)
    }
}

#[cfg(test)]
mod tests;
