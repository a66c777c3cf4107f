//! Consistent hashing with ketama's ring, with the very points of nginx's `hash … consistent`: the same keys
//! go to the same upstreams behind either.
//!
//! Each member owns 160 points per unit of weight on a ring of 2^32; a key goes to the member that owns the
//! next point. So when a member leaves, its keys alone move, each to the owner of the point after.
//!
//! A ring is dear to build and cheap to keep. Points belong to slots, and a table says which member has which
//! slot, so the ring itself is shared by all sets that differ only in who left, and in who came back. The
//! points of new members are put between the others; when more than half of the slots stand empty, their
//! points are taken out.
//!
//! It differs from nginx in three things. Weights that add up to more points than [`MAX_POINTS`] get a half,
//! a quarter, … of their points. Where two members own the same point, the one with the lower address has it,
//! in whatever order they were listed. And each member is offered once, however many points it owns.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Member;

const POINTS_PER_WEIGHT: u64 = 160;

/// The most points on a ring, but for one of each member.
pub(super) const MAX_POINTS: u64 = 1 << 18;

/// The slot's member is not in the set.
const NOBODY: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Ring {
    points: Arc<Points>,
    /// The members' indices by slot, or [`NOBODY`].
    owners: Box<[u32]>,
    len: usize,
}

/// The points on the ring in order, and for each the slot that owns it.
#[derive(Debug, Default)]
struct Points {
    slots: HashMap<Owner, u16>,
    /// The owners by slot.
    by_slot: Box<[Owner]>,
    hashes: Box<[u32]>,
    owners: Box<[u16]>,
}

/// What decides about a member's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Owner {
    addr: SocketAddr,
    points: u64,
}

