//! Who said that the address is his, and when; and whether two said so at once. Pure.
//!
//! The segment is asked all the time, so whoever would answer a client is heard within one pause between questions. A
//! station *holds* the address from one of its claims to the next while these are at most [`HOLD`] apart; two that
//! hold it at the same time are a *double*.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::arp::{Arp, Mac, Operation};
use crate::samples::ms;

#[cfg(test)]
mod tests;

/// How far apart two claims of one station may be and still be one stretch: several questions, some of which a busy
/// machine may delay.
pub(super) const HOLD: Duration = Duration::from_millis(150);

/// How a station said that the address is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// It answered a question.
    Answer,
    /// Unasked, as a request or as a reply (RFC 5227 section 3).
    Announcement,
    /// It asked for another address in the name of this one.
    Mention,
}

/// One packet that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// When, from the start.
    pub(super) at: Duration,
    pub(super) mac: Mac,
    pub(super) manner: Manner,
}

/// The claim to `vip` that a packet makes; none if it makes none.
pub(super) fn claim(arp: &Arp, vip: Ipv4Addr, at: Duration) -> Option<Claim> {
    if arp.sender != vip {
        return None;
    }
    let manner = match arp.operation {
        _ if arp.target == vip => Manner::Announcement,
        Operation::Reply => Manner::Answer,
        Operation::Request => Manner::Mention,
    };
    Some(Claim { at, mac: arp.sender_mac, manner })
}

/// What a run's ARP packets show. Times are milliseconds from the fault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// How often the segment was asked for the address.
    pub asked: u64,
    /// Who held it, in the order of the beginnings.
    pub held: Vec<Held>,
    /// Every announcement.
    pub announcements: Vec<Announcement>,
    /// Every stretch in which two held it.
    pub doubles: Vec<Double>,
}

/// A station held the address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The host's name, or the hardware address of a stranger.
    pub who: String,
    /// Its first claim.
    pub from_ms: f64,
    /// Its last claim.
    pub to_ms: f64,
    /// How many claims these were.
    pub claims: u64,
}

/// A station announced the address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// The host's name, or the hardware address of a stranger.
    pub who: String,
    /// When.
    pub at_ms: f64,
}

/// Two stations held the address at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Double {
    /// Which.
    pub who: [String; 2],
    /// From when on.
    pub from_ms: f64,
    /// For how long; 0 for a single claim of one amid those of the other.
    pub length_ms: f64,
}

impl Claims {
    /// The longest double; none without any.
    pub fn longest_double_ms(&self) -> Option<f64> {
        self.doubles.iter().map(|double| double.length_ms).max_by(f64::total_cmp)
    }

    /// The first announcement by `who` at or after `from_ms`.
    pub fn announced_ms(&self, who: &str, from_ms: f64) -> Option<f64> {
        let by = self.announcements.iter().filter(|said| said.who == who && said.at_ms >= from_ms);
        by.map(|said| said.at_ms).min_by(f64::total_cmp)
    }

    /// Of these claims, in any order, with times counted from `fault`. `names` are the stations that are known.
    pub(super) fn of(claims: &[Claim], asked: u64, fault: Duration, names: &BTreeMap<Mac, String>) -> Self {
        let who = |mac: Mac| names.get(&mac).cloned().unwrap_or_else(|| mac.to_string());
        let since = |at: Duration| if at >= fault { ms(at - fault) } else { -ms(fault - at) };
        let stretches = stretches(claims);
        let held = stretches.iter().map(|stretch| Held {
            who: who(stretch.mac),
            from_ms: since(stretch.from),
            to_ms: since(stretch.to),
            claims: stretch.claims,
        });
        let announced = claims.iter().filter(|claim| claim.manner == Manner::Announcement);
        let mut announced: Vec<&Claim> = announced.collect();
        announced.sort_by_key(|claim| claim.at);
        let announcements =
            announced.iter().map(|claim| Announcement { who: who(claim.mac), at_ms: since(claim.at) });
        let doubles = doubles(&stretches).into_iter().map(|(macs, from, to)| Double {
            who: macs.map(who),
            from_ms: since(from),
            length_ms: ms(to - from),
        });
        Self {
            asked,
            held: held.collect(),
            announcements: announcements.collect(),
            doubles: doubles.collect(),
        }
    }
}

/// Claims of one station, each at most [`HOLD`] after the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    mac: Mac,
    from: Duration,
    to: Duration,
    claims: u64,
}

/// The stretches of all stations, in the order of their beginnings.
fn stretches(claims: &[Claim]) -> Vec<Stretch> {
    let mut sorted = claims.to_vec();
    sorted.sort_by_key(|claim| claim.at);
    let mut open: BTreeMap<Mac, Stretch> = BTreeMap::new();
    let mut closed = Vec::new();
    for Claim { at, mac, .. } in sorted {
        let fresh = Stretch { mac, from: at, to: at, claims: 1 };
        match open.get_mut(&mac) {
            Some(stretch) if at - stretch.to <= HOLD => {
                stretch.to = at;
                stretch.claims += 1;
            }
            Some(stretch) => closed.push(std::mem::replace(stretch, fresh)),
            None => drop(open.insert(mac, fresh)),
        }
    }
    closed.extend(open.into_values());
    closed.sort_by_key(|stretch| (stretch.from, stretch.mac));
    closed
}

/// The stretches of time that two stations share, each with both.
fn doubles(stretches: &[Stretch]) -> BTreeSet<([Mac; 2], Duration, Duration)> {
    let mut found = BTreeSet::new();
    for (place, one) in stretches.iter().enumerate() {
        for other in stretches[place + 1..].iter().filter(|other| other.mac != one.mac) {
            let (from, to) = (one.from.max(other.from), one.to.min(other.to));
            if from <= to {
                let macs = if one.mac < other.mac { [one.mac, other.mac] } else { [other.mac, one.mac] };
                found.insert((macs, from, to));
            }
        }
    }
    found
}
