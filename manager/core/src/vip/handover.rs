//! The owner leaves: it withdraws, then asks one peer after another, and takes it back if none will.

use super::claim::Cause;
use super::owner::Tenure;
use super::takeover::class;
use super::types::{Action, Handed, HandoverError, Outcome};
use super::{Lb, Phase, Vip};
use crate::time::Time;
use std::collections::BTreeSet;
use wire::{Ballot, VipState};

#[derive(Debug, Clone)]
pub(super) struct Release {
    pub(super) ballot: Option<Ballot>,
    broken: bool,
    request: Option<u64>,
    /// The only one who may have it.
    only: Option<String>,
    /// Those held down may have it too.
    all: bool,
    tried: BTreeSet<String>,
    stage: Stage,
    why: String,
}

#[derive(Debug, Clone)]
enum Stage {
    Withdrawing { since: Time },
    Nominating { node: String, epoch: u64, since: Time, again: bool },
}

/// This manager leaves, and the kernel may still answer for the address.
#[derive(Debug, Clone)]
pub(super) struct Parting {
    id: u64,
    result: Result<Handed, HandoverError>,
    until: Time,
}

impl Parting {
    pub(super) const fn until(&self) -> Time {
        self.until
    }
}

impl Release {
    pub(super) fn deadlines(&self, nominate: std::time::Duration, effect: std::time::Duration) -> [Time; 2] {
        match self.stage {
            Stage::Withdrawing { since } => [since + effect; 2],
            Stage::Nominating { since, .. } => [since + nominate, since + effect + nominate],
        }
    }
}

impl Vip {
    /// Who can take the address, the best first. `all`: also those held down.
    pub(super) fn candidates(&self, now: Time, all: bool) -> Vec<String> {
        let mut list: Vec<_> = self
            .live(now)
            .filter_map(|(node, report)| class(report).map(|class| (class, node)))
            .filter(|(class, _)| all || *class == 0)
            .collect();
        list.sort_unstable();
        list.into_iter().map(|(_, node)| node.to_owned()).collect()
    }

    /// Why nobody is among them.
    fn no_candidate(&self, now: Time) -> String {
        if self.peers.is_empty() {
            return "none is configured".to_owned();
        }
        let why =
            |node: &String| format!("{node}: {}", self.objection(now, node).unwrap_or("none".to_owned()));
        self.peers.keys().map(why).collect::<Vec<_>>().join(", ")
    }

    fn objection(&self, now: Time, node: &str) -> Option<String> {
        let Some(report) = self.live_report(now, node) else { return Some("it is not heard".to_owned()) };
        let why = match (report.eligible, report.state, report.lb_healthy) {
            (true, _, _) => return None,
            (false, VipState::HoldDown, _) => "it is held down",
            (false, _, false) => "its load balancer is not healthy",
            (
                false,
                VipState::Standby | VipState::Claiming | VipState::Active | VipState::Releasing,
                true,
            ) => "it is starting or leaving",
        };
        Some(why.to_owned())
    }

    pub(super) fn hand_over(&mut self, now: Time, id: u64, to: Option<String>, out: &mut Vec<Action>) {
        let node = self.config.node.clone();
        let candidates = self.candidates(now, false);
        let refusal = match (&self.phase, &to) {
            (Phase::Idle(_), _) => Some(HandoverError::NotOwner { node, owner: self.owner(now) }),
            (Phase::Claiming(_) | Phase::Releasing(_), _) => {
                Some(HandoverError::Busy(format!("{node} is {}", self.state().as_str())))
            }
            (Phase::Active(_), Some(to)) if *to == node => Some(HandoverError::Same(node)),
            (Phase::Active(_), Some(to)) if !self.peers.contains_key(to) => {
                Some(HandoverError::Unknown(to.clone()))
            }
            (Phase::Active(_), Some(to)) => {
                self.objection(now, to).map(|reason| HandoverError::NotEligible { node: to.clone(), reason })
            }
            (Phase::Active(_), None) => {
                candidates.is_empty().then(|| HandoverError::NoPeer(self.no_candidate(now)))
            }
        };
        if let Some(error) = refusal {
            out.push(Action::AnswerHandover { id, result: Err(error) });
            return;
        }
        self.begin_release(now, "an admin asked for it".to_owned(), false, Some(id), to, false, out);
    }

    pub(super) fn leave(&mut self, now: Time, id: u64, out: &mut Vec<Action>) {
        self.leaving = true;
        let nobody = self.candidates(now, true).is_empty();
        let result = match &mut self.phase {
            _ if self.parting.is_some() => {
                Err(HandoverError::Busy("this manager is leaving already".to_owned()))
            }
            Phase::Idle(_) => Ok(Handed::Nothing),
            Phase::Claiming(_) => {
                self.abort_claim(now, "this manager is leaving".to_owned(), out);
                Ok(Handed::Nothing)
            }
            Phase::Releasing(release) if release.request.is_none() => {
                release.request = Some(id);
                return;
            }
            Phase::Releasing(_) => Err(HandoverError::Busy("a handover is under way".to_owned())),
            Phase::Active(_) if nobody => Err(HandoverError::NoPeer(self.no_candidate(now))),
            Phase::Active(_) => {
                let why = "this manager is leaving".to_owned();
                return self.begin_release(now, why, false, Some(id), None, true, out);
            }
        };
        self.answer_request(now, id, result, out);
    }

