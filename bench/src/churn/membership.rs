//! Which upstreams are in the set after each update. Pure.
//!
//! Of `size + changes` upstreams, `changes` neighbours are missing, and with every update the next ones are: each
//! update removes some, and brings those that were missing back as new incarnations. The set's size never changes.

use std::net::{Ipv4Addr, SocketAddr};

use wire::Upstream;

use crate::balancer::lb;

/// Addresses in one of 127.0.0.0/8's blocks of 256 that are used: not the first and not the last.
const PER_BLOCK: usize = 250;

#[derive(Debug)]
pub(super) struct Membership {
    /// All there are, in and out.
    all: Vec<Upstream>,
    /// The same as JSON. Only what changes is encoded again: the sender must not compete with what is measured.
    encoded: Vec<String>,
    /// The first of those that are out.
    out: usize,
    changes: usize,
    generation: u64,
}

impl Membership {
    /// The first set: `size` upstreams (2 to 4096), of which each update changes `changes` (fewer than `size`).
    /// The upstream at each place is served at the ports in turn.
    pub(super) fn new(size: usize, changes: usize, ports: &[u16]) -> Self {
        let addr = |place: usize| SocketAddr::from((ip(place), ports[place % ports.len()]));
        let all = (0..size + changes).map(|place| lb::upstream(&format!("up-{place}"), 1, addr(place)));
        let all: Vec<Upstream> = all.collect();
        let encoded = all.iter().map(json).collect();
        Self { all, encoded, out: 0, changes, generation: 1 }
    }

    /// The generation in force.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The set in force, as the body of a `PUT`.
    pub(super) fn body(&self) -> String {
        let mut body = format!("{{\"generation\":{},\"upstreams\":[", self.generation);
        let present = self.encoded.iter().enumerate().filter(|(place, _)| !self.is_out(*place));
        for (number, (_, upstream)) in present.enumerate() {
            if number > 0 {
                body.push(',');
            }
            body.push_str(upstream);
        }
        body.push_str("]}");
        body
    }

    /// The next update comes into force.
    pub(super) fn advance(&mut self) {
        for back in 0..self.changes {
            let place = (self.out + back) % self.all.len();
            self.all[place].incarnation += 1;
            self.encoded[place] = json(&self.all[place]);
        }
        self.out = (self.out + self.changes) % self.all.len();
        self.generation += 1;
    }

    fn is_out(&self, place: usize) -> bool {
        let behind = (place + self.all.len() - self.out) % self.all.len();
        behind < self.changes
    }
}

fn json(upstream: &Upstream) -> String {
    serde_json::to_string(upstream).unwrap_or_else(|error| unreachable!("a struct of plain fields: {error}"))
}

#[allow(clippy::cast_possible_truncation)] // 4096 upstreams and as many changes are 33 blocks
fn ip(place: usize) -> Ipv4Addr {
    let (block, within) = (place / PER_BLOCK, place % PER_BLOCK);
    Ipv4Addr::new(127, 1, block as u8, 1 + within as u8)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use wire::PutUpstreams;

    use super::Membership;

    fn set(membership: &Membership) -> PutUpstreams {
        serde_json::from_str(&membership.body()).unwrap()
    }

    #[test]
    fn the_largest_set_has_an_address_for_everyone() {
        let largest = Membership::new(4_096, 4_095, &[1, 2, 3]);
        let addrs: BTreeSet<_> = largest.all.iter().map(|upstream| upstream.addr.ip()).collect();
        assert_eq!(addrs.len(), 8_191);
    }

    proptest! {
        #[test]
        fn each_update_removes_some_and_brings_others_back_anew(
            (size, changes) in (2_usize..60).prop_flat_map(|size| (Just(size), 1..size)),
            updates in 1_usize..200,
        ) {
            let mut membership = Membership::new(size, changes, &[7000, 7001]);
            let mut before = set(&membership);
            let mut last_seen: BTreeMap<String, u64> = BTreeMap::new();
            for _ in 0..updates {
                for upstream in &before.upstreams {
                    last_seen.insert(upstream.id.clone(), upstream.incarnation);
                }
                membership.advance();
                let after = set(&membership);
                prop_assert_eq!(after.generation, membership.generation());
                prop_assert_eq!(after.generation, before.generation + 1);
                prop_assert_eq!(after.upstreams.len(), size);
                let ids = |set: &PutUpstreams| {
                    set.upstreams.iter().map(|upstream| upstream.id.clone()).collect::<BTreeSet<_>>()
                };
                let (old, new) = (ids(&before), ids(&after));
                prop_assert_eq!(new.len(), size);
                prop_assert_eq!(old.difference(&new).count(), changes);
                for upstream in &after.upstreams {
                    let stayed = old.contains(&upstream.id);
                    match last_seen.get(&upstream.id) {
                        Some(seen) if stayed => prop_assert_eq!(upstream.incarnation, *seen),
                        Some(seen) => prop_assert_eq!(upstream.incarnation, seen + 1),
                        // It was out from the start.
                        None => prop_assert_eq!(upstream.incarnation, 2),
                    }
                }
                before = after;
            }
        }
    }
}
