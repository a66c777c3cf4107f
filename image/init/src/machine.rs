//! What PID 1 decides: events in, actions out, no I/O.
//!
//! The driver carries out each action before it brings the next event. Time is the VM's uptime.

use std::time::Duration;

use wire::{FromGuest, Identity, Stages, ToGuest};

use crate::backoff::Backoff;
use crate::identity::{self, Plan};
use crate::lines::MAX_LINE;

/// How long a program may take to end after the power button was pressed.
pub(crate) const BUTTON_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time a manager may give a program to end.
pub(crate) const MAX_DRAIN: Duration = Duration::from_secs(600);
/// How long the kernel may take to end a program after SIGKILL.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a refusal at most; serde quotes what it could not read.
const MAX_MESSAGE: usize = 512;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A manager is connected, maybe a new one, and knows nothing.
    HostConnected,
    /// It sent a line.
    Line(&'a [u8]),
    /// It sent a line that was too long to be kept.
    LineTooLong,
    /// [`Action::Apply`] is done.
    Applied,
    /// [`Action::Start`] is done.
    Spawned {
        /// The program's process and process group.
        pid: u32,
    },
    /// [`Action::Start`] could not be done.
    SpawnFailed {
        /// Why.
        error: String,
    },
    /// A process ended.
    Exited {
        /// Which.
        pid: u32,
        /// `exit status 1` or `signal 9`.
        status: String,
    },
    /// Somebody pressed the power button.
    PowerButton,
    /// A deadline may have passed.
    Tick,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the manager.
    Send(FromGuest),
    /// Put an identity in force; a failure is fatal.
    Apply(Box<Plan>),
    /// Start the role's program.
    Start,
    /// Ask the program, and all of its process group, to end.
    Terminate(u32),
    /// End the program's process group.
    Kill(u32),
    /// Say it on the console.
    Log(String),
    /// Power the VM off.
    PowerOff,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Applying,
    Starting,
    Running { pid: u32, since: Duration },
    BackingOff { until: Duration },
    Draining { pid: Option<u32>, deadline: Duration, killed: bool },
    Off,
}

/// The state of PID 1.
#[derive(Debug)]
pub(crate) struct Machine {
    phase: Phase,
    identity: Option<Identity>,
    stages: Stages,
    backoff: Backoff,
    starts: u64,
    /// The last end of the program, for a manager that connects during the pause after it.
    last_exit: Option<(String, Duration)>,
}

impl Machine {
    /// A VM that booted: PID 1 ran at `init`, all was ready at `ready`.
    pub(crate) fn new(init: Duration, ready: Duration) -> Self {
        Self {
            phase: Phase::Waiting,
            identity: None,
            stages: Stages { init_ms: ms(init), ready_ms: ms(ready), assigned_ms: 0, started_ms: 0 },
            backoff: Backoff::new(),
            starts: 0,
            last_exit: None,
        }
    }

