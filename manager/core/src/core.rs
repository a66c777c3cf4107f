//! All decisions of one manager together: events go in, actions come out.
//!
//! What others must be told - the upstream set, the account for the peers, the desired state on disk - is not
//! an action but a view of the state ([`Core::upstreams`], [`Core::account`], [`Core::desired`]). The driver
//! compares each view with what it told last, after every event. So a change cannot be forgotten, whichever
//! path made it, and several changes at once are told once.

mod requests;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use wire::{PeerService, Role, Status, VmState};

pub use self::requests::{Accepted, CreateError, RemoveError};
pub use self::views::LbTarget;
use crate::desired::Desired;
use crate::heartbeat::{self, Heartbeat, Reason};
use crate::peers::{PeerConfig, Peers};
use crate::pool::Pool;
use crate::slot::{DomainRef, Phase, Removal, Slot};
use crate::time::Time;

/// A pause of the driver longer than this voids what it knew of the VMs' liveness: not they were silent, but
/// it was deaf (SIGSTOP, suspend, a starved host).
const GAP: Duration = Duration::from_secs(1);

/// The longest time the driver may leave the core without an event; well below [`GAP`].
const TICK: Duration = Duration::from_millis(250);

/// What a VM may take to power off after its program has ended.
const STOP_MARGIN: Duration = Duration::from_secs(2);

/// Between two tries to begin a life while too many VMs boot.
const TURN_AGAIN: Duration = Duration::from_millis(100);

/// Between a try to destroy a domain that failed and the next one.
const DESTROY_AGAIN: Duration = Duration::from_secs(2);

/// What the core needs to know once.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// This node's addresses.
    pub pool: Pool,
    /// The other nodes.
    pub peers: Vec<PeerConfig>,
    /// When a VM counts as dead.
    pub heartbeat: heartbeat::Config,
    /// Where services listen.
    pub service_port: u16,
    /// Where the load balancer takes traffic.
    pub lb_port: u16,
    /// Between a removal's acceptance and the order to the VM to stop.
    pub drain: Duration,
    /// Between that order and the VM's destruction, if it has not stopped by itself.
    pub stop: Duration,
    /// VMs that may boot at the same time: more of them would only make each other late.
    pub max_boots: usize,
}

/// A domain of ours that libvirt knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The domain.
    pub domain: DomainRef,
    /// From its metadata: whose life it is.
    pub id: String,
    /// From its metadata.
    pub role: Role,
    /// From its metadata.
    pub addr: Ipv4Addr,
    /// From its metadata: which life.
    pub incarnation: u64,
    /// How long its QEMU has been running.
    pub age: Duration,
}

/// A VM that was not made by this node as it is configured now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "VM {id} at {addr} does not fit this node's name or its pool {pool}: was `node` or `network.pool` changed? \
     Restore them, or remove the VM and state_dir first"
)]
pub struct ForeignVm {
    /// Its id.
    pub id: String,
    /// Its address.
    pub addr: Ipv4Addr,
    /// The pool as it is configured now.
    pub pool: ipnet::Ipv4Net,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first look at libvirt and the disk after the start. Nothing is decided before it.
    Inventory {
        /// What runs.
        running: Vec<Observed>,
        /// What should.
        desired: Desired,
    },
    /// A later look at libvirt, for domains that nobody knows of any more.
    Seen(Vec<Observed>),
    /// [`Action::Create`] succeeded.
    Created {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// As what.
        domain: DomainRef,
    },
    /// [`Action::Create`] failed. If it left something behind all the same, [`Event::Seen`] will show it.
    CreateFailed {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// Why.
        error: String,
    },
    /// QEMU's process has ended.
    Exited {
        /// Which domain.
        domain: String,
    },
    /// [`Action::Destroy`] is done.
    Destroyed {
        /// Which domain.
        domain: String,
    },
    /// [`Action::Destroy`] failed; it will be asked for again.
    DestroyFailed {
        /// Which domain.
        domain: String,
    },
    /// The VM says that its program has been started.
    GuestStarted {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
    },
    /// The VM refused its identity: it will never be of use.
    GuestRefused {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// Why.
        error: String,
    },
    /// An event of the heartbeat stream.
    Beat {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// What the VM says of itself.
        status: Status,
    },
    /// The heartbeat connection could not be opened, or broke.
    StreamLost {
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
    },
    /// What the own load balancer routed to before this manager started.
    LbRoutes(Vec<PeerService>),
    /// The desired state is on disk, up to and including this revision.
    Persisted {
        /// Of [`Core::desired`].
        revision: u64,
    },
    /// The desired state of this revision could not be written.
    PersistFailed {
        /// Of [`Core::desired`].
        revision: u64,
    },
    /// Time has passed.
    Tick,
}

