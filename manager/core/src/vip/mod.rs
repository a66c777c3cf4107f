//! Who answers for the public address? One machine per manager.
//!
//! Each claim to the address has a [`Ballot`]: an epoch and the claimant. Of two claims the greater one holds, and
//! the owner of the lower one releases as soon as it hears of it. There is no quorum: in a split both sides may serve,
//! which is right for a stateless service, and ARP itself shows whether both are on one segment.
//!
//! - An owner leaves by nomination: it withdraws, then asks a peer to claim (`handover`).
//! - An owner that is gone is replaced when nobody hears it, its manager does not answer, and nobody answers ARP
//!   for the address (`takeover`).
//! - A claim is on disk before anybody hears of it, and in the kernel before it is announced (`claim`).
//! - An owner that restarted, paused, or hears of a greater ballot listens before it announces (`owner`).
//!
//! Four rules go beyond two nodes that hear each other. A peer that hears the owner vouches for it
//! ([`VipReport::hears_owner`]), so a node that is cut off from the owner alone does not claim. The same word tells
//! the owner of a greater claim that only that peer can hear. A ballot that nobody holds is overbid by the owner in
//! place. And an owner that a lower one cannot hear gives way to it after a time: the deaf one cannot be told.
//!
//! What it refuses: to claim without a healthy load balancer (save to take back what nobody else takes), to take the
//! address from a lower-ranked owner that does well, and to trust anything it knew before a pause.
//!
//! Known limit: a host that can send and cannot receive keeps the address, for its beats say that it lives.

mod claim;
mod handover;
mod ledger;
mod owner;
mod peers;
mod takeover;
mod types;
mod views;

use std::collections::BTreeMap;

use wire::{Ballot, VipReport, VipState};

use self::claim::Claim;
use self::handover::{Parting, Release};
use self::ledger::Ledger;
use self::owner::Tenure;
use self::takeover::Takeover;
pub use self::types::{
    Action, Adopted, Config, Event, Handed, HandoverError, MAX_EPOCH, Mac, Outcome, Record, Route, Station,
    Timing, VipNet,
};
use crate::time::Time;

/// What one manager decides about the address.
#[derive(Debug, Clone)]
pub struct Vip {
    config: Config,
    phase: Phase,
    peers: BTreeMap<String, Peer>,
    /// The greatest ballot ever seen, by anybody.
    highest: Option<Ballot>,
    /// The highest epoch given to a nominee, whatever became of it.
    nominated: u64,
    /// Rounds of probes so far.
    rounds: u64,
    ledger: Ledger,
    lb: Lb,
    started: bool,
    start_until: Time,
    leaving: bool,
    parting: Option<Parting>,
    hold: Option<Hold>,
    strikes: u32,
    struck: Option<Time>,
    /// Clients may still send here what belongs elsewhere.
    stale_until: Option<Time>,
    /// Where they were served before this process began; good until it knows better.
    found: Route,
    second_chance: Option<(String, Time)>,
    hand_over_after: Time,
    announced: Option<Time>,
    announce_due: bool,
    defended: Option<Time>,
    reason: String,
    noted: String,
    /// The last owner that was named to those who watch.
    named: Option<Ballot>,
    net: VipNet,
    /// The kernel was told to answer, and has not said since that it does not.
    may_answer: bool,
    last_step: Time,
}

#[derive(Debug, Clone)]
enum Phase {
    Idle(Takeover),
    Claiming(Claim),
    Active(Tenure),
    Releasing(Release),
}

#[derive(Debug, Clone, Default)]
struct Peer {
    report: Option<VipReport>,
    heard: Option<Time>,
    /// Since when it has answered with a lower ballot while this node owned the address.
    contradicts: Option<Time>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Lb {
    Unknown,
    Healthy,
    Broken { why: String, since: Time },
}

#[derive(Debug, Clone)]
struct Hold {
    until: Time,
    reason: String,
}

impl Vip {
    /// A machine at its manager's start. What the kernel has from an earlier life stays: whether it answers until that is
    /// found right or wrong, and the ways of old connections for another [`Timing::release`], for since when they are
    /// there is not known.
    pub fn new(now: Time, config: Config, record: Record, adopted: Adopted) -> Self {
        let timing = &config.timing;
        let Adopted { answer, route, second_chance } = adopted;
        let (phase, reason) = if answer {
            let ballot = record.ballot.clone().filter(|ballot| record.owned && ballot.node == config.node);
            let patience = if ballot.is_some() { timing.confirm } else { timing.startup };
            (Phase::Active(Tenure::unconfirmed(now, ballot, patience)), "found the address in place")
        } else {
            (Phase::Idle(Takeover::at(now)), "started")
        };
        let route = if answer { Route::OwnLb } else { route };
        let found = if answer { Route::None } else { route.clone() };
        // One that does not answer gets no connections to send on.
        let second_chance = second_chance.filter(|node| answer && config.peers.contains(node));
        let until = now + timing.release;
        Self {
            phase,
            peers: config.peers.iter().map(|node| (node.clone(), Peer::default())).collect(),
            highest: record.ballot.clone(),
            nominated: 0,
            rounds: 0,
            ledger: Ledger::new(record),
            lb: Lb::Unknown,
            started: config.peers.is_empty(),
            start_until: now + timing.startup,
            leaving: false,
            parting: None,
            hold: None,
            strikes: 0,
            struck: None,
            stale_until: (found != Route::None).then_some(until),
            found,
            second_chance: second_chance.clone().map(|node| (node, until)),
            hand_over_after: now,
            announced: None,
            announce_due: false,
            defended: None,
            reason: reason.to_owned(),
            noted: String::new(),
            named: None,
            net: VipNet { revision: 1, answer, route, second_chance },
            may_answer: answer,
            last_step: now,
            config,
        }
    }