    /// When [`Event::Tick`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::BackingOff { until } => Some(until),
            Phase::Draining { deadline, .. } => Some(deadline),
            Phase::Waiting | Phase::Applying | Phase::Starting | Phase::Running { .. } | Phase::Off => None,
        }
    }

    /// Takes one event at uptime `now` and appends what to do to `out`.
    pub(crate) fn step(&mut self, now: Duration, event: Event<'_>, out: &mut Vec<Action>) {
        match event {
            Event::HostConnected => self.tell_state(out),
            Event::Line(line) => self.on_line(now, line, out),
            Event::LineTooLong => reject(format!("a line of more than {MAX_LINE} bytes was dropped"), out),
            Event::Applied => self.on_applied(out),
            Event::Spawned { pid } => self.on_spawned(now, pid, out),
            Event::SpawnFailed { error } => self.on_ended(now, now, format!("cannot start: {error}"), out),
            Event::Exited { pid, status } => self.on_exited(now, pid, status, out),
            Event::PowerButton => {
                out.push(Action::Log("power button".to_owned()));
                self.drain(now, BUTTON_TIMEOUT, out);
            }
            Event::Tick => self.on_tick(now, out),
        }
    }

    fn on_line(&mut self, now: Duration, line: &[u8], out: &mut Vec<Action>) {
        // An empty line asks for the state again. A manager that connects may send two line ends first: the one
        // ends what a predecessor left unfinished, the other asks.
        if line.is_empty() {
            return self.tell_state(out);
        }
        match serde_json::from_slice(line) {
            Ok(ToGuest::Assign(identity)) => self.on_assign(now, *identity, out),
            Ok(ToGuest::Drain { timeout_ms }) => {
                let timeout = Duration::from_millis(timeout_ms);
                if timeout > MAX_DRAIN {
                    let message = format!("drain.timeout_ms: {timeout_ms} is more than {}", ms(MAX_DRAIN));
                    return reject(message, out);
                }
                self.drain(now, timeout, out);
            }
            Err(error) => reject(format!("not a message: {error}"), out),
        }
    }

    fn on_assign(&mut self, now: Duration, identity: Identity, out: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Draining { .. } | Phase::Off) {
            return reject("assign: the VM is draining".to_owned(), out);
        }
        if let Some(own) = &self.identity {
            if identity::same(own, &identity) {
                return self.tell_state(out);
            }
            let message = format!("assign.id: the VM is {} incarnation {} already", own.id, own.incarnation);
            return reject(message, out);
        }
        match identity::check(&identity) {
            Ok(plan) => {
                let role = plan.role.as_str();
                out.push(Action::Log(format!(
                    "is {} ({role}) incarnation {}",
                    identity.id, identity.incarnation
                )));
                out.push(Action::Apply(Box::new(plan)));
                self.identity = Some(identity);
                self.stages.assigned_ms = ms(now);
                self.phase = Phase::Applying;
            }
            Err(error) => reject(error.to_string(), out),
        }
    }

    fn on_applied(&mut self, out: &mut Vec<Action>) {
        if self.phase == Phase::Applying {
            self.phase = Phase::Starting;
            self.tell_assigned(out);
            out.push(Action::Start);
        }
    }

    fn on_spawned(&mut self, now: Duration, pid: u32, out: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Starting => {
                self.phase = Phase::Running { pid, since: now };
                self.starts += 1;
                if self.starts == 1 {
                    self.stages.started_ms = ms(now);
                }
                out.push(Action::Log(format!("started (pid {pid})")));
                self.tell_started(pid, out);
            }
            Phase::Draining { pid: own @ None, .. } => {
                *own = Some(pid);
                out.push(Action::Terminate(pid));
            }
            _ => out.push(Action::Kill(pid)),
        }
    }

    fn on_exited(&mut self, now: Duration, exited: u32, status: String, out: &mut Vec<Action>) {
        let (pid, since) = match self.phase {
            Phase::Running { pid, since } => (pid, since),
            Phase::Draining { pid: Some(pid), .. } => (pid, now),
            _ => return,
        };
        if exited == pid {
            // What the program left behind would be in the way of the next one.
            out.push(Action::Kill(pid));
            self.on_ended(now, since, status, out);
        }
    }

    fn on_ended(&mut self, now: Duration, since: Duration, status: String, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Running { .. } | Phase::Starting => {
                let pause = self.backoff.ended(now.saturating_sub(since));
                self.phase = Phase::BackingOff { until: now + pause };
                out.push(Action::Log(format!("program ended: {status}; starts again in {} ms", ms(pause))));
                self.last_exit = Some((status, pause));
                self.tell_exited(out);
            }
            Phase::Draining { .. } => {
                out.push(Action::Log(format!("program ended: {status}")));
                self.power_off(out);
            }
            Phase::Waiting | Phase::Applying | Phase::BackingOff { .. } | Phase::Off => {}
        }
    }

    fn on_tick(&mut self, now: Duration, out: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::BackingOff { until } if now >= *until => {
                self.phase = Phase::Starting;
                out.push(Action::Start);
            }
            Phase::Draining { pid, deadline, killed } if now >= *deadline => {
                if let (Some(pid), false) = (*pid, *killed) {
                    *killed = true;
                    *deadline = now + KILL_TIMEOUT;
                    out.push(Action::Log(format!("pid {pid} did not end in time: killed")));
                    out.push(Action::Kill(pid));
                } else {
                    self.power_off(out);
                }
            }
            _ => {}
        }
    }

    fn drain(&mut self, now: Duration, timeout: Duration, out: &mut Vec<Action>) {
        let wanted = now + timeout;
        let pid = match &mut self.phase {
            Phase::Off => return,
            Phase::Draining { deadline, killed, .. } => {
                // A second request may only make it quicker.
                if !*killed {
                    *deadline = wanted.min(*deadline);
                }
                return;
            }
            Phase::Waiting | Phase::Applying | Phase::BackingOff { .. } => {
                out.push(Action::Send(FromGuest::Draining));
                return self.power_off(out);
            }
            Phase::Starting => None,
            Phase::Running { pid, .. } => Some(*pid),
        };
        out.push(Action::Log(format!("draining, {} ms", ms(timeout))));
        out.push(Action::Send(FromGuest::Draining));
        out.extend(pid.map(Action::Terminate));
        self.phase = Phase::Draining { pid, deadline: wanted, killed: false };
    }

    fn power_off(&mut self, out: &mut Vec<Action>) {
        self.phase = Phase::Off;
        out.push(Action::PowerOff);
    }

    fn tell_state(&self, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Waiting => out.push(Action::Send(FromGuest::Waiting(self.stages))),
            Phase::Applying | Phase::Starting => self.tell_assigned(out),
            Phase::Running { pid, .. } => {
                self.tell_assigned(out);
                self.tell_started(pid, out);
            }
            Phase::BackingOff { .. } => {
                self.tell_assigned(out);
                self.tell_exited(out);
            }
            Phase::Draining { .. } | Phase::Off => {
                self.tell_assigned(out);
                out.push(Action::Send(FromGuest::Draining));
            }
        }
    }

    fn tell_assigned(&self, out: &mut Vec<Action>) {
        out.extend(self.identity.as_ref().map(|own| {
            Action::Send(FromGuest::Assigned { id: own.id.clone(), incarnation: own.incarnation })
        }));
    }

    fn tell_started(&self, pid: u32, out: &mut Vec<Action>) {
        let restarts = self.starts.saturating_sub(1);
        out.push(Action::Send(FromGuest::Started { pid, restarts, stages: self.stages }));
    }

    fn tell_exited(&self, out: &mut Vec<Action>) {
        out.extend(self.last_exit.as_ref().map(|(status, pause)| {
            Action::Send(FromGuest::Exited { status: status.clone(), backoff_ms: ms(*pause) })
        }));
    }
}

fn reject(mut message: String, out: &mut Vec<Action>) {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    out.push(Action::Log(format!("refused: {message}")));
    out.push(Action::Send(FromGuest::Rejected { message }));
}

/// Milliseconds, as the wire has them.
pub(crate) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
