//! Spreads the cluster's service VMs over its nodes, as an administrator has asked one of the managers to.
//!
//! Who shall have how many is decided by [`manager_core::scale`]. Here every manager is asked what it has and can
//! bear, and then told its part, all at the same time. No manager remembers the number: it is the sum of what
//! the nodes have on their disks. So nothing is lost when one of them fails in the middle, and asking again
//! completes it. It refuses to guess: a manager that does not answer is counted with what it last said by gossip, and
//! is not told anything.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use manager_core::scale::{Change, Host, ScaleError, plan};
use tokio::sync::watch;
use wire::{Capacity, NodeScaled, PeerScale, PeerScaled, Scaled};

use crate::cluster::Gossip;
use crate::driver::{Handle, RequestError};
use crate::identity::Token;
use crate::push::client::Client;

/// How long a manager may take to say what it has: it knows that by heart.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it may take to do its part: it writes to its disk, for which it has 10 s itself.
const TELL_TIMEOUT: Duration = Duration::from_secs(11);
/// What nobody has more of; a number beyond is a mistake.
const MOST: u32 = crate::capacity::MOST;

/// Why there are not as many service VMs as was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This node does not know itself.
    #[error(transparent)]
    Own(#[from] RequestError),
    /// There cannot be so many. Nothing was changed.
    #[error("replicas: {0}")]
    Plan(#[from] ScaleError),
    /// Some nodes have done their part and others have not.
    #[error("not all nodes have done their part: {}; asking again completes it", .outcomes.join("; "))]
    Incomplete {
        /// What became of each node that had something to do, by name.
        outcomes: Vec<String>,
    },
}

/// Another manager.
#[derive(Debug, Clone)]
struct Peer {
    ask: Client,
    tell: Client,
}

/// The way to all managers. Clones are the same.
#[derive(Debug, Clone)]
pub struct Scaler {
    node: String,
    /// Where orders to peers come from; none leaves it to the kernel.
    local: Option<IpAddr>,
    peers: watch::Sender<Arc<BTreeMap<String, Peer>>>,
    token: Token,
    driver: Handle,
    gossip: Gossip,
}

impl Scaler {
    /// The scaler of `node`, whose `peers` have their APIs there and take orders with `token`.
    pub fn new(
        node: &str,
        local: Option<IpAddr>,
        peers: impl IntoIterator<Item = (String, SocketAddr)>,
        token: &Token,
        driver: Handle,
        gossip: Gossip,
    ) -> Self {
        let scaler = Self {
            node: node.to_owned(),
            local,
            peers: watch::Sender::default(),
            token: token.clone(),
            driver,
            gossip,
        };
        scaler.set_peers(peers);
        scaler
    }

    /// The other managers are these from now on. A scaling that is under way goes on with those of before.
    pub fn set_peers(&self, peers: impl IntoIterator<Item = (String, SocketAddr)>) {
        let client = |api, token, limit| {
            let client = Client::new(api, token, limit);
            match self.local {
                Some(local) => client.from(local),
                None => client,
            }
        };
        let peer = |(node, api)| {
            // Everybody may ask, so nobody needs to see the token for it.
            let ask = client(api, None, ASK_TIMEOUT);
            (node, Peer { ask, tell: client(api, Some(self.token.clone()), TELL_TIMEOUT) })
        };
        self.peers.send_replace(Arc::new(peers.into_iter().map(peer).collect()));
    }

    /// Whether `node` is a peer.
    pub fn knows(&self, node: &str) -> bool {
        self.peers.borrow().contains_key(node)
    }

    /// Sees to it that there are `replicas` service VMs in all. When this returns, what was asked for is on the disks;
    /// the VMs begin and end afterwards. A caller that does not wait for the end may leave it half done, and can ask
    /// again.
    ///
    /// # Errors
    /// If there cannot be so many, which changes nothing; or if a node did not do its part.
    pub async fn scale(&self, replicas: u32) -> Result<Scaled, Error> {
        let own = self.driver.capacity().await?;
        let peers = Arc::clone(&self.peers.borrow());
        let asked =
            peers.iter().map(async |(node, peer)| (node, peer.ask.get::<Capacity>("/v1/capacity").await));
        let mut hosts = vec![live(&self.node, own)];
        let mut silent = BTreeMap::new();
        for (node, answer) in join_all(asked).await {
            hosts.push(match answer {
                Ok(capacity) => live(node, capacity),
                Err(error) => {
                    silent.insert(node.clone(), error.to_string());
                    let services = self.last_known(node).await?.min(MOST);
                    Host { node: node.clone(), services, room: 0, max: 0, live: false }
                }
            });
        }
        let changes = plan(&hosts, replicas)?;
        let outcomes = join_all(
            changes.iter().filter(|change| change.from != change.to).map(|change| self.tell(&peers, change)),
        );
        let outcomes = outcomes.await;
        if outcomes.iter().any(Result::is_err) {
            let outcomes =
                outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|error| error)).collect();
            return Err(Error::Incomplete { outcomes });
        }
        let part = |Change { node, from, to }| NodeScaled { silent: silent.remove(&node), node, from, to };
        Ok(Scaled { replicas, nodes: changes.into_iter().map(part).collect() })
    }

    /// Has one node do its part: in words, what came of it.
    async fn tell(&self, peers: &BTreeMap<String, Peer>, change: &Change) -> Result<String, String> {
        let Change { node, from, to } = change;
        let outcome = match peers.get(node) {
            None => self.driver.set_services(*to, *from).await.map_err(|error| error.to_string()),
            Some(peer) => {
                let path = format!("/v1/peers/{}/scale", self.node);
                let body = PeerScale { services: *to, expect: *from };
                peer.tell.send(Method::PUT, &path, &body).await.map_err(|error| error.to_string())
            }
        };
        match outcome {
            Ok(PeerScaled { from, to }) => Ok(format!("{node} went from {from} to {to}")),
            Err(error) => Err(format!("{node} did not go from {from} to {to}: {error}")),
        }
    }

    /// How many service VMs `node` had when it last said so. Of one that was not heard since this manager started those
    /// count that the own load balancer routes to; 0 of one that is forgotten.
    async fn last_known(&self, node: &str) -> Result<u32, RequestError> {
        let count = |services: usize| u32::try_from(services).unwrap_or(u32::MAX);
        let said = {
            let view = self.gossip.view();
            let view = view.borrow();
            let table = view.nodes.get(node).and_then(|node| node.table.as_ref());
            table.map(|table| {
                decode(&table.load)
                    .map_or_else(|| count(table.account.services.len()), |capacity| capacity.services)
            })
        };
        if let Some(services) = said {
            return Ok(services);
        }
        let view = self.driver.cluster().await?;
        Ok(view.peers.iter().find(|peer| peer.node == node).map_or(0, |peer| count(peer.services.len())))
    }
}

fn live(node: &str, Capacity { services, room, max }: Capacity) -> Host {
    Host {
        node: node.to_owned(),
        services: services.min(MOST),
        room: room.min(MOST),
        max: max.min(MOST),
        live: true,
    }
}

/// A node's capacity as its table carries it.
///
/// # Errors
/// None that can happen to numbers.
pub fn encode(capacity: &Capacity) -> Result<String, serde_json::Error> {
    serde_json::to_string(capacity)
}

/// The capacity a table carries; none if it is of a manager that says something else.
fn decode(load: &str) -> Option<Capacity> {
    serde_json::from_str(load).ok()
}
