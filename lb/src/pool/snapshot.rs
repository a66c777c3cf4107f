//! The upstream set at one moment, never changed once made: a request never sees half an update.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::{PutUpstreams, Upstream, UpstreamState};

use super::Incarnation;
use crate::patience;
use crate::policy::select::{Balance, Member, Selector};

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) spec: Upstream,
    pub(super) incarnation: Arc<Incarnation>,
}

#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) generation: u64,
    pub(super) entries: Box<[Entry]>,
    /// Places in `entries` by the incarnations' keys; only filled for a selector that wants to know of loads.
    places: HashMap<u64, u16>,
    pub(super) regular: Selector,
    pub(super) backup: Selector,
}

impl Snapshot {
    pub(super) fn new(
        set: PutUpstreams,
        balance: Balance,
        previous: Option<&Self>,
        mut incarnation_of: impl FnMut(&Upstream) -> Arc<Incarnation>,
    ) -> Self {
        let entries: Box<[Entry]> = set
            .upstreams
            .into_iter()
            .enumerate()
            .map(|(done, spec)| {
                patience::after(done);
                Entry { incarnation: incarnation_of(&spec), spec }
            })
            .collect();
        let selector = |backup: bool, previous: Option<&Selector>| {
            let members = (0u16..)
                .zip(entries.iter())
                .filter(|(_, entry)| entry.spec.state == UpstreamState::Up && entry.spec.backup == backup)
                .map(|(index, entry)| Member {
                    index,
                    weight: entry.spec.weight,
                    in_flight: entry.incarnation.in_flight.load(Ordering::Relaxed),
                    addr: entry.spec.addr,
                })
                .collect();
            Selector::new(balance, members, previous)
        };
        let wants_loads = balance == Balance::LeastConn;
        let counted = if wants_loads { entries.len() } else { 0 };
        let places = (0u16..).zip(entries.iter().take(counted));
        Self {
            generation: set.generation,
            places: places.map(|(index, entry)| (entry.incarnation.key, index)).collect(),
            regular: selector(false, previous.map(|previous| &previous.regular)),
            backup: selector(true, previous.map(|previous| &previous.backup)),
            entries,
        }
    }

    /// The number of attempts in flight to an incarnation changed.
    pub(super) fn changed(&self, incarnation: &Incarnation, in_flight: u32) {
        if let Some(&place) = self.places.get(&incarnation.key) {
            self.changed_at(place, in_flight);
        }
    }

    /// The same, by its place.
    pub(super) fn changed_at(&self, place: u16, in_flight: u32) {
        let entry = &self.entries[usize::from(place)];
        if entry.spec.state == UpstreamState::Up {
            let selector = if entry.spec.backup { &self.backup } else { &self.regular };
            selector.changed(place, in_flight);
        }
    }

    /// Loads may have changed while this was made. Call it once after it is in force.
    pub(super) fn refresh(&self) {
        if !self.places.is_empty() {
            for (place, entry) in (0u16..).zip(self.entries.iter()) {
                self.changed_at(place, entry.incarnation.in_flight.load(Ordering::Relaxed));
            }
        }
    }

    pub(super) fn is_usable(&self) -> bool {
        !(self.regular.is_empty() && self.backup.is_empty())
    }
}
