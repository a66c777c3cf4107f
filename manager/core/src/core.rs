//! All decisions of one manager together: events go in, actions come out.
//!
//! What others must be told - the upstream set, the account for the peers, the desired state on disk - is not
//! an action but a view of the state ([`Core::upstreams`], [`Core::account`], [`Core::desired`]). The driver
//! compares each view with what it told last, after every event. So a change cannot be forgotten, whichever
//! path made it, and several changes at once are told once.

mod inventory;
mod liveness;
mod lives;
mod requests;
mod services;
mod types;
mod views;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use wire::VmState;

pub use self::requests::{Accepted, CreateError, RemoveError};
pub use self::services::{Resized, ServicesError};
pub use self::types::{Action, Config, Event, ForeignVm, Observed, Transition};
pub use self::views::LbTarget;
use crate::desired::Desired;
use crate::heartbeat;
use crate::peers::Peers;
use crate::slot::{DomainRef, Phase, Removal, Slot};
use crate::time::Time;

/// A pause of the driver longer than this voids what it knew of the VMs' liveness: not they were silent, but
/// it was deaf (SIGSTOP, suspend, a starved host).
const GAP: Duration = Duration::from_secs(1);

/// The longest time the driver may leave the core without an event; well below [`GAP`].
const TICK: Duration = Duration::from_millis(250);

/// Between a try to destroy a domain that failed and the next one.
const DESTROY_AGAIN: Duration = Duration::from_secs(2);

/// All that one manager knows and decides.
#[derive(Debug, Clone)]
pub struct Core {
    config: Config,
    ready: bool,
    slots: BTreeMap<Ipv4Addr, Slot>,
    /// Domains that must go, and when to try again; none while a try is under way.
    doomed: BTreeMap<String, (DomainRef, Option<Time>)>,
    retired: BTreeMap<Ipv4Addr, u64>,
    peers: Peers,
    desired_revision: u64,
    lb_moves: bool,
    last_step: Time,
}

impl Core {
    /// A core that knows nothing yet and waits for [`Event::Inventory`].
    pub fn new(now: Time, config: Config) -> Self {
        let peers = Peers::new(&config.peers);
        Self {
            config,
            ready: false,
            slots: BTreeMap::new(),
            doomed: BTreeMap::new(),
            retired: BTreeMap::new(),
            peers,
            desired_revision: 0,
            lb_moves: false,
            last_step: now,
        }
    }

    /// Takes one event; what follows is appended to `out`.
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let gap = now.since(self.last_step);
        self.last_step = self.last_step.max(now);
        if gap > GAP {
            self.heartbeats(now, heartbeat::Event::Gap(gap), out);
        }
        match event {
            Event::Inventory { running, desired } => self.take_inventory(now, running, desired, out),
            Event::Seen(running) => self.look_for_strays(running, out),
            Event::Created { id, incarnation, domain } => self.created(now, &id, incarnation, domain, out),
            Event::CreateFailed { id, incarnation, error } => {
                self.create_failed(now, &id, incarnation, error, out);
            }
            Event::Exited { domain } => self.exited(now, &domain, out),
            Event::Destroyed { domain } => drop(self.doomed.remove(&domain)),
            Event::DestroyFailed { domain } => {
                if let Some((_, again)) = self.doomed.get_mut(&domain) {
                    *again = Some(now + DESTROY_AGAIN);
                }
            }
            Event::GuestStarted { id, incarnation } => {
                self.heartbeat(now, &id, incarnation, heartbeat::Event::Started, out);
            }
            Event::GuestRefused { id, incarnation, error } => {
                // One that serves has an identity, and may well refuse another.
                let waits = |addr: &Ipv4Addr| self.slots.get(addr).is_some_and(Slot::booting);
                if let Some(addr) = self.present(&id, incarnation).filter(waits) {
                    self.replace(now, addr, format!("identity refused: {error}"), out);
                }
            }
            Event::Beat { id, incarnation, status } => self.beat(now, &id, incarnation, status, out),
            Event::StreamLost { id, incarnation } => {
                self.heartbeat(now, &id, incarnation, heartbeat::Event::Lost, out);
            }
            Event::Forgotten { node } => self.peers.forget(&node),
            Event::Peers(peers) => {
                self.peers.configure(&peers);
                self.config.peers = peers;
            }
            Event::LbMute { id, incarnation, reason } => {
                let runs =
                    |addr: &Ipv4Addr| self.slots.get(addr).is_some_and(|slot| slot.serving().is_some());
                if let Some(addr) = self.present(&id, incarnation).filter(runs) {
                    self.replace(now, addr, reason, out);
                }
            }
            Event::LbMoves(moves) => self.lb_moves = moves,
            Event::LbRoutes(services) => self.peers.seed(&services),
            Event::Persisted { revision } => self.persisted(now, revision, out),
            Event::PersistFailed { revision } => self.persist_failed(revision, out),
            Event::Tick => self.tick(now, out),
        }
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Time {
        let slots = self.slots.values().filter_map(Slot::next_deadline);
        let doomed = self.doomed.values().filter_map(|(_, again)| *again);
        slots.chain(doomed).min().unwrap_or(Time::from_millis(u64::MAX)).min(self.last_step + TICK)
    }

    fn tick(&mut self, now: Time, out: &mut Vec<Action>) {
        self.heartbeats(now, heartbeat::Event::Tick, out);
        let due = |slot: &&Slot| slot.next_deadline().is_some_and(|deadline| deadline <= now);
        let slots: Vec<_> = self.slots.values().filter(due).map(|slot| slot.addr).collect();
        for addr in slots {
            let Some(slot) = self.slots.get(&addr) else { continue };
            match (&slot.phase, slot.removal) {
                (_, Some(Removal::Draining { until })) if until <= now => self.stop(now, addr, out),
                (_, Some(Removal::Stopping { until })) if until <= now => {
                    self.finish_removal(addr, "did not stop in time", out);
                }
                (Phase::Waiting { until }, None | Some(Removal::Requested { .. })) if *until <= now => {
                    self.begin_life(now, addr, "trying again", out);
                }
                _ => {}
            }
        }
        for (domain, again) in self.doomed.values_mut() {
            if again.is_some_and(|again| again <= now) {
                *again = None;
                out.push(Action::Destroy { domain: domain.clone(), reason: "trying again" });
            }
        }
    }

    fn by_id(&self, id: &str) -> Option<Ipv4Addr> {
        self.slots.values().find(|slot| slot.id == id).map(|slot| slot.addr)
    }

    /// The address of slot `id` if its present life is `incarnation`: what earlier lives still say is void.
    fn present(&self, id: &str, incarnation: u64) -> Option<Ipv4Addr> {
        self.by_id(id).filter(|addr| self.slots[addr].incarnation == incarnation)
    }
}

fn log(slot: &Slot, from: Option<VmState>, reason: String) -> Action {
    Action::Log(Transition {
        id: slot.id.clone(),
        incarnation: slot.incarnation,
        from,
        to: Some(slot.state()),
        reason,
    })
}

#[cfg(test)]
mod tests;
