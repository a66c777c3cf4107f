//! What a manager wants to be there, as it is kept on disk.
//!
//! libvirt knows the VMs that run; this knows the ones that should. A VM that dies while its manager is down
//! is in the second list only, and that is how it comes back. Keys of a newer program are tolerated: an older one
//! must not forget VMs because it does not know a word.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use wire::Role;

/// Everything the manager must not forget.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The VMs that should run, ordered by address.
    pub vms: Vec<DesiredVm>,
    /// The last incarnation at addresses no VM has now. A later VM there continues the count, so that
    /// `(id, incarnation)` never means two different VMs.
    #[serde(default)]
    pub retired: BTreeMap<Ipv4Addr, u64>,
}

/// One VM that should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredVm {
    /// `<node>/<name>`.
    pub id: String,
    /// What it is for.
    pub role: Role,
    /// Its address.
    pub addr: Ipv4Addr,
    /// The latest incarnation that was begun.
    pub incarnation: u64,
    /// Its removal has been accepted, and must be finished after a restart.
    #[serde(default)]
    pub removing: bool,
}
