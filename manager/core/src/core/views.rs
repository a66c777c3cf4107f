//! What others are told, as functions of the state.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use wire::{PeerService, PeerServices, Role, Upstream, Vm, VmState};

use super::Core;
use crate::desired::{Desired, DesiredVm};
use crate::slot::Slot;
use crate::time::Time;

/// The own load balancer, as the target of pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LbTarget {
    /// Its slot.
    pub id: String,
    /// Which life: a new one has an empty upstream set.
    pub incarnation: u64,
    /// Its address.
    pub addr: Ipv4Addr,
}

impl Core {
    /// Whether the inventory has been taken.
    pub const fn ready(&self) -> bool {
        self.ready
    }

    /// All VMs of this node, ordered by address.
    pub fn vms(&self) -> Vec<Vm> {
        self.slots.values().map(Slot::view).collect()
    }

    /// Everything the own load balancer should route to: the own services and the peers', ordered by id.
    pub fn upstreams(&self) -> Vec<Upstream> {
        let own = self.own_services();
        let mut all: Vec<_> = own.iter().chain(self.peers.services()).map(upstream).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// What the peers should know of this node; `boot` and `revision` are the driver's to fill in.
    pub fn account(&self) -> PeerServices {
        let lb = self
            .slots
            .values()
            .find(|slot| slot.role == Role::Lb && slot.state() == VmState::Up)
            .map(|slot| slot.socket(self.config.lb_port));
        PeerServices { boot: 0, revision: 0, lb, services: self.own_services() }
    }

    /// What must be on disk, and its revision.
    pub fn desired(&self) -> (u64, Desired) {
        let vms = self.slots.values().map(|slot| DesiredVm {
            id: slot.id.clone(),
            role: slot.role,
            addr: slot.addr,
            incarnation: slot.incarnation,
            removing: slot.removal.is_some(),
        });
        (self.desired_revision, Desired { vms: vms.collect(), retired: self.retired.clone() })
    }

    /// The revision alone.
    pub const fn desired_revision(&self) -> u64 {
        self.desired_revision
    }

    /// Which life each address belongs to now.
    pub fn lives(&self) -> BTreeMap<Ipv4Addr, u64> {
        self.slots.values().map(|slot| (slot.addr, slot.incarnation)).collect()
    }

    /// The own load balancer, once it may be spoken to.
    pub fn lb_target(&self) -> Option<LbTarget> {
        self.slots
            .values()
            .find(|slot| slot.role == Role::Lb && slot.serving().is_some())
            .map(|slot| LbTarget { id: slot.id.clone(), incarnation: slot.incarnation, addr: slot.addr })
    }

    /// Each peer's account and how long ago it was heard.
    pub fn peers(&self, now: Time) -> impl Iterator<Item = (&str, &PeerServices, Option<Duration>)> {
        self.peers.accounts(now)
    }

    fn own_services(&self) -> Vec<PeerService> {
        let services = self.slots.values().filter(|slot| slot.role == Role::Service);
        services
            .filter_map(|slot| {
                let state = slot.serving()?;
                let addr = slot.socket(self.config.service_port);
                Some(PeerService { id: slot.id.clone(), incarnation: slot.incarnation, addr, state })
            })
            .collect()
    }
}

fn upstream(service: &PeerService) -> Upstream {
    Upstream {
        id: service.id.clone(),
        incarnation: service.incarnation,
        addr: service.addr,
        weight: 1,
        state: service.state,
        backup: false,
        max_conns: 0,
    }
}
