//! The owner is gone, or there never was one: proof first, then a claim in rank order.

use super::claim::Cause;
use super::types::{Action, Station};
use super::{Lb, Phase, Vip, holds};
use crate::time::Time;
use wire::{VipReport, VipState};

/// How far the proof is.
#[derive(Debug, Clone)]
pub(super) struct Takeover {
    round: u64,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    /// Nothing is proven; the next round of probes may begin then.
    Resting { until: Time },
    /// Probes are out. `peer`: none needed, or its answer.
    Probing { since: Time, peer: Answer<bool>, address: Answer<Option<Station>> },
    /// Nobody answered.
    Proven { at: Time },
}

#[derive(Debug, Clone)]
enum Answer<T> {
    NotAsked,
    Awaited,
    Is(T),
}

impl Takeover {
    pub(super) const fn at(until: Time) -> Self {
        Self { round: 0, stage: Stage::Resting { until } }
    }

    fn rest(&mut self, until: Time) {
        self.stage = Stage::Resting { until };
    }
}

impl Vip {
    /// Why this node need not think of a claim; none if nobody is known to hold the address.
    fn held_by(&self, now: Time) -> Option<String> {
        let holder = self.live(now).find(|(_, report)| holds(report.state));
        if let Some((node, _)) = holder {
            return Some(node.to_owned());
        }
        let other = |report: &VipReport| report.ballot.as_ref().is_some_and(|it| it.node != self.config.node);
        let witness = self.live(now).find(|(_, report)| report.hears_owner && other(report));
        witness.and_then(|(_, report)| report.ballot.as_ref().map(|ballot| ballot.node.clone()))
    }

    /// How many nodes go first.
    pub(super) fn rank(&self, now: Time) -> u32 {
        let own = (u8::from(self.hold.is_some()), self.config.node.as_str());
        let before = self
            .live(now)
            .filter_map(|(node, report)| class(report).map(|class| (class, node)))
            .filter(|other| *other < own)
            .count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    pub(super) fn drive_takeover(&mut self, now: Time, out: &mut Vec<Action>) {
        let fit = self.started && !self.leaving && self.lb == Lb::Healthy;
        let held = self.held_by(now);
        let owner =
            self.highest.as_ref().map(|ballot| ballot.node.clone()).filter(|it| *it != self.config.node);
        let rank = self.rank(now);
        let timing = &self.config.timing;
        let (reprobe, probe, stagger) = (timing.reprobe, timing.probe, timing.stagger);
        let owner_speaks = owner.as_ref().is_some_and(|owner| self.live_report(now, owner).is_some());
        let askable = owner.as_ref().is_some_and(|owner| self.is_peer(owner));
        let Phase::Idle(takeover) = &mut self.phase else { return };
        if !fit || held.is_some() {
            if !matches!(takeover.stage, Stage::Resting { .. }) {
                takeover.rest(now);
            }
            return;
        }
        match &takeover.stage {
            Stage::Resting { until } if now < *until => {}
            Stage::Resting { .. } => {
                self.rounds += 1;
                let round = self.rounds;
                takeover.round = round;
                // Of one that is no peer any more, only ARP can tell.
                let ask = owner.filter(|_| askable && !owner_speaks);
                let peer = if ask.is_some() { Answer::Awaited } else { Answer::NotAsked };
                takeover.stage = Stage::Probing { since: now, peer, address: Answer::Awaited };
                if let Some(node) = ask {
                    out.push(Action::ProbePeer { round, node });
                }
                out.push(Action::ProbeAddress { round });
            }
            Stage::Probing { since, peer, address } => {
                let since = *since;
                let owner = owner.unwrap_or_else(|| "a peer".to_owned());
                let obstacle = match (peer, address) {
                    (Answer::Awaited, _) | (_, Answer::Awaited | Answer::NotAsked) => {
                        if now.since(since) >= probe {
                            takeover.rest(now);
                        }
                        return;
                    }
                    (_, Answer::Is(Some(station))) => {
                        Some(format!("{} answers ARP from {station}", self.config.addr))
                    }
                    (Answer::Is(true), Answer::Is(None)) if !owner_speaks => {
                        Some(format!("{owner} sends no beats, but its manager answers"))
                    }
                    (Answer::NotAsked | Answer::Is(_), Answer::Is(None)) => None,
                };
                if let Some(obstacle) = obstacle {
                    takeover.rest((since + reprobe).max(now));
                    let node = self.config.node.clone();
                    self.note(format!("{node} did not claim: {obstacle}"), out);
                    return;
                }
                takeover.stage = Stage::Proven { at: now };
                if rank == 0 {
                    self.take_over(now, out);
                }
            }
            Stage::Proven { at } => {
                let due = *at + stagger.saturating_mul(rank);
                if now > due + stagger {
                    takeover.rest(now);
                } else if now >= due {
                    self.take_over(now, out);
                }
            }
        }
    }

    fn take_over(&mut self, now: Time, out: &mut Vec<Action>) {
        let who = self.highest.as_ref().map_or("nobody", |ballot| &ballot.node);
        let reason = format!(
            "no owner is heard (last: {who}), and nobody answers ARP for {}: claims as rank {}",
            self.config.addr,
            self.rank(now)
        );
        let ballot = self.next_ballot();
        self.begin_claim(now, ballot, Cause::Takeover, reason, out);
    }

    /// The answer to a probe of the peer.
    pub(super) fn peer_probed(&mut self, round: u64, reachable: bool) {
        if let Phase::Idle(Takeover { round: now, stage: Stage::Probing { peer, .. } }) = &mut self.phase
            && *now == round
            && matches!(peer, Answer::Awaited)
        {
            *peer = Answer::Is(reachable);
        }
    }

    /// The answer to an ARP probe.
    pub(super) fn address_probed(&mut self, round: u64, answer: Option<Station>) {
        if let Phase::Idle(Takeover { round: now, stage: Stage::Probing { address, .. } }) = &mut self.phase
            && *now == round
            && matches!(address, Answer::Awaited)
        {
            *address = Answer::Is(answer);
        }
    }

    /// Somebody answers after all: what was proven is void.
    pub(super) fn disprove(&mut self, now: Time) {
        let until = now + self.config.timing.reprobe;
        if let Phase::Idle(takeover) = &mut self.phase
            && matches!(takeover.stage, Stage::Proven { .. })
        {
            takeover.rest(until);
        }
    }

    /// When there is something to do for a takeover, at times that are not in any report.
    pub(super) fn takeover_deadline(&self, now: Time) -> Option<Time> {
        let Phase::Idle(takeover) = &self.phase else { return None };
        let timing = &self.config.timing;
        match &takeover.stage {
            Stage::Resting { until } => Some(*until),
            Stage::Probing { since, .. } => Some(*since + timing.probe),
            Stage::Proven { at } => Some(*at + timing.stagger.saturating_mul(self.rank(now))),
        }
    }
}

/// Who may take the address: first the eligible, then those held down, never the others.
pub(super) const fn class(report: &VipReport) -> Option<u8> {
    match (report.eligible, report.lb_healthy, report.state) {
        (true, _, _) => Some(0),
        (false, true, VipState::HoldDown) => Some(1),
        (
            false,
            _,
            VipState::Standby
            | VipState::Claiming
            | VipState::Active
            | VipState::Releasing
            | VipState::HoldDown,
        ) => None,
    }
}