impl Ring {
    pub(super) fn new(members: &[Member], previous: Option<&Self>) -> Self {
        let owners = owners(members);
        let before = previous.map(|previous| Arc::clone(&previous.points)).unwrap_or_default();
        let points = before.with(&owners);
        let mut by_slot = vec![NOBODY; points.slots.len()];
        for (owner, member) in owners.iter().zip(members) {
            if let Some(&slot) = points.slots.get(owner) {
                by_slot[usize::from(slot)] = member.index.into();
            }
        }
        Self { points, owners: by_slot.into(), len: members.len() }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn pick(&self, key: &[u8], mut accept: impl FnMut(u16) -> bool) -> Option<u16> {
        if self.len == 0 {
            return None;
        }
        let start = self.points.first_from(crc32fast::hash(key));
        let walk = || self.points.owners[start..].iter().chain(&self.points.owners[..start]);
        let member_of = |slot: u16| u16::try_from(self.owners[usize::from(slot)]).ok();
        let first = walk().find_map(|&slot| member_of(slot))?;
        if accept(first) {
            return Some(first);
        }
        // Bits by slot, only on this way: most keys stay where they belong.
        let mut offered = vec![0u64; self.owners.len().div_ceil(64)];
        let mut left = self.len;
        for &slot in walk() {
            let Some(member) = member_of(slot) else { continue };
            let (word, bit) = (usize::from(slot) / 64, 1 << (slot % 64));
            if offered[word] & bit != 0 {
                continue;
            }
            offered[word] |= bit;
            if member != first && accept(member) {
                return Some(member);
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
        None
    }
}

impl Points {
    /// These points, and those of all owners.
    fn with(self: Arc<Self>, owners: &[Owner]) -> Arc<Self> {
        let mut fresh: Vec<Owner> =
            owners.iter().filter(|owner| !self.slots.contains_key(owner)).copied().collect();
        let slots = self.slots.len() + fresh.len();
        if slots > 2 * owners.len() || slots > usize::from(u16::MAX) {
            let kept = self.only(owners);
            return Arc::new(kept.and(&mut fresh));
        }
        if fresh.is_empty() { self } else { Arc::new(self.and(&mut fresh)) }
    }

    /// Without the points of all others.
    fn only(&self, owners: &[Owner]) -> Self {
        let by_slot: Box<[Owner]> =
            owners.iter().filter(|owner| self.slots.contains_key(owner)).copied().collect();
        let slots: HashMap<Owner, u16> = by_slot.iter().copied().zip(0..=u16::MAX).collect();
        let moved: Vec<Option<u16>> = self.by_slot.iter().map(|owner| slots.get(owner).copied()).collect();
        let points = self.hashes.iter().zip(&self.owners);
        let kept = points.filter_map(|(&hash, &slot)| Some((hash, moved[usize::from(slot)]?)));
        let (hashes, owners): (Vec<u32>, Vec<u16>) = kept.unzip();
        Self { slots, by_slot, hashes: hashes.into(), owners: owners.into() }
    }

    /// With the points of these owners, that have none yet.
    fn and(&self, fresh: &mut [Owner]) -> Self {
        fresh.sort_unstable();
        let mut slots = self.slots.clone();
        let first = slots.len();
        let by_slot = self.by_slot.iter().chain(&*fresh).copied().collect();
        slots.extend(fresh.iter().copied().zip((0..=u16::MAX).skip(first)));
        let mut points: Vec<(u32, u16)> = Vec::new();
        for (slot, owner) in (0..=u16::MAX).skip(first).zip(fresh.iter()) {
            points.extend(owner.points().map(|hash| (hash, slot)));
        }
        // The new slots are in the order of their owners.
        points.sort_unstable();
        let total = self.hashes.len() + points.len();
        let (mut hashes, mut by_point) = (Vec::with_capacity(total), Vec::with_capacity(total));
        let mut from = 0;
        let owner_of = |slot: u16| &fresh[usize::from(slot) - first];
        for (hash, slot) in points {
            let mut until = from + self.hashes[from..].partition_point(|&old| old < hash);
            while self.hashes.get(until) == Some(&hash) && self.owner_at(until) < owner_of(slot) {
                until += 1;
            }
            hashes.extend_from_slice(&self.hashes[from..until]);
            by_point.extend_from_slice(&self.owners[from..until]);
            hashes.push(hash);
            by_point.push(slot);
            from = until;
        }
        hashes.extend_from_slice(&self.hashes[from..]);
        by_point.extend_from_slice(&self.owners[from..]);
        Self { slots, by_slot, hashes: hashes.into(), owners: by_point.into() }
    }

    fn owner_at(&self, point: usize) -> &Owner {
        &self.by_slot[usize::from(self.owners[point])]
    }

    /// The first point at or after this one; past the last one, the first of all.
    fn first_from(&self, hash: u32) -> usize {
        let n = self.hashes.len();
        // Points are spread evenly, so it is close to where it would be on an exact ruler: within 2 sqrt(n) is
        // four times the standard deviation.
        let guess = usize::try_from((u64::from(hash) * n as u64) >> 32).unwrap_or(0);
        let reach = 2 * n.isqrt() + 8;
        let (begin, end) = (guess.saturating_sub(reach), (guess + reach).min(n));
        let is_below = |at: usize| self.hashes[at] < hash;
        let near = (begin == 0 || is_below(begin - 1)) && (end == n || !is_below(end));
        let (begin, end) = if near { (begin, end) } else { (0, n) };
        let first = begin + self.hashes[begin..end].partition_point(|&point| point < hash);
        if first == n { 0 } else { first }
    }
}

fn owners(members: &[Member]) -> Vec<Owner> {
    let wanted = |member: &Member| u64::from(member.weight.max(1)) * POINTS_PER_WEIGHT;
    let total: u64 = members.iter().map(wanted).sum();
    let halvings = (0..).find(|&halvings| total >> halvings <= MAX_POINTS).unwrap_or(u64::BITS - 1);
    members
        .iter()
        .map(|member| Owner { addr: member.addr, points: (wanted(member) >> halvings).max(1) })
        .collect()
}

impl Owner {
    /// Each point is the CRC-32 of the host, a zero byte, the port and the point before.
    fn points(self) -> impl Iterator<Item = u32> {
        // An IPv6 address stands in brackets, as it does in nginx's configuration.
        let addr = self.addr.to_string();
        let (host, port) = addr.rsplit_once(':').unwrap_or((&addr, ""));
        let mut base = crc32fast::Hasher::new();
        base.update(host.as_bytes());
        base.update(&[0]);
        base.update(port.as_bytes());
        let mut point = 0u32;
        (0..self.points).map(move |_| {
            let mut hasher = base.clone();
            hasher.update(&point.to_le_bytes());
            point = hasher.finalize();
            point
        })
    }
}

#[cfg(test)]
#[path = "hash_tests.rs"]
mod tests;