/// What shall be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a VM. Answered by [`Event::Created`] or [`Event::CreateFailed`].
    Create {
        /// `<node>/<name>`.
        id: String,
        /// What it is for.
        role: Role,
        /// Its address.
        addr: Ipv4Addr,
        /// Which life.
        incarnation: u64,
    },
    /// Make sure a domain is gone. Answered by [`Event::Destroyed`] or [`Event::DestroyFailed`].
    Destroy {
        /// Which one.
        domain: DomainRef,
        /// Why.
        reason: &'static str,
    },
    /// Tell a VM to end its program and to power off.
    Stop {
        /// Which domain.
        domain: DomainRef,
        /// How long its program may take.
        timeout: Duration,
    },
    /// Watch a running domain: its process, and its talk on the virtio-serial port.
    Watch {
        /// Which domain.
        domain: DomainRef,
        /// Of which slot.
        id: String,
        /// Which life.
        incarnation: u64,
        /// It was created just now and needs its identity; otherwise it has one.
        fresh: bool,
    },
    /// Open a heartbeat connection, in place of any there is for this id.
    Connect {
        /// To which slot's VM.
        id: String,
        /// Which life.
        incarnation: u64,
        /// What it is.
        role: Role,
        /// Its address.
        addr: Ipv4Addr,
    },
    /// Close the heartbeat connection to a VM that is no more.
    Disconnect {
        /// Of which slot.
        id: String,
    },
    /// Write a line: a slot has changed its state.
    Log(Transition),
}

