//! How many service VMs there shall be: what administrators ask for, and what managers ask of each other.

use serde::{Deserialize, Serialize};

/// Body of `PUT /v1/scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutScale {
    /// Service VMs in the whole cluster, from 0 to what its hosts can hold.
    pub replicas: u32,
}

/// Answer to a [`PutScale`] that every node concerned has taken: it is on their disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// Service VMs in the whole cluster.
    pub replicas: u32,
    /// Each node's part, by name.
    pub nodes: Vec<NodeScaled>,
}

/// One node's part in a [`Scaled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeScaled {
    /// Which one.
    pub node: String,
    /// Its service VMs before; of a silent node, the last that is known.
    pub from: u32,
    /// Its service VMs from now on; a silent node is left as it is.
    pub to: u32,
    /// Why its manager takes no part; none if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
}

/// Body of `PUT /v1/peers/{from}/scale`: what `from` asks of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerScale {
    /// Service VMs the receiver shall have.
    pub services: u32,
    /// How many it said it has. If that is no longer so, it refuses: somebody else scales as well.
    pub expect: u32,
}

/// Answer to a [`PeerScale`]: it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerScaled {
    /// Service VMs before.
    pub from: u32,
    /// Service VMs from now on.
    pub to: u32,
}

/// Answer of `GET /v1/capacity`, and what a node says of its load by gossip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Service VMs that shall run; those on their way out do not count.
    pub services: u32,
    /// How many more can be created now. Less than `max` leaves while addresses are held by VMs on their way out.
    pub room: u32,
    /// The most service VMs this node may have.
    pub max: u32,
}