    /// Takes one event; what follows is appended to `out`.
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let gap = now.since(self.last_step);
        self.last_step = now;
        if gap > self.config.timing.gap {
            self.resume(now, &format!("this manager had stopped for {} ms", gap.as_millis()), out);
        }
        match event {
            Event::Report { node, report } => self.report_from(now, &node, report, out),
            Event::Lb { healthy: true, .. } => self.lb = Lb::Healthy,
            Event::Lb { healthy: false, reason: why } => {
                let since = if let Lb::Broken { since, .. } = self.lb { since } else { now };
                self.lb = Lb::Broken { why, since };
            }
            Event::Nominated { id, from, epoch, drain } => self.nominated(now, id, from, epoch, drain, out),
            Event::NominationAnswered { node, epoch, outcome } => {
                self.nomination_answered(now, &node, epoch, outcome, out);
            }
            Event::PeerProbed { round, reachable } => self.peer_probed(round, reachable),
            Event::AddressProbed { round, answer } => self.address_probed(round, answer),
            Event::ArpSeen { station, announcement } => self.arp_seen(now, &station, announcement, out),
            Event::Persisted { epoch } => self.persisted(now, epoch, out),
            Event::PersistFailed { epoch, error } => self.persist_failed(now, epoch, &error, out),
            Event::Installed { revision } if revision == self.net.revision => self.installed(now, out),
            Event::InstallFailed { revision, error } if revision == self.net.revision => {
                self.install_failed(now, &error, out);
            }
            Event::Handover { id, to } => self.hand_over(now, id, to, out),
            Event::Leave { id } => self.leave(now, id, out),
            Event::Peers(peers) => self.set_peers(peers),
            Event::Installed { .. } | Event::InstallFailed { .. } | Event::Tick => {}
        }
        self.settle(now, out);
    }

    /// Draws every conclusion that the present state and time allow.
    fn settle(&mut self, now: Time, out: &mut Vec<Action>) {
        let heard = |peer: &Peer| peer.report.is_some() && peer.heard.is_some();
        if !self.started && (now >= self.start_until || self.peers.values().all(heard)) {
            self.started = true;
        }
        if self.hold.as_ref().is_some_and(|hold| now >= hold.until) {
            let from = self.state();
            self.hold = None;
            self.log(from, "the hold-down is over".to_owned(), out);
        }
        self.stale_until.take_if(|until| now >= *until);
        self.second_chance.take_if(|(_, until)| now >= *until);
        self.drive_parting(now, out);
        // A phase that ends may leave work for the next one; no chain is longer than this.
        for _ in 0..4 {
            let before = std::mem::discriminant(&self.phase);
            match self.phase {
                Phase::Idle(_) => self.drive_takeover(now, out),
                Phase::Claiming(_) => self.drive_claim(now, out),
                Phase::Active(_) => self.drive_tenure(now, out),
                Phase::Releasing(_) => self.drive_release(now, out),
            }
            if before == std::mem::discriminant(&self.phase) {
                break;
            }
        }
        self.name_owner(now, out);
        let want = self.wanted_record();
        self.ledger.pump(now, want, out);
        self.refresh_net();
    }

