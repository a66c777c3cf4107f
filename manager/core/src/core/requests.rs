//! What administrators and peers ask for.
//!
//! A request that changes what should run takes effect once it is on disk: it is accepted with the revision of
//! the desired state that holds it, and begins or is undone when the driver reports the outcome of the write.

use std::net::Ipv4Addr;

use wire::{Capacity, PeerServices, Role, Vm, VmState};

use super::{Action, Core, Phase, Removal, Slot, Transition, log};
use crate::peers::{AccountError, Merge};
use crate::time::Time;

/// A request that takes effect once `revision` of the desired state is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Of [`Core::desired`].
    pub revision: u64,
    /// The VM as it is now.
    pub vm: Vm,
}

/// Why no VM can be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The manager has not yet seen what runs.
    #[error("the manager has not yet taken stock of its VMs (is libvirt reachable?)")]
    NotReady,
    /// The address is not a VM's.
    #[error("{0} is not an address for VMs of this node's pool")]
    NotInPool(Ipv4Addr),
    /// Another VM has it.
    #[error("{addr} is in use by {id}")]
    InUse {
        /// The address.
        addr: Ipv4Addr,
        /// Its holder.
        id: String,
    },
    /// The node has as many service VMs as it may have.
    #[error(
        "this node has {services} service VMs, of at most {max} that its memory, its pool and service.max_vms allow"
    )]
    NoRoom {
        /// How many there are.
        services: u32,
        /// How many there may be.
        max: u32,
    },
    /// All addresses are in use.
    #[error(
        "all {0} addresses of this node's pool are in use, some by VMs on their way out, but for the one that is kept \
         for the load balancer"
    )]
    Exhausted(u32),
}

/// Why a VM cannot be removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// The manager has not yet seen what runs.
    #[error("the manager has not yet taken stock of its VMs (is libvirt reachable?)")]
    NotReady,
    /// There is no such VM here.
    #[error("this node has no VM {0}")]
    Unknown(String),
    /// The manager itself sees to its load balancer.
    #[error("{0} is this node's load balancer, which its manager sees to")]
    LoadBalancer(String),
    /// It is on its way out already.
    #[error("{0} is being removed already")]
    Removing(String),
    /// Its creation is not on disk yet.
    #[error("{0} is only just being created; try again")]
    Reserved(String),
}

impl Core {
    /// Reserves an address for a new service VM: `addr`, or the lowest that is free.
    ///
    /// # Errors
    /// If there is no address to be had. Nothing is changed then.
    pub fn create(&mut self, addr: Option<Ipv4Addr>) -> Result<Accepted, CreateError> {
        let pool = self.config.pool;
        if !self.ready {
            return Err(CreateError::NotReady);
        }
        if let Some(addr) = addr {
            if !pool.is_vm_addr(addr) {
                return Err(CreateError::NotInPool(addr));
            }
            if let Some(holder) = self.slots.get(&addr) {
                return Err(CreateError::InUse { addr, id: holder.id.clone() });
            }
        }
        let Capacity { services, room, max } = self.capacity();
        if services >= max {
            return Err(CreateError::NoRoom { services, max });
        }
        let free = || pool.lowest_free(|addr| self.slots.contains_key(&addr)).filter(|_| room > 0);
        let addr = addr.filter(|_| room > 0).or_else(free).ok_or(CreateError::Exhausted(pool.capacity()))?;
        self.desired_revision += 1;
        let revision = self.desired_revision;
        let vm = self.reserve(addr, revision);
        Ok(Accepted { revision, vm })
    }

    /// Reserves `addr`, which nobody has, for a service VM from `revision` on.
    pub(super) fn reserve(&mut self, addr: Ipv4Addr, revision: u64) -> Vm {
        let incarnation = self.retired.get(&addr).copied().unwrap_or(0);
        let id = self.config.id_of(Role::Service, addr);
        let slot = Slot::new(id, Role::Service, addr, incarnation, Phase::Reserved { revision });
        // The first life begins when the reservation is on disk; show it with its number already.
        let vm = Vm { incarnation: incarnation + 1, ..slot.view() };
        self.slots.insert(addr, slot);
        vm
    }

    /// Begins the removal of a service VM.
    ///
    /// # Errors
    /// If the VM is not one that can be removed. Nothing is changed then.
    pub fn remove(&mut self, id: &str) -> Result<Accepted, RemoveError> {
        if !self.ready {
            return Err(RemoveError::NotReady);
        }
        let addr = self.by_id(id).ok_or_else(|| RemoveError::Unknown(id.to_owned()))?;
        let Some(slot) = self.slots.get_mut(&addr) else { return Err(RemoveError::Unknown(id.to_owned())) };
        if slot.role == Role::Lb {
            return Err(RemoveError::LoadBalancer(id.to_owned()));
        }
        if slot.removal.is_some() {
            return Err(RemoveError::Removing(id.to_owned()));
        }
        if matches!(slot.phase, Phase::Reserved { .. }) {
            return Err(RemoveError::Reserved(id.to_owned()));
        }
        self.desired_revision += 1;
        let revision = self.desired_revision;
        slot.removal = Some(Removal::Requested { revision });
        Ok(Accepted { revision, vm: Vm { state: VmState::Draining, ..slot.view() } })
    }

    /// Takes a peer's account of its services.
    ///
    /// # Errors
    /// If the account is not the peer's to give. Nothing is changed then.
    pub fn account_of(
        &mut self,
        now: Time,
        node: &str,
        account: PeerServices,
    ) -> Result<Merge, AccountError> {
        self.peers.merge(now, node, account)
    }

    pub(super) fn persisted(&mut self, now: Time, revision: u64, out: &mut Vec<Action>) {
        let slots: Vec<_> = self.slots.keys().copied().collect();
        for addr in slots {
            let Some(slot) = self.slots.get_mut(&addr) else { continue };
            if let Some(Removal::Requested { revision: wanted }) = slot.removal
                && wanted <= revision
            {
                let from = slot.state();
                slot.removal = Some(Removal::Draining { until: now + self.config.drain });
                out.push(log(slot, Some(from), "removal requested".to_owned()));
                if slot.serving().is_none() {
                    self.finish_removal(addr, "removed", out);
                }
            } else if let Phase::Reserved { revision: wanted } = slot.phase
                && wanted <= revision
            {
                self.retired.remove(&addr);
                self.begin_life(now, addr, "creation requested", out);
            }
        }
    }

    /// The disk did not take `revision`: what waits for it is undone, so that a request that was answered with
    /// an error has no effect. Lives that have begun go on: healing does not wait for a disk.
    pub(super) fn persist_failed(&mut self, revision: u64, out: &mut Vec<Action>) {
        let before = self.slots.len();
        self.slots.retain(|_, slot| {
            let undone = matches!(slot.phase, Phase::Reserved { revision: wanted } if wanted <= revision);
            if undone {
                out.push(Action::Log(Transition {
                    id: slot.id.clone(),
                    incarnation: slot.incarnation,
                    from: Some(slot.state()),
                    to: None,
                    reason: "the reservation could not be written to disk".to_owned(),
                }));
            }
            !undone
        });
        let mut changed = self.slots.len() != before;
        for slot in self.slots.values_mut() {
            if matches!(slot.removal, Some(Removal::Requested { revision: wanted }) if wanted <= revision) {
                slot.removal = None;
                changed = true;
            }
        }
        if changed {
            self.desired_revision += 1;
        }
    }
}