    /// Answers whoever asked for a handover. Who leaves ends at the answer, so that one waits for the kernel.
    pub(super) fn answer_request(
        &mut self,
        now: Time,
        id: u64,
        result: Result<Handed, HandoverError>,
        out: &mut Vec<Action>,
    ) {
        let withdraws = self.leaving && self.may_answer && matches!(self.phase, Phase::Idle(_));
        if withdraws && result.is_ok() && self.parting.is_none() {
            self.parting = Some(Parting { id, result, until: now + self.config.timing.effect });
        } else {
            out.push(Action::AnswerHandover { id, result });
        }
    }

    /// Lets this manager leave when the kernel answers no more.
    pub(super) fn drive_parting(&mut self, now: Time, out: &mut Vec<Action>) {
        let may_answer = self.may_answer;
        let Some(parting) = self.parting.take_if(|it| !may_answer || now >= it.until) else { return };
        let waited = self.config.timing.effect.as_millis();
        let result = if may_answer {
            Err(HandoverError::Failed(format!("the kernel did not withdraw the address in {waited} ms")))
        } else {
            parting.result
        };
        out.push(Action::AnswerHandover { id: parting.id, result });
    }

    pub(super) fn release_broken(&mut self, now: Time, why: &str, all: bool, out: &mut Vec<Action>) {
        let why = format!("its load balancer is broken: {why}");
        self.begin_release(now, why, true, None, None, all, out);
    }

    #[expect(clippy::too_many_arguments, reason = "one call per cause, and each field is named in `Release`")]
    fn begin_release(
        &mut self,
        now: Time,
        why: String,
        broken: bool,
        request: Option<u64>,
        only: Option<String>,
        all: bool,
        out: &mut Vec<Action>,
    ) {
        let Phase::Active(tenure) = &self.phase else { return };
        let from = self.state();
        let (ballot, tried) = (tenure.ballot.clone(), BTreeSet::new());
        let stage = Stage::Withdrawing { since: now };
        let reason = why.clone();
        out.push(Action::StopAnnouncing);
        self.phase = Phase::Releasing(Release { ballot, broken, request, only, all, tried, stage, why });
        self.log(from, reason, out);
    }

    /// The kernel answers no more: now somebody else may.
    pub(super) fn withdrawn(&mut self, now: Time, out: &mut Vec<Action>) {
        if let Phase::Releasing(Release { stage: Stage::Withdrawing { .. }, .. }) = self.phase {
            self.nominate_next(now, out);
        }
    }

    /// It answers still, so nobody else may.
    pub(super) fn withdraw_failed(&mut self, now: Time, error: &str, out: &mut Vec<Action>) {
        let Phase::Releasing(Release { stage: Stage::Withdrawing { .. }, ballot, request, .. }) = &self.phase
        else {
            return;
        };
        let (ballot, request) = (ballot.clone(), *request);
        self.hand_over_after = now + self.config.timing.pace;
        self.keep(now, ballot, request, format!("the kernel did not withdraw it: {error}"), out);
    }

    fn keep(
        &mut self,
        now: Time,
        ballot: Option<Ballot>,
        request: Option<u64>,
        why: String,
        out: &mut Vec<Action>,
    ) {
        let from = self.state();
        self.phase = Phase::Active(Tenure::unconfirmed(now, ballot, self.config.timing.confirm));
        if let Some(id) = request {
            out.push(Action::AnswerHandover { id, result: Err(HandoverError::Failed(why.clone())) });
        }
        self.log(from, why, out);
    }

    fn nominate_next(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Releasing(release) = &self.phase else { return };
        let next = self
            .candidates(now, release.all)
            .into_iter()
            .filter(|node| release.only.as_ref().is_none_or(|only| only == node))
            .find(|node| !release.tried.contains(node));
        let Some(node) = next else { return self.take_back(now, out) };
        self.nominate(now, node, false, out);
    }

    fn nominate(&mut self, now: Time, node: String, again: bool, out: &mut Vec<Action>) {
        let epoch = self.next_ballot().epoch;
        let drain = self.lb == Lb::Healthy;
        self.nominated = epoch;
        if let Phase::Releasing(release) = &mut self.phase {
            release.tried.insert(node.clone());
            release.stage = Stage::Nominating { node: node.clone(), epoch, since: now, again };
            out.push(Action::Nominate { node, epoch, drain });
        }
    }

