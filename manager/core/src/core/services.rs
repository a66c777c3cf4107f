//! How many service VMs there shall be on this node, and how many it can have.
//!
//! The number is not kept anywhere of its own: it is the number of service slots that are not on their way out, and
//! those are on disk. So it cannot contradict what runs.

use std::cmp::Reverse;
use std::net::Ipv4Addr;

use wire::{Capacity, Role};

use super::{Core, Phase, Removal, Slot};

/// Addresses that services never get: the load balancer's own, and the one where its next life may be built.
const LB_ADDRS: u32 = 2;

/// The number of service VMs has changed, or is what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resized {
    /// The revision of the desired state that must be on disk first; none if there is nothing to wait for.
    pub revision: Option<u64>,
    /// Service VMs before.
    pub from: u32,
    /// Service VMs from then on.
    pub to: u32,
}

/// Why the number of service VMs is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServicesError {
    /// The manager has not yet seen what runs.
    #[error("the manager has not yet taken stock of its VMs (is libvirt reachable?)")]
    NotReady,
    /// Somebody else has changed it.
    #[error(
        "this node has {services} service VMs, not {expected} as was expected: somebody else has changed that; ask again"
    )]
    Changed {
        /// What the caller saw.
        expected: u32,
        /// What is so.
        services: u32,
    },
    /// They do not fit.
    #[error(
        "this node has {services} service VMs and room for {room} more ({max} at most): {asked} do not fit"
    )]
    NoRoom {
        /// How many there shall be.
        asked: u32,
        /// How many there are.
        services: u32,
        /// How many can be added now.
        room: u32,
        /// How many there may ever be.
        max: u32,
    },
}

impl Core {
    /// How many service VMs there are, and how many there may be. One address is kept free: the load balancer's
    /// next life may be built at another one than its last.
    pub fn capacity(&self) -> Capacity {
        let services = count(self.slots.values().filter(|slot| stays(slot)));
        let max = self.config.max_vms.min(self.config.pool.capacity().saturating_sub(LB_ADDRS));
        let others = count(self.slots.values().filter(|slot| slot.role == Role::Service));
        let free = self.config.pool.capacity().saturating_sub(LB_ADDRS).saturating_sub(others);
        Capacity { services, room: max.saturating_sub(services).min(free), max }
    }

    /// Sets the number of service VMs to `services`, given that it is `expect` now. Takes effect as a whole once one
    /// revision of the desired state is on disk, or not at all. What is not up is removed first, then what has the highest
    /// addresses.
    ///
    /// # Errors
    /// If the number is not `expect`, or more would be created than there is room for. Nothing is changed then.
    pub fn set_services(&mut self, services: u32, expect: u32) -> Result<Resized, ServicesError> {
        if !self.ready {
            return Err(ServicesError::NotReady);
        }
        let Capacity { services: from, room, max } = self.capacity();
        if from != expect {
            return Err(ServicesError::Changed { expected: expect, services: from });
        }
        if services.saturating_sub(from) > room {
            return Err(ServicesError::NoRoom { asked: services, services: from, room, max });
        }
        if services == from {
            return Ok(Resized { revision: self.unwritten(), from, to: services });
        }
        self.desired_revision += 1;
        let revision = self.desired_revision;
        for _ in from..services {
            // There is one, or there would be no room.
            let Some(addr) = self.config.pool.lowest_free(|addr| self.slots.contains_key(&addr)) else {
                break;
            };
            self.reserve(addr, revision);
        }
        for addr in
            self.least_missed().into_iter().take(usize::try_from(from.saturating_sub(services)).unwrap_or(0))
        {
            if let Some(slot) = self.slots.get_mut(&addr) {
                slot.removal = Some(Removal::Requested { revision });
            }
        }
        Ok(Resized { revision: Some(revision), from, to: services })
    }

    /// The service VMs that stay, in the order in which they can be done without.
    fn least_missed(&self) -> Vec<Ipv4Addr> {
        let mut slots: Vec<_> = self.slots.values().filter(|slot| stays(slot)).collect();
        slots.sort_by_key(|slot| (use_of(slot), Reverse(slot.addr)));
        slots.into_iter().map(|slot| slot.addr).collect()
    }

    /// The last revision that a request waits for.
    fn unwritten(&self) -> Option<u64> {
        let of = |slot: &Slot| {
            let reserved = match slot.phase {
                Phase::Reserved { revision } => Some(revision),
                Phase::Creating | Phase::Running { .. } | Phase::Waiting { .. } => None,
            };
            let removed = match slot.removal {
                Some(Removal::Requested { revision }) => Some(revision),
                Some(Removal::Draining { .. } | Removal::Stopping { .. }) | None => None,
            };
            reserved.max(removed)
        };
        self.slots.values().filter_map(of).max()
    }
}

/// A service VM whose removal nobody has asked for.
fn stays(slot: &Slot) -> bool {
    slot.role == Role::Service && slot.removal.is_none()
}

/// Of how much use a VM is: one that takes requests is of more than one that may take some soon.
fn use_of(slot: &Slot) -> u8 {
    match &slot.phase {
        Phase::Reserved { .. } => 0,
        Phase::Waiting { .. } => 1,
        Phase::Creating => 2,
        Phase::Running { .. } => match slot.state() {
            wire::VmState::Starting | wire::VmState::Down => 3,
            wire::VmState::Suspect | wire::VmState::Draining => 4,
            wire::VmState::Up => 5,
        },
    }
}

fn count<'a>(slots: impl Iterator<Item = &'a Slot>) -> u32 {
    u32::try_from(slots.count()).unwrap_or(u32::MAX)
}