    /// Forgets every opinion about who lives, after a pause of this process.
    fn resume(&mut self, now: Time, why: &str, out: &mut Vec<Action>) {
        for peer in self.peers.values_mut() {
            peer.heard = None;
            peer.contradicts = None;
        }
        if !self.started {
            self.start_until = now + self.config.timing.startup;
        }
        match &mut self.phase {
            Phase::Idle(takeover) => *takeover = Takeover::at(now + self.config.timing.silence),
            Phase::Active(tenure) => {
                *tenure = Tenure::unconfirmed(now, tenure.ballot.clone(), self.config.timing.confirm);
                self.announce_due = false;
                out.push(Action::StopAnnouncing);
                self.note(format!("{why}: listens before it announces again"), out);
            }
            Phase::Claiming(_) => self.abort_claim(now, why.to_owned(), out),
            Phase::Releasing(_) => self.release_paused(now, why, out),
        }
    }

    fn report_from(&mut self, now: Time, node: &str, report: VipReport, out: &mut Vec<Action>) {
        let silence = self.config.timing.silence;
        if report.ballot.as_ref().is_some_and(|ballot| ballot.epoch > MAX_EPOCH) {
            self.note(format!("ignores {node}'s report: ballot.epoch is above {MAX_EPOCH}"), out);
            return;
        }
        let Some(peer) = self.peers.get_mut(node) else {
            self.note(format!("ignores a report: {node} is not a configured peer"), out);
            return;
        };
        let was_silent = peer.heard.is_none_or(|heard| now.since(heard) >= silence);
        peer.heard = Some(now);
        if report.ballot > self.highest {
            self.highest.clone_from(&report.ballot);
        }
        peer.report = Some(report);
        // Whoever was cut off may have heard another owner meanwhile, and so may its neighbours.
        if was_silent {
            self.announce_due = true;
        }
    }

    /// Peers heard a short time ago, and what they said.
    fn live(&self, now: Time) -> impl Iterator<Item = (&str, &VipReport)> {
        let silence = self.config.timing.silence;
        self.peers.iter().filter_map(move |(node, peer)| {
            let report = peer.report.as_ref()?;
            peer.heard.is_some_and(|heard| now.since(heard) < silence).then_some((node.as_str(), report))
        })
    }

    fn live_report(&self, now: Time, node: &str) -> Option<&VipReport> {
        self.live(now).find(|(name, _)| *name == node).map(|(_, report)| report)
    }

    /// Somebody else who holds a greater ballot than `than`, and how that is known.
    fn rival(&self, now: Time, than: Option<&Ballot>) -> Option<(Ballot, String)> {
        self.live(now)
            .filter_map(|(node, report)| {
                let ballot = report.ballot.as_ref().filter(|ballot| Some(*ballot) > than)?;
                if holds(report.state) && ballot.node == node {
                    return Some((ballot.clone(), format!("{node} holds epoch {}", ballot.epoch)));
                }
                let vouched = report.hears_owner && ballot.node != self.config.node && ballot.node != node;
                let words = || format!("{node} hears {}, which holds epoch {}", ballot.node, ballot.epoch);
                vouched.then(|| (ballot.clone(), words()))
            })
            .max()
    }

    /// The next epoch that nobody can have used, as far as this node knows.
    fn next_ballot(&self) -> Ballot {
        let seen = self.highest.as_ref().map_or(0, |ballot| ballot.epoch);
        let epoch =
            seen.max(self.ledger.floor().epoch()).max(self.nominated).saturating_add(1).min(MAX_EPOCH);
        Ballot { epoch, node: self.config.node.clone() }
    }

    fn become_idle(&mut self, now: Time, reason: String, out: &mut Vec<Action>) {
        let from = self.state();
        if self.net.answer || matches!(self.phase, Phase::Active(_) | Phase::Releasing(_)) {
            self.stale_until = Some(now + self.config.timing.release);
        }
        if matches!(self.phase, Phase::Active(_)) {
            out.push(Action::StopAnnouncing);
        }
        self.second_chance = None;
        self.announce_due = false;
        self.phase = Phase::Idle(Takeover::at(now));
        self.log(from, reason, out);
    }

    fn hold_down(&mut self, now: Time, reason: &str, span: std::time::Duration) {
        self.hold = Some(Hold { until: now + span, reason: reason.to_owned() });
    }

    fn note(&mut self, text: String, out: &mut Vec<Action>) {
        if text != self.noted {
            out.push(Action::Note(text.clone()));
            self.noted = text;
        }
    }

    fn log(&mut self, from: VipState, reason: String, out: &mut Vec<Action>) {
        let to = self.state();
        if from != to {
            self.reason.clone_from(&reason);
            self.noted.clear();
            out.push(Action::Log { from, to, reason });
        }
    }
}

/// A node in this state holds its ballot: nobody else shall claim while it is heard.
const fn holds(state: VipState) -> bool {
    matches!(state, VipState::Claiming | VipState::Active | VipState::Releasing)
}

#[cfg(test)]
mod tests;
