//! What follows from the state: the kernel's part, the report, the record, the next deadline.

use std::time::Duration;

use super::handover::Parting;
use super::takeover::class;
use super::types::{Record, Route, VipNet};
use super::{Lb, Phase, Vip, holds};
use crate::time::Time;
use wire::{Ballot, VipPeer, VipReport, VipState, VipStatus};

/// The longest time the driver may leave the machine without a step; well below [`super::Timing::gap`].
const TICK: Duration = Duration::from_millis(100);

impl Vip {
    /// What the kernel shall do.
    pub const fn desired(&self) -> &VipNet {
        &self.net
    }

    /// The state's word.
    pub const fn state(&self) -> VipState {
        match self.phase {
            Phase::Idle(_) if self.hold.is_some() => VipState::HoldDown,
            Phase::Idle(_) => VipState::Standby,
            Phase::Claiming(_) => VipState::Claiming,
            Phase::Active(_) => VipState::Active,
            Phase::Releasing(_) => VipState::Releasing,
        }
    }

    /// Whether the address leaves this node when its load balancer breaks, or has left it because of that: then packets
    /// of the past may come for the load balancer's own address, and the next one had better have another.
    pub fn would_hand_over(&self) -> bool {
        match &self.phase {
            Phase::Releasing(_) => true,
            Phase::Active(_) => self.live(self.last_step).any(|(_, report)| class(report) == Some(0)),
            Phase::Idle(_) => self.hold.is_some() && matches!(self.lb, Lb::Broken { .. }),
            Phase::Claiming(_) => false,
        }
    }

    /// What this node says in its beats. It changes with time alone too, never between two deadlines.
    pub fn report(&self) -> VipReport {
        let now = self.last_step;
        let ballot = self.told_ballot().or(self.highest.as_ref()).cloned();
        let hears_owner = ballot.as_ref().is_some_and(|ballot| {
            let held = |report: &VipReport| holds(report.state) && report.ballot.as_ref() == Some(ballot);
            self.told_ballot() == Some(ballot) || self.live_report(now, &ballot.node).is_some_and(held)
        });
        let eligible = self.ineligible().is_none();
        VipReport { state: self.state(), ballot, hears_owner, eligible, lb_healthy: self.lb == Lb::Healthy }
    }

