//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;

/// A whole Phalanx cluster on one machine: hosts in network namespaces, real VMs.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster, query it and print a line a second until Ctrl-C, then remove everything.
    Run(UpArgs),
    /// Start a cluster and leave it running.
    Up(UpArgs),
    /// Show hosts and VMs.
    Status {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Run a command on a host or on the client; ends with its exit status.
    Exec {
        /// `host1`, … or `client`.
        part: String,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Send a signal to a VM's QEMU process, to the program in a VM, or to a manager.
    Kill {
        /// A VM's id (`host1/svc-3`), `lb:HOST`, one of these after `program:`, or `manager:HOST`.
        target: String,
        /// KILL, TERM, STOP, CONT, …; for a program in a VM KILL or TERM.
        #[arg(long, default_value = "KILL")]
        signal: String,
    },
    /// Take a host's cable out of the LAN.
    Cut {
        /// `host1`, …
        host: String,
    },
    /// Put a host's cable back.
    Mend {
        /// `host1`, …
        host: String,
    },
    /// Stop or start a host's libvirtd.
    Libvirtd {
        /// What to do.
        action: Action,
        /// `host1`, …
        host: String,
    },
    /// Remove everything a lab has made, also after a crash.
    Down,
    /// Check end to end, on a cluster of its own, that the system does what it promises.
    Check {
        /// Instead, break things and check that each ends in a clear error or a clean recovery.
        #[arg(long)]
        faults: bool,
        /// Only steps whose names contain this.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// Own the cluster (started by `up`).
    #[command(hide = true)]
    Supervisor,
    /// Hold a host's mounts (started by the supervisor).
    #[command(hide = true)]
    Anchor { host: String },
    /// Become a command inside of a host (started by the supervisor).
    #[command(hide = true)]
    Enter {
        part: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct UpArgs {
    /// Number of hosts, 1 to 20.
    #[arg(long, default_value_t = 2)]
    pub hosts: u8,
    /// Service VMs on each host, 0 to 50.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=i64::from(crate::plan::MAX_SERVICES)))]
    pub services: u32,
    /// The lab's network, a /16; by default 10.77.0.0/16 or the next one that this machine does not use.
    #[arg(long)]
    pub net: Option<Ipv4Net>,
    /// Prefix length of the last host's pool, 24 to 29: a small one is soon exhausted.
    #[arg(long, default_value_t = 24)]
    pub last_pool_prefix: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// Stop it.
    Stop,
    /// Start it.
    Start,
}
