//! How lives begin and end: creation, death and replacement, removal.

use std::net::Ipv4Addr;
use std::time::Duration;

use wire::Role;

use super::{Action, Core, Transition, log};
use crate::heartbeat::Heartbeat;
use crate::slot::{DomainRef, Phase, Removal, Slot};
use crate::time::Time;

/// What a VM may take to power off after its program has ended.
const STOP_MARGIN: Duration = Duration::from_secs(2);

/// Between two tries to begin a life while too many VMs boot.
const TURN_AGAIN: Duration = Duration::from_millis(100);

impl Core {
    pub(super) fn created(
        &mut self,
        now: Time,
        id: &str,
        incarnation: u64,
        domain: DomainRef,
        out: &mut Vec<Action>,
    ) {
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

    pub(super) fn create_failed(
        &mut self,
        now: Time,
        id: &str,
        incarnation: u64,
        error: String,
        out: &mut Vec<Action>,
    ) {
        let slot = self.present(id, incarnation).and_then(|addr| self.slots.get_mut(&addr));
        let Some(slot) = slot.filter(|slot| slot.phase == Phase::Creating) else { return };
        let from = slot.state();
        let until = now + slot.pause_after_failed_creation();
        slot.phase = Phase::Waiting { until };
        out.push(log(slot, Some(from), format!("creation failed: {error}")));
        slot.last_error = Some(error);
    }

    pub(super) fn exited(&mut self, now: Time, domain: &str, out: &mut Vec<Action>) {
        let slot =
            self.slots.values().find(|slot| slot.domain().is_some_and(|running| running.name == domain));
        if let Some(addr) = slot.map(|slot| slot.addr) {
            self.replace(now, addr, "QEMU's process ended".to_owned(), out);
        }
    }

    /// The VM at `addr` has drained: let it stop by itself, if it can.
    pub(super) fn stop(&mut self, now: Time, addr: Ipv4Addr, out: &mut Vec<Action>) {
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
    pub(super) fn replace(&mut self, now: Time, addr: Ipv4Addr, reason: String, out: &mut Vec<Action>) {
        let elsewhere = self.free_but(addr).filter(|_| self.lb_moves);
        let Some(slot) = self.slots.get_mut(&addr) else { return };
        if slot.leaving() {
            self.finish_removal(addr, &reason, out);
            return;
        }
        if let Some(next) = elsewhere.filter(|_| slot.role == Role::Lb) {
            self.move_lb(now, addr, next, &reason, out);
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

    /// The load balancer at `addr` is dead, and another node has the public address: the next one is built elsewhere, so
    /// that what clients still send to the old address meets nobody rather than one that has just begun.
    fn move_lb(&mut self, now: Time, addr: Ipv4Addr, next: Ipv4Addr, reason: &str, out: &mut Vec<Action>) {
        let Some(slot) = self.slots.get_mut(&addr) else { return };
        let pause = slot.pause_after_death(now);
        let backoff = slot.backoff();
        self.finish_removal(addr, reason, out);
        let incarnation = self.retired.remove(&next).unwrap_or(0);
        let phase = Phase::Waiting { until: now + pause.unwrap_or_default() };
        let id = self.config.id_of(Role::Lb, next);
        let slot = Slot::new(id, Role::Lb, next, incarnation, phase).with_backoff(backoff);
        out.push(log(&slot, None, format!("takes over from the load balancer at {addr}")));
        self.slots.insert(next, slot);
        if pause.is_none() {
            self.begin_life(now, next, "replacement", out);
        }
    }

    /// An address that nobody has and that is not `addr`.
    fn free_but(&self, addr: Ipv4Addr) -> Option<Ipv4Addr> {
        self.config.pool.lowest_free(|other| other == addr || self.slots.contains_key(&other))
    }

    /// Begins the next life of the slot at `addr`, or puts it off while too many VMs boot.
    pub(super) fn begin_life(&mut self, now: Time, addr: Ipv4Addr, reason: &str, out: &mut Vec<Action>) {
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

    pub(super) fn finish_removal(&mut self, addr: Ipv4Addr, reason: &str, out: &mut Vec<Action>) {
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

    pub(super) fn ensure_lb(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.slots.values().any(|slot| slot.role == Role::Lb) {
            return;
        }
        if let Some(addr) = self.config.pool.lowest_free(|addr| self.slots.contains_key(&addr)) {
            let incarnation = self.retired.remove(&addr).unwrap_or(0);
            let phase = Phase::Waiting { until: now };
            let slot = Slot::new(self.config.id_of(Role::Lb, addr), Role::Lb, addr, incarnation, phase);
            out.push(log(&slot, None, "every node has a load balancer".to_owned()));
            self.slots.insert(addr, slot);
        }
    }

    pub(super) fn doom(&mut self, domain: DomainRef, reason: &'static str, out: &mut Vec<Action>) {
        out.push(Action::Destroy { domain: domain.clone(), reason });
        self.doomed.insert(domain.name.clone(), (domain, None));
    }
}