    /// For admins.
    pub fn status(&self) -> VipStatus {
        let now = self.last_step;
        let report = self.report();
        let peer = |(node, peer): (&String, &super::Peer)| VipPeer {
            node: node.clone(),
            heard_ms_ago: peer.heard.map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX)),
            report: peer.report.clone(),
        };
        VipStatus {
            addr: self.config.addr,
            node: self.config.node.clone(),
            state: report.state,
            owner: self.owner(now),
            confirmed: matches!(&self.phase, Phase::Active(tenure) if tenure.is_confirmed()),
            recorded: report.ballot == self.ledger.durable().ballot,
            ballot: report.ballot,
            ineligible: self.ineligible(),
            reason: self.reason.clone(),
            peers: self.peers.iter().map(peer).collect(),
        }
    }

    /// When [`super::Event::Tick`] is due. Never in the past of the last step, never far in the future.
    pub fn next_deadline(&self) -> Time {
        let (now, timing) = (self.last_step, &self.config.timing);
        let phase = match &self.phase {
            Phase::Idle(_) => [self.takeover_deadline(now), None],
            Phase::Claiming(claim) => [Some(claim.since() + timing.effect), None],
            Phase::Active(tenure) => [tenure.deadline(timing.effect), None],
            Phase::Releasing(release) => release.deadlines(timing.nominate, timing.effect).map(Some),
        };
        let own = [
            (!self.started).then_some(self.start_until),
            self.hold.as_ref().map(|hold| hold.until),
            self.stale_until,
            self.second_chance.as_ref().map(|(_, until)| *until),
            self.parting.as_ref().map(Parting::until),
            self.announced.filter(|_| self.announce_due).map(|last| last + timing.pace),
            self.ledger.again(),
            Some(self.hand_over_after),
        ];
        let peers = self.peers.values().flat_map(|peer| {
            [peer.heard.map(|at| at + timing.silence), peer.contradicts.map(|at| at + timing.give_way)]
        });
        let due = phase.into_iter().chain(own).chain(peers).flatten().filter(|at| *at > now).min();
        due.map_or(now + TICK, |due| due.min(now + TICK))
    }

    /// Who holds the address, as far as this node has heard.
    pub(super) fn owner(&self, now: Time) -> Option<String> {
        if matches!(self.phase, Phase::Active(_)) {
            return Some(self.config.node.clone());
        }
        self.rival(now, None).map(|(ballot, _)| ballot.node)
    }

    /// Why this node cannot serve at all; none if it can.
    pub(super) fn unfit(&self) -> Option<String> {
        match &self.lb {
            _ if self.leaving => Some("this manager is leaving".to_owned()),
            _ if !self.started => Some("this manager is starting".to_owned()),
            Lb::Unknown => Some("its load balancer has not been heard yet".to_owned()),
            Lb::Broken { why, .. } => Some(format!("its load balancer is broken: {why}")),
            Lb::Healthy => None,
        }
    }

    fn ineligible(&self) -> Option<String> {
        let held = self.hold.as_ref().map(|hold| format!("held down: {}", hold.reason));
        self.unfit().or(held)
    }

    /// The own ballot, once others may hear of it.
    fn told_ballot(&self) -> Option<&Ballot> {
        match &self.phase {
            Phase::Idle(_) => None,
            Phase::Claiming(claim) => claim.told(),
            Phase::Active(tenure) => tenure.ballot.as_ref(),
            Phase::Releasing(release) => release.ballot.as_ref(),
        }
    }

    pub(super) fn wanted_record(&self) -> Record {
        let claimed = match &self.phase {
            Phase::Claiming(claim) => Some(&claim.ballot),
            Phase::Active(tenure) => tenure.renewal(),
            Phase::Idle(_) | Phase::Releasing(_) => None,
        };
        if let Some(ballot) = claimed {
            return Record { ballot: Some(ballot.clone()), owned: true };
        }
        let ballot = self.ledger.floor().ballot.max(self.highest.clone());
        let owned = !matches!(self.phase, Phase::Idle(_))
            && ballot.is_some()
            && self.told_ballot() == ballot.as_ref();
        Record { ballot, owned }
    }

    pub(super) fn refresh_net(&mut self) {
        let healthy = self.lb == Lb::Healthy;
        let owner = self.highest.as_ref().map(|ballot| &ballot.node).filter(|node| self.is_peer(node));
        let found = match &self.found {
            Route::None => None,
            Route::Via(node) if !self.is_peer(node) => None,
            Route::OwnLb | Route::Via(_) => Some(self.found.clone()),
        };
        let stale = match (owner, found) {
            _ if healthy => Route::OwnLb,
            (_, Some(found)) if self.lb == Lb::Unknown => found,
            (Some(owner), _) => Route::Via(owner.clone()),
            (None, _) => Route::None,
        };
        let (answer, route) = match &self.phase {
            Phase::Active(_) => (true, Route::OwnLb),
            Phase::Claiming(claim) if claim.installing() => (true, Route::OwnLb),
            Phase::Releasing(_) => (false, Route::OwnLb),
            Phase::Idle(_) | Phase::Claiming(_) if self.stale_until.is_some() => (false, stale),
            Phase::Idle(_) | Phase::Claiming(_) => (false, Route::None),
        };
        // A node that no longer serves its old connections might send their packets back here.
        let serves = |node: &String| {
            let healthy = |peer: &super::Peer| peer.report.as_ref().is_none_or(|report| report.lb_healthy);
            self.peers.get(node).is_some_and(healthy)
        };
        let wanted = answer || matches!(self.phase, Phase::Claiming(_));
        let chance = self.second_chance.as_ref().map(|(node, _)| node).filter(|node| wanted && serves(node));
        let next = VipNet { revision: self.net.revision, answer, route, second_chance: chance.cloned() };
        self.may_answer |= answer;
        if next != self.net {
            self.net = VipNet { revision: self.net.revision + 1, ..next };
        }
    }
}