/// A change of a VM's state, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Of which slot.
    pub id: String,
    /// Which life.
    pub incarnation: u64,
    /// The state before; none for a new slot.
    pub from: Option<VmState>,
    /// The state now; none for a slot that is gone.
    pub to: Option<VmState>,
    /// Why.
    pub reason: String,
}

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
                if let Some(addr) = self.present(&id, incarnation) {
                    self.replace(now, addr, format!("identity refused: {error}"), out);
                }
            }
            Event::Beat { id, incarnation, status } => self.beat(now, &id, incarnation, status, out),
            Event::StreamLost { id, incarnation } => {
                self.heartbeat(now, &id, incarnation, heartbeat::Event::Lost, out);
            }
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

    /// Why this inventory cannot be taken over: VMs that another configuration made, most likely.
    ///
    /// # Errors
    /// The id and the address that do not fit this node's name or pool.
    pub fn check_inventory(&self, running: &[Observed], desired: &Desired) -> Result<(), ForeignVm> {
        let running = running.iter().map(|vm| (&vm.id, vm.role, vm.addr));
        let wanted = desired.vms.iter().map(|vm| (&vm.id, vm.role, vm.addr));
        for (id, role, addr) in running.chain(wanted) {
            if !self.config.pool.is_vm_addr(addr) || *id != self.id_of(role, addr) {
                return Err(ForeignVm { id: id.clone(), addr, pool: self.config.pool.net() });
            }
        }
        Ok(())
    }

    fn take_inventory(&mut self, now: Time, running: Vec<Observed>, desired: Desired, out: &mut Vec<Action>) {
        if self.ready {
            return;
        }
        self.ready = true;
        self.retired = desired.retired;
        let mut removing = BTreeSet::new();
        for vm in desired.vms {
            if vm.removing {
                removing.insert(vm.addr);
            }
            let phase = Phase::Waiting { until: now };
            self.slots.insert(vm.addr, Slot::new(vm.id, vm.role, vm.addr, vm.incarnation, phase));
        }
        for observed in running {
            self.adopt(now, observed, out);
        }
        for addr in removing {
            self.finish_removal(addr, "removal was accepted before the restart", out);
        }
        self.ensure_lb(now, out);
        // The load balancers first: without one the services serve nobody.
        let mut waiting: Vec<_> = self.slots.values().filter(|slot| slot.domain().is_none()).collect();
        waiting.sort_by_key(|slot| slot.role);
        let waiting: Vec<_> = waiting.into_iter().map(|slot| slot.addr).collect();
        for addr in waiting {
            self.begin_life(now, addr, "was not running when the manager started", out);
        }
        self.desired_revision += 1;
    }

    /// Takes over a running domain, unless it is a life that was given up already.
    fn adopt(&mut self, now: Time, observed: Observed, out: &mut Vec<Action>) {
        let Observed { domain, id, role, addr, incarnation, age } = observed;
        let removed = self.retired.get(&addr).is_some_and(|last| incarnation <= *last);
        let replaced = self.slots.get(&addr).is_some_and(|slot| incarnation < slot.incarnation);
        if removed || replaced {
            self.doom(domain, "a life that was given up before the restart", out);
            return;
        }
        if let Some(older) = self.slots.get(&addr).and_then(Slot::domain).cloned() {
            self.doom(older, "an earlier life than the one that runs", out);
        }
        let heartbeat = Heartbeat::adopted(now, age, &self.config.heartbeat);
        let phase = Phase::Running { domain: domain.clone(), heartbeat, up_since: None };
        let slot = Slot::new(id.clone(), role, addr, incarnation, phase);
        out.push(log(&slot, None, "adopted".to_owned()));
        out.push(Action::Watch { domain, id, incarnation, fresh: false });
        self.slots.insert(addr, slot);
    }

    fn look_for_strays(&mut self, running: Vec<Observed>, out: &mut Vec<Action>) {
        for observed in running {
            let name = &observed.domain.name;
            let ours = self.slots.get(&observed.addr).is_some_and(|slot| {
                let coming = slot.phase == Phase::Creating && slot.incarnation == observed.incarnation;
                coming || slot.domain().is_some_and(|domain| domain.name == *name)
            });
            if self.ready && !ours && !self.doomed.contains_key(name) {
                self.doom(observed.domain, "nobody knows of it", out);
            }
        }
    }

    fn created(&mut self, now: Time, id: &str, incarnation: u64, domain: DomainRef, out: &mut Vec<Action>) {
        let slot = self.present(id, incarnation).and_then(|addr| self.slots.get_mut(&addr));
        let Some(slot) = slot.filter(|slot| slot.phase == Phase::Creating) else {
            // The slot was removed, or has gone on to another life, while libvirt was at work.
            self.doom(domain, "created too late", out);
            return;
        };
        let heartbeat = Heartbeat::booting(now, &self.config.heartbeat);
        slot.phase = Phase::Running { domain: domain.clone(), heartbeat, up_since: None };
        out.push(Action::Watch { domain, id: id.to_owned(), incarnation, fresh: true });
    }

    fn create_failed(&mut self, now: Time, id: &str, incarnation: u64, error: String, out: &mut Vec<Action>) {
        let slot = self.present(id, incarnation).and_then(|addr| self.slots.get_mut(&addr));
        let Some(slot) = slot.filter(|slot| slot.phase == Phase::Creating) else { return };
        let from = slot.state();
        let until = now + slot.pause_after_failed_creation();
        slot.phase = Phase::Waiting { until };
        out.push(log(slot, Some(from), format!("creation failed: {error}")));
        slot.last_error = Some(error);
    }

    fn exited(&mut self, now: Time, domain: &str, out: &mut Vec<Action>) {
        let slot =
            self.slots.values().find(|slot| slot.domain().is_some_and(|running| running.name == domain));
        if let Some(addr) = slot.map(|slot| slot.addr) {
            self.replace(now, addr, "QEMU's process ended".to_owned(), out);
        }
    }

    fn beat(&mut self, now: Time, id: &str, incarnation: u64, status: Status, out: &mut Vec<Action>) {
        let Some(slot) = self.present(id, incarnation).and_then(|addr| self.slots.get_mut(&addr)) else {
            return;
        };
        let from = slot.state();
        let Phase::Running { heartbeat, up_since, .. } = &mut slot.phase else { return };
        if matches!(heartbeat.state(), heartbeat::State::Dead) {
            return;
        }
        if !matches!(heartbeat.state(), heartbeat::State::Alive { .. }) {
            *up_since = Some(now);
        }
        heartbeat.step(now, heartbeat::Event::Beat, &self.config.heartbeat);
        slot.draining = status == Status::Draining;
        if slot.state() != from {
            slot.last_error = None;
            out.push(log(slot, Some(from), "heartbeat".to_owned()));
        }
    }

    fn heartbeats(&mut self, now: Time, event: heartbeat::Event, out: &mut Vec<Action>) {
        let lives: Vec<_> = self.slots.values().map(|slot| (slot.id.clone(), slot.incarnation)).collect();
        for (id, incarnation) in lives {
            self.heartbeat(now, &id, incarnation, event, out);
        }
    }

    fn heartbeat(
        &mut self,
        now: Time,
        id: &str,
        incarnation: u64,
        event: heartbeat::Event,
        out: &mut Vec<Action>,
    ) {
        let Some(addr) = self.present(id, incarnation) else { return };
        let Some(slot) = self.slots.get_mut(&addr) else { return };
        let from = slot.state();
        let Phase::Running { heartbeat, .. } = &mut slot.phase else { return };
        let action = heartbeat.step(now, event, &self.config.heartbeat);
        match action {
            Some(heartbeat::Action::Connect) => {
                out.push(Action::Connect { id: id.to_owned(), incarnation, role: slot.role, addr });
            }
            Some(heartbeat::Action::Dead(Reason::BootTimeout)) => {
                let reason =
                    format!("no heartbeat within {:?} of its creation", self.config.heartbeat.boot_timeout);
                self.replace(now, addr, reason, out);
                return;
            }
            Some(heartbeat::Action::Dead(Reason::Silence)) => {
                let config = &self.config.heartbeat;
                let reason = format!("silent for {:?} and {} reconnects", config.timeout, config.retries);
                self.replace(now, addr, reason, out);
                return;
            }
            None => {}
        }
        if slot.state() != from {
            let reason = match event {
                heartbeat::Event::Lost => "heartbeat connection lost",
                heartbeat::Event::Gap(_) => "the manager itself had stopped",
                heartbeat::Event::Started | heartbeat::Event::Beat | heartbeat::Event::Tick => {
                    "heartbeat is late"
                }
            };
            out.push(log(slot, Some(from), reason.to_owned()));
        }
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

    /// The VM at `addr` has drained: let it stop by itself, if it can.
    fn stop(&mut self, now: Time, addr: Ipv4Addr, out: &mut Vec<Action>) {
        let Some(slot) = self.slots.get_mut(&addr) else { return };
        let Some(domain) = slot.domain().cloned() else {
            self.finish_removal(addr, "drained", out);
            return;
        };
        // The VM gets the shorter time, so that it can end its program itself and still power off.
        let timeout = self.config.stop;
        slot.removal = Some(Removal::Stopping { until: now + timeout + STOP_MARGIN });
        out.push(Action::Stop { domain, timeout });
    }

    /// The VM at `addr` is dead: destroy what is left of it, and give its address to a new one.
    fn replace(&mut self, now: Time, addr: Ipv4Addr, reason: String, out: &mut Vec<Action>) {
        let Some(slot) = self.slots.get_mut(&addr) else { return };
        if slot.leaving() {
            self.finish_removal(addr, &reason, out);
            return;
        }
        let from = slot.state();
        let pause = slot.pause_after_death(now);
        let before =
            std::mem::replace(&mut slot.phase, Phase::Waiting { until: now + pause.unwrap_or_default() });
        slot.draining = false;
        out.push(log(slot, Some(from), reason.clone()));
        slot.last_error = Some(reason);
        out.push(Action::Disconnect { id: slot.id.clone() });
        if let Phase::Running { domain, .. } = before {
            self.doom(domain, "dead", out);
        }
        if pause.is_none() {
            self.begin_life(now, addr, "replacement", out);
        }
    }

    /// Begins the next life of the slot at `addr`, or puts it off while too many VMs boot.
    fn begin_life(&mut self, now: Time, addr: Ipv4Addr, reason: &str, out: &mut Vec<Action>) {
        let booting = self.slots.values().filter(|slot| slot.booting()).count();
        let Some(slot) = self.slots.get_mut(&addr) else { return };
        if booting >= self.config.max_boots {
            slot.phase = Phase::Waiting { until: now + TURN_AGAIN };
            return;
        }
        let from = slot.state();
        slot.incarnation += 1;
        slot.phase = Phase::Creating;
        slot.draining = false;
        out.push(log(slot, Some(from), reason.to_owned()));
        out.push(Action::Create {
            id: slot.id.clone(),
            role: slot.role,
            addr,
            incarnation: slot.incarnation,
        });
        self.desired_revision += 1;
    }

    fn finish_removal(&mut self, addr: Ipv4Addr, reason: &str, out: &mut Vec<Action>) {
        let Some(slot) = self.slots.remove(&addr) else { return };
        let (from, id, incarnation) = (slot.state(), slot.id.clone(), slot.incarnation);
        out.push(Action::Log(Transition {
            id,
            incarnation,
            from: Some(from),
            to: None,
            reason: reason.to_owned(),
        }));
        out.push(Action::Disconnect { id: slot.id.clone() });
        self.retired.insert(addr, slot.incarnation);
        if let Phase::Running { domain, .. } = slot.phase {
            self.doom(domain, "removed", out);
        }
        self.desired_revision += 1;
    }

    fn ensure_lb(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.slots.values().any(|slot| slot.role == Role::Lb) {
            return;
        }
        if let Some(addr) = self.config.pool.lowest_free(|addr| self.slots.contains_key(&addr)) {
            let incarnation = self.retired.remove(&addr).unwrap_or(0);
            let phase = Phase::Waiting { until: now };
            let slot = Slot::new(self.id_of(Role::Lb, addr), Role::Lb, addr, incarnation, phase);
            out.push(log(&slot, None, "every node has a load balancer".to_owned()));
            self.slots.insert(addr, slot);
        }
    }

    fn doom(&mut self, domain: DomainRef, reason: &'static str, out: &mut Vec<Action>) {
        out.push(Action::Destroy { domain: domain.clone(), reason });
        self.doomed.insert(domain.name.clone(), (domain, None));
    }

    fn id_of(&self, role: Role, addr: Ipv4Addr) -> String {
        let prefix = match role {
            Role::Lb => "lb",
            Role::Service => "svc",
        };
        format!("{}/{prefix}-{}", self.config.node, self.config.pool.offset(addr))
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
