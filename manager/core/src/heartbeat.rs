//! Is this VM alive? One verdict machine per VM.
//!
//! A VM publishes its state as a stream of events. An event is expected within `timeout`; silence, or a broken
//! stream, opens a time slot of the same length in which the stream is opened anew as often as needed. After
//! `retries` slots without an event the VM is dead. A dead verdict is final: a VM that comes back afterwards
//! has lost its place to its successor.
//!
//! The machine does not know what a connection is. It asks for one with [`Action::Connect`] and is told by
//! [`Event::Lost`] when it failed or broke.

use std::time::Duration;

use crate::time::Time;

/// The limits of patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// From a VM's creation to its first event.
    pub boot_timeout: Duration,
    /// From one event to the next; also the length of a reconnect slot.
    pub timeout: Duration,
    /// Reconnect slots before the verdict.
    pub retries: u32,
    /// Between a lost connection and the next attempt in the same slot.
    pub pause: Duration,
}

/// Where the verdict stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No event yet.
    Booting {
        /// Then it is dead.
        until: Time,
        /// Then the next connection is tried; none while one is open.
        connect_at: Option<Time>,
    },
    /// Events arrive.
    Alive {
        /// The next event is due then.
        until: Time,
    },
    /// Events are overdue.
    Reconnecting {
        /// Which slot this is, from 1; 0 of a VM that was found running and has not been heard yet.
        attempt: u32,
        /// The slot's end.
        until: Time,
        /// Then the next connection is tried; none while one is open.
        connect_at: Option<Time>,
    },
    /// Final.
    Dead,
}

/// What the machine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The VM says that its program has just been started: a connection now will find it.
    Started,
    /// An event of the stream arrived.
    Beat,
    /// The connection could not be opened, or broke.
    Lost,
    /// Time has passed.
    Tick,
    /// The observer itself was not running for this long, so silence proves nothing.
    Gap(Duration),
}

/// What the machine wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Open a connection, in place of any there is.
    Connect,
    /// Give the VM up.
    Dead(Reason),
}

/// Why a VM was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It never sent an event.
    BootTimeout,
    /// It stopped sending events.
    Silence,
}

/// The verdict machine of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    state: State,
}

impl Heartbeat {
    /// Of a VM that has just been created.
    pub fn booting(now: Time, config: &Config) -> Self {
        let connect_at = Some(now + config.pause);
        Self { state: State::Booting { until: now + config.boot_timeout, connect_at } }
    }

    /// Of a VM that was found running, `age` after it was created. One that had the time to boot is taken for
    /// alive until its silence proves otherwise; a younger one may go on booting.
    pub fn adopted(now: Time, age: Duration, config: &Config) -> Self {
        if let Some(left) = config.boot_timeout.checked_sub(age).filter(|left| !left.is_zero()) {
            return Self { state: State::Booting { until: now + left, connect_at: Some(now) } };
        }
        Self { state: State::Reconnecting { attempt: 0, until: now + config.timeout, connect_at: Some(now) } }
    }

    /// Where the verdict stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// When [`Event::Tick`] is due; none when it never is.
    pub fn next_deadline(&self) -> Option<Time> {
        match self.state {
            State::Booting { until, connect_at } | State::Reconnecting { until, connect_at, .. } => {
                Some(connect_at.map_or(until, |at| at.min(until)))
            }
            State::Alive { until } => Some(until),
            State::Dead => None,
        }
    }

    /// Takes one event. At most one action follows.
    pub fn step(&mut self, now: Time, event: Event, config: &Config) -> Option<Action> {
        let (state, action) = next(self.state, now, event, config);
        self.state = state;
        action
    }
}

fn next(state: State, now: Time, event: Event, config: &Config) -> (State, Option<Action>) {
    match (state, event) {
        (State::Dead, _) => (State::Dead, None),

        (_, Event::Beat) => (State::Alive { until: now + config.timeout }, None),

        (State::Booting { until, .. }, Event::Started) => {
            (State::Booting { until, connect_at: None }, Some(Action::Connect))
        }
        (State::Reconnecting { attempt, until, .. }, Event::Started) => {
            (State::Reconnecting { attempt, until, connect_at: None }, Some(Action::Connect))
        }
        // The program was restarted inside the VM: the stream is about to break by itself.
        (State::Alive { .. }, Event::Started) => (state, None),

        (State::Booting { until, .. }, Event::Lost) => {
            (State::Booting { until, connect_at: Some(now + config.pause) }, None)
        }
        (State::Alive { .. }, Event::Lost) => (reconnecting(1, now, config), Some(Action::Connect)),
        (State::Reconnecting { attempt, until, .. }, Event::Lost) => {
            (State::Reconnecting { attempt, until, connect_at: Some(now + config.pause) }, None)
        }

        (State::Booting { until, .. }, Event::Tick) if now >= until => {
            (State::Dead, Some(Action::Dead(Reason::BootTimeout)))
        }
        (State::Booting { until, connect_at: Some(at) }, Event::Tick) if now >= at => {
            (State::Booting { until, connect_at: None }, Some(Action::Connect))
        }
        (State::Alive { until }, Event::Tick) if now >= until => after_slot(0, now, config),
        (State::Reconnecting { attempt, until, .. }, Event::Tick) if now >= until => {
            after_slot(attempt, now, config)
        }
        (State::Reconnecting { attempt, until, connect_at: Some(at) }, Event::Tick) if now >= at => {
            (State::Reconnecting { attempt, until, connect_at: None }, Some(Action::Connect))
        }
        (State::Booting { .. } | State::Alive { .. } | State::Reconnecting { .. }, Event::Tick) => {
            (state, None)
        }

        (State::Booting { until, .. }, Event::Gap(gap)) => {
            (State::Booting { until: until + gap, connect_at: None }, Some(Action::Connect))
        }
        (State::Alive { .. } | State::Reconnecting { .. }, Event::Gap(_)) => {
            (reconnecting(1, now, config), Some(Action::Connect))
        }
    }
}

/// What follows a slot that ended without an event; slot 0 is the wait for the regular next event.
fn after_slot(attempt: u32, now: Time, config: &Config) -> (State, Option<Action>) {
    if attempt >= config.retries {
        (State::Dead, Some(Action::Dead(Reason::Silence)))
    } else {
        (reconnecting(attempt + 1, now, config), Some(Action::Connect))
    }
}

fn reconnecting(attempt: u32, now: Time, config: &Config) -> State {
    State::Reconnecting { attempt, until: now + config.timeout, connect_at: None }
}

#[cfg(test)]
mod tests;
