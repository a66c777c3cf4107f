//! The owner: defends what is its own, gives way to a greater claim, and asks before it announces.

use super::types::{Action, Station};
use super::{Lb, Phase, Vip};
use crate::time::Time;
use std::time::Duration;
use wire::{Ballot, VipState};

#[derive(Debug, Clone)]
pub(super) struct Tenure {
    /// None of one that found the address in place and does not know with what right.
    pub(super) ballot: Option<Ballot>,
    doubt: Option<Doubt>,
}

/// It answers, and does not announce.
#[derive(Debug, Clone)]
enum Doubt {
    /// Is there a greater claim?
    Listening { since: Time, until: Time },
    /// Nobody holds one: its own becomes the greatest.
    Renewing { ballot: Ballot, since: Time },
}

impl Tenure {
    pub(super) const fn confirmed(ballot: Ballot) -> Self {
        Self { ballot: Some(ballot), doubt: None }
    }

    pub(super) fn unconfirmed(now: Time, ballot: Option<Ballot>, patience: Duration) -> Self {
        Self { ballot, doubt: Some(Doubt::Listening { since: now, until: now + patience }) }
    }

    pub(super) const fn is_confirmed(&self) -> bool {
        self.doubt.is_none()
    }

    pub(super) const fn renewal(&self) -> Option<&Ballot> {
        match &self.doubt {
            Some(Doubt::Renewing { ballot, .. }) => Some(ballot),
            Some(Doubt::Listening { .. }) | None => None,
        }
    }

    pub(super) fn deadline(&self, effect: Duration) -> Option<Time> {
        match self.doubt {
            Some(Doubt::Listening { until, .. }) => Some(until),
            Some(Doubt::Renewing { since, .. }) => Some(since + effect),
            None => None,
        }
    }
}

impl Vip {
    pub(super) fn drive_tenure(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Active(tenure) = &self.phase else { return };
        if let Some((_, how)) = self.rival(now, tenure.ballot.as_ref()) {
            return self.become_idle(now, how, out);
        }
        self.doubt(now, out);
        if let Some(node) = self.deaf(now) {
            let reason = format!("{node} goes on answering with a lower epoch and cannot be told: gives way");
            return self.become_idle(now, reason, out);
        }
        if let Lb::Broken { why, since } = self.lb.clone() {
            // Who is held down has failed with it a short time ago. When all are slow, as on hosts that have too much to do,
            // the address would only go to and fro between them, and each move is more work.
            let all = now.since(since) >= self.config.timing.last_resort;
            let nobody = self.candidates(now, all).is_empty();
            if now >= self.hand_over_after && !nobody {
                return self.release_broken(now, &why, all, out);
            }
            if nobody {
                let text = format!(
                    "keeps the address: its load balancer is broken ({why}), and no peer can take it"
                );
                self.note(text, out);
            }
        }
        let pace = self.config.timing.pace;
        let Phase::Active(tenure) = &self.phase else { return };
        if self.announce_due
            && tenure.is_confirmed()
            && self.announced.is_none_or(|last| now.since(last) >= pace)
        {
            self.announce(now, out);
        }
    }

