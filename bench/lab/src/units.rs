//! What the supervisor runs on each host, and when it runs it again.
//!
//! Pure: processes are started, signalled and reaped by the supervisor; here is only what should run now.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// The pause before a manager that ended is started again, as `Restart=always` of systemd would.
pub(crate) const RESTART_AFTER: Duration = Duration::from_secs(1);

/// A kind of process on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Holds the host's mounts.
    Anchor,
    /// The host's libvirtd. When it ends it stays ended, so that its absence can be tried.
    Libvirtd,
    /// The host's manager. When it ends it is started again.
    Manager,
}

impl Kind {
    /// The word used in logs and file names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Anchor => "anchor",
            Self::Libvirtd => "libvirtd",
            Self::Manager => "manager",
        }
    }

    fn restarts(self) -> bool {
        match self {
            Self::Manager => true,
            Self::Anchor | Self::Libvirtd => false,
        }
    }
}

/// One process of one host over its lives.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    kind: Kind,
    wanted: bool,
    pid: Option<i32>,
    start_at: Option<Instant>,
    starts: u64,
    last_exit: Option<String>,
}

/// What a unit looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitView {
    /// The host.
    pub host: String,
    /// What it is.
    pub kind: Kind,
    /// Its process, while it runs.
    pub pid: Option<i32>,
    /// How often it was started.
    pub starts: u64,
    /// How its last life ended.
    pub last_exit: Option<String>,
}

impl Unit {
    /// A unit that nobody has asked for yet.
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, wanted: false, pid: None, start_at: None, starts: 0, last_exit: None }
    }

    /// It shall run, from `now` on.
    pub(crate) fn want(&mut self, now: Instant) {
        self.wanted = true;
        if self.pid.is_none() {
            self.start_at = Some(now);
        }
    }

    /// It shall not run. The process to end, if there is one.
    pub(crate) fn unwant(&mut self) -> Option<i32> {
        self.wanted = false;
        self.start_at = None;
        self.pid
    }

    /// Whether it is time to start it.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.wanted && self.pid.is_none() && self.start_at.is_some_and(|at| at <= now)
    }

    /// When it must be started, if at all.
    pub(crate) fn next_start(&self) -> Option<Instant> {
        self.start_at.filter(|_| self.wanted && self.pid.is_none())
    }

    /// It was started as `pid`.
    pub(crate) fn started(&mut self, pid: i32) {
        self.pid = Some(pid);
        self.start_at = None;
        self.starts += 1;
    }

    /// It could not be started, or it ended with `status`.
    pub(crate) fn ended(&mut self, now: Instant, status: String) {
        self.pid = None;
        self.last_exit = Some(status);
        self.start_at = (self.wanted && self.kind.restarts()).then(|| now + RESTART_AFTER);
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// What it looks like from outside.
    pub(crate) fn view(&self, host: &str) -> UnitView {
        UnitView {
            host: host.to_owned(),
            kind: self.kind,
            pid: self.pid,
            starts: self.starts,
            last_exit: self.last_exit.clone(),
        }
    }
}
