//! One address, and the succession of VMs that hold it.
//!
//! A slot outlives its VMs: when one dies, the next takes its address with `incarnation + 1`. The slot knows
//! where the present VM is in its life; what to do about it is decided in [`crate::core`].

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use wire::{Role, UpstreamState, Vm, VmState};

use crate::backoff::Backoff;
use crate::heartbeat::{Heartbeat, State};
use crate::time::Time;

/// The first pause after a failed creation, and its limit. Short, because a slot that waits is capacity lost;
/// bounded below, because each try costs a QEMU start.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// A VM that was up for this long did not die of the way it was created, so its successor starts at once.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// A libvirt domain and the process that is it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRef {
    /// The domain's name; another for each incarnation.
    pub name: String,
    /// QEMU's process id.
    pub pid: u32,
    /// QEMU's start time in clock ticks since boot: a process id alone can be another process's by now.
    pub start_time: u64,
}

/// Where the present VM is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Asked for, but not yet on disk.
    Reserved {
        /// It is, once this revision of the desired state is.
        revision: u64,
    },
    /// QEMU is being started.
    Creating,
    /// QEMU runs.
    Running {
        /// As what.
        domain: DomainRef,
        /// Whether it is alive.
        heartbeat: Heartbeat,
        /// Since when it has been up without a break; none before its first event.
        up_since: Option<Time>,
    },
    /// There is no VM; the next try is due at `until`.
    Waiting {
        /// When to try.
        until: Time,
    },
}

/// How far the removal of a slot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Asked for, but not yet on disk.
    Requested {
        /// It is, once this revision of the desired state is.
        revision: u64,
    },
    /// The load balancers send it nothing new; what it has may finish.
    Draining {
        /// Then the VM is told to stop.
        until: Time,
    },
    /// The VM was told to end its program and to power off.
    Stopping {
        /// Then it is destroyed.
        until: Time,
    },
}

/// One address and the VM that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// `<node>/<name>`.
    pub id: String,
    /// What the VM is for.
    pub role: Role,
    /// The VM's address.
    pub addr: Ipv4Addr,
    /// The latest incarnation that was begun.
    pub incarnation: u64,
    /// Where the present VM is in its life.
    pub phase: Phase,
    /// Whether the slot is on its way out.
    pub removal: Option<Removal>,
    /// The VM says itself that it wants no new requests.
    pub draining: bool,
    /// Why the last life ended or the next cannot begin.
    pub last_error: Option<String>,
    backoff: Backoff,
}

impl Slot {
    /// A slot in `phase`.
    pub fn new(id: String, role: Role, addr: Ipv4Addr, incarnation: u64, phase: Phase) -> Self {
        let backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        Self { id, role, addr, incarnation, phase, removal: None, draining: false, last_error: None, backoff }
    }

    /// The same, with what is known of failures: for a slot that goes on where another one ended.
    #[must_use]
    pub(crate) fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// What is known of failures.
    pub(crate) fn backoff(&self) -> Backoff {
        self.backoff.clone()
    }

    /// The slot as the API shows it.
    pub fn view(&self) -> Vm {
        let domain = self.domain();
        Vm {
            id: self.id.clone(),
            role: self.role,
            addr: self.addr,
            state: self.state(),
            incarnation: self.incarnation,
            domain: domain.map(|domain| domain.name.clone()),
            qemu_pid: domain.map(|domain| domain.pid),
            last_error: self.last_error.clone(),
        }
    }

    /// The state as the API shows it.
    pub fn state(&self) -> VmState {
        match &self.phase {
            _ if self.leaving() => VmState::Draining,
            Phase::Waiting { .. } => VmState::Down,
            Phase::Reserved { .. } | Phase::Creating => VmState::Starting,
            Phase::Running { heartbeat, .. } => match heartbeat.state() {
                State::Booting { .. } => VmState::Starting,
                State::Alive { .. } if self.draining => VmState::Draining,
                State::Alive { .. } => VmState::Up,
                State::Reconnecting { .. } => VmState::Suspect,
                State::Dead => VmState::Down,
            },
        }
    }

    /// Whether requests may be sent to the VM, and which kind; none when it cannot take any.
    ///
    /// A suspect VM stays in: its silence may be the network's, and a load balancer that finds it mute goes to
    /// the next one by itself.
    pub fn serving(&self) -> Option<UpstreamState> {
        let Phase::Running { heartbeat, .. } = &self.phase else { return None };
        match heartbeat.state() {
            State::Booting { .. } | State::Dead => None,
            State::Alive { .. } | State::Reconnecting { .. } if self.draining || self.leaving() => {
                Some(UpstreamState::Draining)
            }
            State::Alive { .. } | State::Reconnecting { .. } => Some(UpstreamState::Up),
        }
    }

    /// Whether the removal is in force. One that is only requested has no effect: the disk may yet refuse it.
    pub const fn leaving(&self) -> bool {
        matches!(self.removal, Some(Removal::Draining { .. } | Removal::Stopping { .. }))
    }

    /// Whether the VM is on its way to its first heartbeat.
    pub const fn booting(&self) -> bool {
        match &self.phase {
            Phase::Creating => true,
            Phase::Running { heartbeat, .. } => matches!(heartbeat.state(), State::Booting { .. }),
            Phase::Reserved { .. } | Phase::Waiting { .. } => false,
        }
    }

    /// The running domain, if there is one.
    pub const fn domain(&self) -> Option<&DomainRef> {
        match &self.phase {
            Phase::Running { domain, .. } => Some(domain),
            Phase::Reserved { .. } | Phase::Creating | Phase::Waiting { .. } => None,
        }
    }

    /// Where the VM's program listens on `port`.
    pub fn socket(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.addr, port))
    }

    /// When the slot wants to be looked at again.
    pub fn next_deadline(&self) -> Option<Time> {
        let phase = match &self.phase {
            Phase::Reserved { .. } | Phase::Creating => None,
            Phase::Running { heartbeat, .. } => heartbeat.next_deadline(),
            Phase::Waiting { until } => Some(*until),
        };
        let removal = match self.removal {
            Some(Removal::Draining { until } | Removal::Stopping { until }) => Some(until),
            Some(Removal::Requested { .. }) | None => None,
        };
        [phase, removal].into_iter().flatten().min()
    }

    /// The pause before the next creation after the present VM's death: none if it had lived well.
    pub(crate) fn pause_after_death(&mut self, now: Time) -> Option<Duration> {
        if let Phase::Running { up_since: Some(since), .. } = self.phase
            && now.since(since) >= STABLE_AFTER
        {
            self.backoff.reset();
        }
        let first = self.backoff.failures() == 0;
        let pause = self.backoff.fail();
        (!first).then_some(pause)
    }

    /// The pause before the next creation after one that failed.
    pub(crate) fn pause_after_failed_creation(&mut self) -> Duration {
        self.backoff.fail()
    }
}
