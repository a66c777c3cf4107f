//! What runs, compared with what is known: once at the start, and again every so often.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use wire::Role;

use super::{Action, Config, Core, Desired, ForeignVm, Observed, log};
use crate::heartbeat::Heartbeat;
use crate::slot::{Phase, Slot};
use crate::time::Time;

impl Config {
    /// Why this inventory cannot be taken over: VMs that another configuration made, most likely.
    ///
    /// # Errors
    /// The id and the address that do not fit this node's name or pool.
    pub fn check_inventory(&self, running: &[Observed], desired: &Desired) -> Result<(), ForeignVm> {
        let running = running.iter().map(|vm| (&vm.id, vm.role, vm.addr));
        let wanted = desired.vms.iter().map(|vm| (&vm.id, vm.role, vm.addr));
        for (id, role, addr) in running.chain(wanted) {
            if !self.pool.is_vm_addr(addr) || *id != self.id_of(role, addr) {
                return Err(ForeignVm { id: id.clone(), addr, pool: self.pool.net() });
            }
        }
        Ok(())
    }
}

impl Core {
    pub(super) fn take_inventory(
        &mut self,
        now: Time,
        running: Vec<Observed>,
        desired: Desired,
        out: &mut Vec<Action>,
    ) {
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
        let youngest =
            running.iter().filter(|vm| vm.role == Role::Lb).min_by_key(|vm| vm.age).map(|vm| vm.addr);
        for observed in running {
            self.adopt(now, observed, out);
        }
        self.keep_one_lb(youngest, out);
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

    /// A load balancer that was to move may stand twice, if the disk has not heard of it: the one that runs is kept, of
    /// two the younger, which was to take over.
    fn keep_one_lb(&mut self, youngest: Option<Ipv4Addr>, out: &mut Vec<Action>) {
        let lbs = || self.slots.values().filter(|slot| slot.role == Role::Lb);
        let runs = youngest.filter(|addr| lbs().any(|slot| slot.addr == *addr && slot.domain().is_some()));
        let Some(kept) = runs.or_else(|| lbs().map(|slot| slot.addr).next()) else { return };
        let others: Vec<_> = lbs().map(|slot| slot.addr).filter(|addr| *addr != kept).collect();
        for addr in others {
            self.finish_removal(addr, "another load balancer has taken its place", out);
        }
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

    pub(super) fn look_for_strays(&mut self, running: Vec<Observed>, out: &mut Vec<Action>) {
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
}