    fn take_back(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Releasing(release) = &self.phase else { return };
        let (request, why) = (release.request, release.why.clone());
        let reason = format!("takes the address back, nobody took it ({why})");
        self.hand_over_after = now + self.config.timing.pace;
        self.stale_until = Some(now + self.config.timing.release);
        let ballot = self.next_ballot();
        self.begin_claim(now, ballot, Cause::TakeBack { request, why }, reason, out);
    }

    pub(super) fn nomination_answered(
        &mut self,
        now: Time,
        who: &str,
        asked: u64,
        outcome: Outcome,
        out: &mut Vec<Action>,
    ) {
        let Phase::Releasing(release) = &mut self.phase else { return };
        let again = match &release.stage {
            Stage::Nominating { node, epoch, again, .. } if node == who && *epoch == asked => *again,
            Stage::Nominating { .. } | Stage::Withdrawing { .. } => return,
        };
        match outcome {
            Outcome::Accepted => {
                let ballot = Ballot { epoch: asked, node: who.to_owned() };
                self.highest = self.highest.take().max(Some(ballot));
                self.released(now, who, format!("{who} took the address with epoch {asked}"), out);
            }
            Outcome::Refused { reason, highest } => {
                release.why = format!("{who} refused: {reason}");
                let behind = highest >= asked && highest < super::MAX_EPOCH;
                let text = release.why.clone();
                self.note(text, out);
                if behind {
                    self.nominated = self.nominated.max(highest);
                }
                if behind && !again && self.is_peer(who) {
                    self.nominate(now, who.to_owned(), true, out);
                } else {
                    self.nominate_next(now, out);
                }
            }
            // That the answer was lost does not end the claim: it is waited for as if none had come yet.
            Outcome::Failed { reason } if self.claims(now, who) => {
                self.note(format!("{who} is heard claiming, but its answer is lost: {reason}"), out);
            }
            Outcome::Failed { reason } => self.nominee_failed(now, who, &reason, out),
        }
    }

    fn nominee_failed(&mut self, now: Time, who: &str, reason: &str, out: &mut Vec<Action>) {
        let Phase::Releasing(release) = &mut self.phase else { return };
        release.why = format!("{who} did not answer: {reason}");
        let text = release.why.clone();
        self.note(text, out);
        self.nominate_next(now, out);
    }

    pub(super) fn drive_release(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Releasing(release) = &self.phase else { return };
        let timing = &self.config.timing;
        if let Some((ballot, how)) = self.rival(now, release.ballot.as_ref()) {
            let nominee = matches!(&release.stage, Stage::Nominating { node, .. } if *node == ballot.node);
            let claims = self.claims(now, &ballot.node);
            // A nominee that still claims may yet fail, and its answer will say so.
            if !(nominee && claims) {
                return self.released(now, &ballot.node, how, out);
            }
        }
        match &release.stage {
            Stage::Withdrawing { since } if now.since(*since) >= timing.effect => {
                self.withdraw_failed(now, "no answer", out);
            }
            Stage::Nominating { node, since, .. } if now.since(*since) >= timing.nominate => {
                let busy = self.claims(now, node);
                // Its disk has that long, and what it then does must be heard of.
                if !busy || now.since(*since) >= timing.effect + timing.nominate {
                    let (node, waited) = (node.clone(), now.since(*since).as_millis());
                    self.nominee_failed(now, &node, &format!("{waited} ms have passed"), out);
                }
            }
            Stage::Withdrawing { .. } | Stage::Nominating { .. } => {}
        }
    }

    fn claims(&self, now: Time, node: &str) -> bool {
        self.live_report(now, node).is_some_and(|report| report.state == VipState::Claiming)
    }

    fn released(&mut self, now: Time, to: &str, how: String, out: &mut Vec<Action>) {
        let Phase::Releasing(release) = &self.phase else { return };
        let (broken, request) = (release.broken, release.request);
        if broken {
            let timing = &self.config.timing;
            if self.struck.is_none_or(|last| now.since(last) >= timing.hold_down_memory) {
                self.strikes = 0;
            }
            let span = timing
                .hold_down
                .saturating_mul(2_u32.saturating_pow(self.strikes))
                .min(timing.hold_down_most);
            self.strikes = self.strikes.saturating_add(1);
            self.struck = Some(now);
            self.hold_down(now, "its load balancer broke while it owned the address", span);
        }
        self.become_idle(now, how, out);
        if let Some(id) = request {
            self.answer_request(now, id, Ok(Handed::To(to.to_owned())), out);
        }
    }

    /// After a pause nobody knows whether a nominee claimed: then the address itself must show it.
    pub(super) fn release_paused(&mut self, now: Time, why: &str, out: &mut Vec<Action>) {
        let Phase::Releasing(release) = &self.phase else { return };
        let (ballot, request) = (release.ballot.clone(), release.request);
        if matches!(release.stage, Stage::Withdrawing { .. }) {
            return self.keep(now, ballot, request, why.to_owned(), out);
        }
        self.become_idle(now, why.to_owned(), out);
        if let Some(id) = request {
            out.push(Action::AnswerHandover { id, result: Err(HandoverError::Failed(why.to_owned())) });
        }
    }
}
