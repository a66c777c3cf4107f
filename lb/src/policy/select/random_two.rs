//! Two random choices: of two members, drawn at random by weight, the one with less requests in flight by
//! weight (nginx's `random two least_conn`; Mitzenmacher 2001, "The power of two choices").
//!
//! It keeps no state of its own, so load balancers that know nothing of each other do not all run to the same
//! least loaded member.

use super::{Member, below, below_len, mix};

/// Further members drawn by weight when both refuse, before all are offered.
const FURTHER_DRAWS: u64 = 6;

#[derive(Debug)]
pub(super) struct RandomTwo {
    members: Box<[Weighed]>,
    /// The sum of all weights up to this member's, its own included.
    sums: Box<[u64]>,
}

#[derive(Debug, Clone, Copy)]
struct Weighed {
    index: u16,
    weight: u64,
}

impl RandomTwo {
    pub(super) fn new(members: &[Member]) -> Self {
        let members: Box<[Weighed]> = members
            .iter()
            .map(|member| Weighed { index: member.index, weight: member.weight.max(1).into() })
            .collect();
        let mut sum = 0;
        let sums = members.iter().map(|member| {
            sum += member.weight;
            sum
        });
        Self { sums: sums.collect(), members }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn pick(
        &self,
        random: u64,
        in_flight: impl Fn(u16) -> u32,
        mut accept: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let total = *self.sums.last()?;
        let random = mix(random);
        let mut offer = |place: usize| {
            let index = self.members[place].index;
            accept(index).then_some(index)
        };
        let first = self.place_of(below(total, random));
        if self.members.len() == 1 {
            return offer(first);
        }
        let second = self.another(first, total, mix(random));
        let load =
            |one: usize, by: usize| u64::from(in_flight(self.members[one].index)) * self.members[by].weight;
        let (best, other) =
            if load(second, first) < load(first, second) { (second, first) } else { (first, second) };
        offer(best)
            .or_else(|| offer(other))
            .or_else(|| (1..=FURTHER_DRAWS).find_map(|n| offer(self.place_of(below(total, mix(random ^ n))))))
            .or_else(|| {
                // A random start and step, so that nobody inherits all that its neighbour refused.
                let n = self.members.len();
                let start = below_len(n, mix(random ^ (FURTHER_DRAWS + 1)));
                let step = coprime(n, below_len(n, mix(random ^ (FURTHER_DRAWS + 2))));
                (0..n).find_map(|i| offer((start + i * step) % n))
            })
    }

    /// The member that a number below the sum of all weights falls to.
    fn place_of(&self, ticket: u64) -> usize {
        self.sums.partition_point(|&sum| sum <= ticket)
    }

    /// A member other than this one, by weight. There are at least two.
    fn another(&self, first: usize, total: u64, random: u64) -> usize {
        let Weighed { weight, .. } = self.members[first];
        let ticket = below(total - weight, random);
        let begin = self.sums[first] - weight;
        self.place_of(if ticket < begin { ticket } else { ticket + weight })
    }
}

/// The first number from this one on, and at least 1, that has no divisor in common with `n`.
fn coprime(n: usize, from: usize) -> usize {
    (from.max(1)..).find(|&step| gcd(step, n) == 1).unwrap_or(1)
}

const fn gcd(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
#[path = "random_two_tests.rs"]
mod tests;
