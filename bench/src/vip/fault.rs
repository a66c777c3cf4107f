//! What happens to the owner of the address, and when that is over.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What happens to the owner's host, or to a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing: the control. What clients see then is the machine's own, and no fault can be told from it.
    Nothing,
    /// It is told to hand over.
    Handover,
    /// The VM of its load balancer is killed.
    LbVmKilled,
    /// The VM of its load balancer stands still; without VMs, the load balancer does.
    LbFrozen,
    /// Its load balancer is killed, in its VM.
    LbKilled,
    /// What manages the address is killed, and started again.
    ManagerKilled,
    /// What manages the address stands still for a while.
    ManagerStopped,
    /// Its cable is cut.
    HostCut,
    /// Its cable is put back.
    HostBack,
}

impl Fault {
    /// In the order in which they are measured: a host whose load balancer failed needs a while before it can fail again.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Handover,
        Self::LbVmKilled,
        Self::ManagerKilled,
        Self::LbKilled,
        Self::ManagerStopped,
        Self::LbFrozen,
        Self::HostCut,
        Self::HostBack,
    ];

    /// What comes right after it, in a run of its own.
    pub(super) const fn sequel(self) -> Option<Self> {
        match self {
            Self::HostCut => Some(Self::HostBack),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nothing => "nothing",
            Self::Handover => "handover by command",
            Self::LbVmKilled => "LB's VM killed",
            Self::LbFrozen => "LB frozen",
            Self::LbKilled => "LB's process killed",
            Self::ManagerKilled => "manager killed",
            Self::ManagerStopped => "manager stopped, continued",
            Self::HostCut => "host cut off",
            Self::HostBack => "cut host back",
        })
    }
}
