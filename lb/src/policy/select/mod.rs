//! Which member of a set gets a request: nginx's `round_robin`, `least_conn`, `random two` and
//! `hash … consistent`.
//!
//! A [`Selector`] is made once per upstream set and offers members in the order of its policy until one is
//! accepted. It refuses to know why a member cannot take a request: the caller says so for each one it is
//! offered. Chance and time come in as a [`Hint`].

mod hash;
mod least_conn;
mod random_two;
mod round_robin;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use self::hash::Ring;
use self::least_conn::LeastConn;
use self::random_two::RandomTwo;
use self::round_robin::Schedule;

/// A policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, as often as the weights say, evenly spread.
    #[default]
    RoundRobin,
    /// The least requests in flight by weight; in turn among equals.
    LeastConn,
    /// Of two at random, the one with less requests in flight by weight.
    RandomTwo,
    /// By a key of the request, such that a change of the set moves few keys.
    Hash,
}

impl Balance {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RoundRobin, Self::LeastConn, Self::RandomTwo, Self::Hash];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConn => "least_conn",
            Self::RandomTwo => "random_two",
            Self::Hash => "hash",
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not the word for a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not one of {}", Balance::ALL.map(Balance::as_str).join(", "))]
pub struct UnknownBalance {
    /// As it was written.
    pub word: String,
}

impl FromStr for Balance {
    type Err = UnknownBalance;

    fn from_str(word: &str) -> Result<Self, UnknownBalance> {
        Self::ALL
            .into_iter()
            .find(|balance| balance.as_str() == word)
            .ok_or_else(|| UnknownBalance { word: word.to_owned() })
    }
}

/// One that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// What the selector calls it; distinct.
    pub index: u16,
    /// Its share relative to others; 0 counts as 1.
    pub weight: u32,
    /// Requests in flight to it now.
    pub in_flight: u32,
    /// Where it listens; distinct. The same member of the next set is known by it.
    pub addr: SocketAddr,
}

/// What a choice may depend on, besides the members.
#[derive(Debug, Clone, Copy)]
pub struct Hint<'a> {
    /// Grows by one with each choice.
    pub turn: usize,
    /// Evenly distributed over all of `u64`.
    pub random: u64,
    /// What [`Balance::Hash`] chooses by; the other policies do not look at it.
    pub key: &'a [u8],
}

/// Members and how to choose among them.
#[derive(Debug)]
pub struct Selector {
    policy: Policy,
}

#[derive(Debug)]
enum Policy {
    RoundRobin(Schedule),
    LeastConn(LeastConn),
    RandomTwo(RandomTwo),
    Hash(Ring),
}

impl Selector {
    /// A selector of these members. With the selector of the set before it is made faster, and goes on where
    /// that one was.
    #[expect(clippy::needless_pass_by_value, reason = "a policy may keep the members")]
    pub fn new(balance: Balance, members: Vec<Member>, previous: Option<&Self>) -> Self {
        let previous = previous.map(|previous| &previous.policy);
        let policy = match (balance, previous) {
            (Balance::RoundRobin, Some(Policy::RoundRobin(previous))) => {
                Policy::RoundRobin(Schedule::new(&members, Some(previous)))
            }
            (Balance::RoundRobin, _) => Policy::RoundRobin(Schedule::new(&members, None)),
            (Balance::LeastConn, Some(Policy::LeastConn(previous))) => {
                Policy::LeastConn(LeastConn::new(&members, Some(previous)))
            }
            (Balance::LeastConn, _) => Policy::LeastConn(LeastConn::new(&members, None)),
            (Balance::RandomTwo, _) => Policy::RandomTwo(RandomTwo::new(&members)),
            (Balance::Hash, Some(Policy::Hash(previous))) => {
                Policy::Hash(Ring::new(&members, Some(previous)))
            }
            (Balance::Hash, _) => Policy::Hash(Ring::new(&members, None)),
        };
        Self { policy }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        match &self.policy {
            Policy::RoundRobin(schedule) => schedule.len(),
            Policy::LeastConn(tree) => tree.len(),
            Policy::RandomTwo(members) => members.len(),
            Policy::Hash(ring) => ring.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first member that `accept` takes, in the order of the policy. Each is offered at least once before
    /// it gives up; some may be offered more often. `in_flight` tells how many requests a member has now, the
    /// one just accepted included; it must not call the selector, while `accept` may.
    pub fn pick(
        &self,
        hint: &Hint<'_>,
        in_flight: impl Fn(u16) -> u32,
        accept: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        match &self.policy {
            Policy::RoundRobin(schedule) => schedule.pick(hint.turn, accept),
            Policy::LeastConn(tree) => tree.pick(hint.turn, in_flight, accept),
            Policy::RandomTwo(members) => members.pick(hint.random, in_flight, accept),
            Policy::Hash(ring) => ring.pick(hint.key, accept),
        }
    }

    /// A member has so many requests in flight now. Only [`Balance::LeastConn`] wants to know. Calls may cross
    /// or get lost: what is chosen is looked at once more, and so is one other member at each choice.
    pub fn changed(&self, index: u16, in_flight: u32) {
        if let Policy::LeastConn(tree) = &self.policy {
            tree.changed(index, in_flight);
        }
    }
}

/// Spreads a number evenly over all of `u64` (the finalizer of `SplitMix64`).
const fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `n` from one that is evenly distributed over all of `u64` (Lemire 2019, without rejection).
fn below(n: u64, random: u64) -> u64 {
    // The product's upper half is less than `n`.
    u64::try_from((u128::from(n) * u128::from(random)) >> 64).unwrap_or(0)
}

fn below_len(n: usize, random: u64) -> usize {
    usize::try_from(below(n as u64, random)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod timing;
