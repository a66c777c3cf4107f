//! The talk between a manager and PID 1 of a VM: one JSON value per line, both ways, on a virtio-serial port.
//!
//! A VM boots without an identity and waits. The manager's first line is [`ToGuest::Assign`]; the VM answers
//! with [`FromGuest::Assigned`] and then [`FromGuest::Started`], or with [`FromGuest::Rejected`].

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::vm::Role;

/// A line from the manager to the VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToGuest {
    /// Who the VM is. Accepted once: a second one with other contents is rejected and changes nothing.
    Assign(Box<Identity>),
    /// Stop the program (SIGTERM, then SIGKILL after the time given) and power off.
    Drain {
        /// How long the program may take, in milliseconds.
        timeout_ms: u64,
    },
}

/// Who a VM is: all that PID 1 needs to become a member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `<node>/<name>`.
    pub id: String,
    /// Which program to run.
    pub role: Role,
    /// Which life of this id.
    pub incarnation: u64,
    /// The VM's host name, an RFC 1123 label.
    pub hostname: String,
    /// The VM's address. It is configured as a /32: everything goes through the gateway.
    pub addr: Ipv4Addr,
    /// The host's address on the VM's bridge.
    pub gateway: Ipv4Addr,
    /// The bridge's MAC (`02:00:00:00:00:01`), so that no ARP is needed for the first packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_mac: Option<String>,
    /// The public address, for a load balancer's VM in a cluster that has one. It is configured as a /32 on `lo`; the VM
    /// never answers ARP for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<Ipv4Addr>,
    /// Written to `/etc/phalanx/<role>.toml`, which the program gets as `--config`.
    pub config: String,
    /// Added to the program's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The wall clock, in milliseconds since 1970: a microvm has no clock of its own.
    pub unix_ms: u64,
    /// At least 32 random bytes in lowercase hexadecimal, credited to the kernel's pool: a fresh VM has no
    /// entropy and would block in its first `getrandom`.
    pub seed: String,
}

/// A line from the VM to the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromGuest {
    /// The port is open and the VM waits for its identity (also sent again to a manager that reconnects).
    Waiting(Stages),
    /// The identity is in force; network and configuration are in place.
    Assigned {
        /// The identity's id.
        id: String,
        /// The identity's incarnation.
        incarnation: u64,
    },
    /// The identity or message was refused; nothing changed.
    Rejected {
        /// Why, naming the field.
        message: String,
    },
    /// The role's program runs.
    Started {
        /// Its process id in the VM.
        pid: u32,
        /// How often it has been started again.
        restarts: u64,
        /// When each stage of the boot was over.
        stages: Stages,
    },
    /// The role's program has ended, and will be started again after the pause given.
    Exited {
        /// `exit status 1` or `signal 9`.
        status: String,
        /// The pause before the next start, in milliseconds.
        backoff_ms: u64,
    },
    /// The VM stops: the program was told to end, power-off follows.
    Draining,
}

/// When each stage of the boot was over, in milliseconds of the VM's uptime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stages {
    /// PID 1 ran its first line: all before is the kernel's.
    pub init_ms: u64,
    /// Modules loaded, file systems mounted, port open.
    pub ready_ms: u64,
    /// The identity arrived; 0 before that.
    pub assigned_ms: u64,
    /// Network configured and program started; 0 before that.
    pub started_ms: u64,
}
