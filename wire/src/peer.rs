//! What managers tell each other: each its own services, in full.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::upstream::UpstreamState;

/// Body of `PUT /v1/peers/{node}/services`: everything `node` serves, by its own account.
///
/// `(boot, revision)` orders the accounts of one node; an older one is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerServices {
    /// Grows with every start of that node's manager.
    pub boot: u64,
    /// Grows with every change of the account within one boot.
    pub revision: u64,
    /// Where that node's load balancer takes traffic, when it has a healthy one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lb: Option<SocketAddr>,
    /// Its services that can be sent requests.
    pub services: Vec<PeerService>,
}

/// One service of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerService {
    /// `<node>/<name>`.
    pub id: String,
    /// Which life of that id this is.
    pub incarnation: u64,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether it wants new requests.
    pub state: UpstreamState,
}

/// Answer to a peer's account: what the receiver now holds of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAck {
    /// The boot held.
    pub boot: u64,
    /// The revision held.
    pub revision: u64,
}

/// Answer to `POST /v1/nodes/{node}/forget`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeForgotten {
    /// Which one.
    pub node: String,
}