    /// Moves the doubt on: listen, renew if a greater ballot is known that nobody holds, and be sure.
    fn doubt(&mut self, now: Time, out: &mut Vec<Action>) {
        let timing = &self.config.timing;
        let next = self.next_ballot();
        let Phase::Active(tenure) = &mut self.phase else { return };
        let outbid = tenure.ballot.is_none() || self.highest > tenure.ballot;
        match &tenure.doubt {
            None if outbid => {
                tenure.doubt = Some(Doubt::Listening { since: now, until: now + timing.confirm });
                let epoch = self.highest.as_ref().map_or(0, |ballot| ballot.epoch);
                self.note(
                    format!("epoch {epoch} is known to a peer: listens whether somebody holds it"),
                    out,
                );
                out.push(Action::StopAnnouncing);
            }
            None => {}
            Some(Doubt::Listening { since, until }) => {
                let heard = |at: Option<Time>| at.is_some_and(|at| at >= *since);
                if now < *until && !self.peers.values().all(|peer| heard(peer.heard)) {
                    return;
                }
                if outbid {
                    tenure.doubt = Some(Doubt::Renewing { ballot: next, since: now });
                    self.ledger.hurry();
                } else {
                    tenure.doubt = None;
                    self.note("no peer knows of a greater claim: goes on as the owner".to_owned(), out);
                    self.announce_due = true;
                }
            }
            Some(Doubt::Renewing { since, .. }) if now.since(*since) >= timing.effect => {
                let why = format!("the disk did not answer in {} ms", timing.effect.as_millis());
                self.renewal_unwritten(now, &why, out);
            }
            Some(Doubt::Renewing { .. }) => {}
        }
    }

    /// A write is done; if it was the renewal, that is in force.
    pub(super) fn renewal_written(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Active(tenure) = &self.phase else { return };
        if tenure.renewal().is_some_and(|ballot| self.ledger.durable().ballot.as_ref() == Some(ballot)) {
            self.renewed(now, "nobody holds a greater claim", out);
        }
    }

    /// The disk refuses: to go on answering matters more than a tidy record.
    pub(super) fn renewal_unwritten(&mut self, now: Time, why: &str, out: &mut Vec<Action>) {
        self.renewed(now, &format!("it is NOT on disk: {why}"), out);
    }

    fn renewed(&mut self, now: Time, why: &str, out: &mut Vec<Action>) {
        let Phase::Active(tenure) = &mut self.phase else { return };
        let Some(Doubt::Renewing { ballot, .. }) = tenure.doubt.take() else { return };
        let epoch = ballot.epoch;
        self.highest = self.highest.take().max(Some(ballot.clone()));
        tenure.ballot = Some(ballot);
        self.note(format!("goes on as the owner with epoch {epoch}: {why}"), out);
        self.announce(now, out);
    }

    /// Finds owners with a lower ballot; the first that was contradicted in vain for long.
    fn deaf(&mut self, now: Time) -> Option<String> {
        let Phase::Active(tenure) = &self.phase else { return None };
        if !tenure.is_confirmed() {
            return None;
        }
        let own = tenure.ballot.clone();
        let (silence, give_way) = (self.config.timing.silence, self.config.timing.give_way);
        let (mut fresh, mut deaf) = (false, None);
        for (node, peer) in &mut self.peers {
            let live = peer.heard.is_some_and(|heard| now.since(heard) < silence);
            let lower = peer.report.as_ref().filter(|it| {
                live && it.state == VipState::Active && (it.ballot < own || it.ballot.is_none())
            });
            let Some(report) = lower else {
                peer.contradicts = None;
                continue;
            };
            let since = *peer.contradicts.get_or_insert_with(|| {
                fresh = true;
                now
            });
            if now.since(since) >= give_way && report.lb_healthy {
                deaf.get_or_insert_with(|| node.clone());
            }
        }
        self.announce_due |= fresh;
        deaf
    }

    pub(super) fn arp_seen(
        &mut self,
        now: Time,
        station: &Station,
        announcement: bool,
        out: &mut Vec<Action>,
    ) {
        let Phase::Active(tenure) = &self.phase else {
            return self.disprove(now);
        };
        let pace = self.config.timing.pace;
        if self.defended.is_some_and(|last| now.since(last) < pace) {
            return;
        }
        self.defended = Some(now);
        self.announce_due |= tenure.is_confirmed();
        let verb = if announcement { "announces" } else { "answers for" };
        self.note(format!("{station} {verb} {} too", self.config.addr), out);
        out.push(Action::Beat);
    }

    pub(super) fn announce(&mut self, now: Time, out: &mut Vec<Action>) {
        self.announced = Some(now);
        self.announce_due = false;
        out.push(Action::Announce);
    }
}
