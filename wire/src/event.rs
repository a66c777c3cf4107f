//! What happened on a node, for those who watch.

use serde::{Deserialize, Serialize};

/// One event of `GET /v1/events` (server-sent events, one in each `data:` line).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEvent {
    /// Counts this manager's events, from 1 at its start.
    pub number: u64,
    /// When, in milliseconds since 1970 by that host's clock.
    pub unix_ms: u64,
    /// Whose event it is.
    pub node: String,
    /// What it is about: a VM's id, `vip`, a node's name.
    pub subject: String,
    /// What happened and why, for people.
    pub text: String,
}
