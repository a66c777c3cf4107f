//! The public address: what managers tell each other and their admins about who owns it.

use serde::{Deserialize, Serialize};

/// A claim to the address: which one, and whose. Of two claims the greater one holds; no node uses an epoch twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// From 1; at most 2^53 - 1, so that every JSON reader can hold it.
    pub epoch: u64,
    /// The claimant.
    pub node: String,
}

/// What a manager has to do with the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VipState {
    /// It watches the owner.
    Standby,
    /// It is about to answer for the address.
    Claiming,
    /// It answers for the address.
    Active,
    /// It has stopped answering, and looks for somebody to take the address.
    Releasing,
    /// As standby, but the last to take the address: it has failed with it a short time ago.
    HoldDown,
}

impl VipState {
    /// The word used in JSON, listings and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Claiming => "claiming",
            Self::Active => "active",
            Self::Releasing => "releasing",
            Self::HoldDown => "hold_down",
        }
    }
}

/// What a manager says of itself in every beat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipReport {
    /// What it has to do with the address.
    pub state: VipState,
    /// Its own ballot, while it holds one; otherwise the greatest it knows. None if it never heard of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ballot: Option<Ballot>,
    /// It has just heard the ballot's node itself say that it holds that ballot, or is that node: a proof of life
    /// for those who cannot hear the owner.
    pub hears_owner: bool,
    /// It would take the address: its load balancer is healthy, it is not held down, not leaving, and has started up.
    pub eligible: bool,
    /// Its load balancer is healthy.
    pub lb_healthy: bool,
}

/// Body of `POST /v1/peers/{from}/vip/nomination`: `from` has withdrawn and asks the receiver to take the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VipNomination {
    /// The epoch to claim it with.
    pub epoch: u64,
    /// The load balancer of `from` is healthy and goes on serving the connections it has.
    pub drain: bool,
}

/// Answer to a nomination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipNominationAnswer {
    /// The receiver answers for the address now.
    pub accepted: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The highest epoch the receiver knows: a nomination must be above it.
    pub highest: u64,
}

/// Body of `POST /v1/vip/handover`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VipHandover {
    /// To whom; without it the first eligible node by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Answer to a [`VipHandover`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipHandedOver {
    /// Who owns the address now; none if there was nothing to hand over.
    pub owner: Option<String>,
}

/// Answer of `GET /v1/vip`: the address as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipStatus {
    /// The address.
    pub addr: std::net::Ipv4Addr,
    /// The answering node.
    pub node: String,
    /// Its state.
    pub state: VipState,
    /// Its own ballot, while it holds one; otherwise the greatest it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ballot: Option<Ballot>,
    /// Who holds the address now, as far as this node has heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Of an owner: it knows of no greater claim, after it has asked. False after a restart or a pause, for a moment.
    pub confirmed: bool,
    /// The ballot is on this node's disk.
    pub recorded: bool,
    /// Why it would not take the address now; none if it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ineligible: Option<String>,
    /// Why it is in this state.
    pub reason: String,
    /// What the peers last said, by name.
    pub peers: Vec<VipPeer>,
}

/// A peer in [`VipStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipPeer {
    /// Its name.
    pub node: String,
    /// Milliseconds since its last beat; none if there was none, or none since this manager paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_ms_ago: Option<u64>,
    /// What it said in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<VipReport>,
}
