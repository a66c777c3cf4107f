//! A claim: on disk, then in the kernel, then announced.

use super::owner::Tenure;
use super::types::{Action, Handed, HandoverError, MAX_EPOCH, Outcome, Record};
use super::{Lb, Phase, Vip};
use crate::time::Time;
use wire::{Ballot, VipState};

#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) ballot: Ballot,
    cause: Cause,
    stage: Stage,
    since: Time,
}

/// Why it claims, and who waits for the outcome.
#[derive(Debug, Clone)]
pub(super) enum Cause {
    Takeover,
    Nomination {
        id: u64,
        from: String,
        drain: bool,
    },
    /// Nobody took what it wanted to give away.
    TakeBack {
        request: Option<u64>,
        why: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Writing,
    Installing,
}

impl Claim {
    /// The ballot may be told: it is on disk, or nothing better can be had.
    pub(super) fn told(&self) -> Option<&Ballot> {
        (self.stage == Stage::Installing).then_some(&self.ballot)
    }

    pub(super) fn installing(&self) -> bool {
        self.stage == Stage::Installing
    }

    pub(super) const fn since(&self) -> Time {
        self.since
    }
}

impl Vip {
    pub(super) fn begin_claim(
        &mut self,
        now: Time,
        ballot: Ballot,
        cause: Cause,
        reason: String,
        out: &mut Vec<Action>,
    ) {
        let from = self.state();
        self.ledger.hurry();
        // The way for connections that go on elsewhere is made while the disk writes: it takes about as long.
        if let Cause::Nomination { from, drain: true, .. } = &cause {
            self.second_chance = Some((from.clone(), now + self.config.timing.release));
        }
        self.phase = Phase::Claiming(Claim { ballot, cause, stage: Stage::Writing, since: now });
        self.log(from, reason, out);
    }

    /// A peer has withdrawn and wants this node to claim: there is nothing to prove.
    pub(super) fn nominated(
        &mut self,
        now: Time,
        id: u64,
        from: String,
        epoch: u64,
        drain: bool,
        out: &mut Vec<Action>,
    ) {
        let highest = self.next_ballot().epoch - 1;
        let refusal = if !self.peers.contains_key(&from) {
            Some(format!("{from} is not a configured peer"))
        } else if epoch > MAX_EPOCH {
            Some(format!("epoch: {epoch} is above {MAX_EPOCH}"))
        } else if epoch <= highest {
            Some(format!("epoch: {epoch} is not above {highest}, the highest known"))
        } else if !matches!(self.phase, Phase::Idle(_)) {
            Some(format!("{} is {} already", self.config.node, self.state().as_str()))
        } else {
            // One that is held down takes it too: the nominator asks it last, when nobody else can.
            self.unfit()
        };
        if let Some(reason) = refusal {
            self.note(format!("refuses {from}'s nomination: {reason}"), out);
            out.push(Action::AnswerNomination { id, outcome: Outcome::Refused { reason, highest } });
            return;
        }
        let ballot = Ballot { epoch, node: self.config.node.clone() };
        let reason = format!("{from} nominated this node with epoch {epoch}");
        self.begin_claim(now, ballot, Cause::Nomination { id, from, drain }, reason, out);
    }

    pub(super) fn drive_claim(&mut self, now: Time, out: &mut Vec<Action>) {
        let Phase::Claiming(claim) = &self.phase else { return };
        let (stage, late) = (claim.stage, now.since(claim.since) >= self.config.timing.effect);
        if let Some((ballot, how)) = self.rival(now, Some(&claim.ballot)) {
            return self.overruled(now, &ballot, how, out);
        }
        let takeover = matches!(claim.cause, Cause::Takeover);
        if takeover && stage == Stage::Writing {
            let back = self.live(now).find(|(_, report)| report.state == VipState::Active);
            if let Some((node, _)) = back {
                return self.abort_claim(now, format!("{node} is heard as the owner"), out);
            }
        }
        let take_back = matches!(claim.cause, Cause::TakeBack { .. });
        if let (false, Lb::Broken { why, .. }) = (take_back, &self.lb) {
            return self.abort_claim(now, format!("its load balancer broke: {why}"), out);
        }
        let written = Record { ballot: Some(claim.ballot.clone()), owned: true };
        if stage == Stage::Writing && *self.ledger.durable() == written {
            self.install_claim(now);
        } else if stage == Stage::Writing && late {
            let why = format!("the disk did not answer in {} ms", self.config.timing.effect.as_millis());
            self.claim_unwritten(now, &why, out);
        } else if late {
            self.install_failed(now, "no answer from the kernel", out);
        }
    }

    fn install_claim(&mut self, now: Time) {
        let Phase::Claiming(claim) = &mut self.phase else { return };
        claim.stage = Stage::Installing;
        claim.since = now;
        self.highest = self.highest.take().max(Some(claim.ballot.clone()));
    }

    /// The disk refuses the claim. If somebody else can claim, that is better; else an epoch in memory must do.
    pub(super) fn claim_unwritten(&mut self, now: Time, why: &str, out: &mut Vec<Action>) {
        let Phase::Claiming(claim) = &self.phase else { return };
        if claim.stage != Stage::Writing {
            return;
        }
        let last = match &claim.cause {
            Cause::TakeBack { .. } => true,
            Cause::Takeover => self.candidates(now, true).is_empty(),
            Cause::Nomination { from, drain, .. } => {
                !drain && self.candidates(now, true).iter().all(|other| other == from)
            }
        };
        if last {
            let epoch = claim.ballot.epoch;
            self.install_claim(now);
            self.note(
                format!("claims epoch {epoch} though it is not on disk ({why}): nobody else can serve"),
                out,
            );
        } else {
            let why = format!("the epoch could not be written: {why}");
            self.hold_down(now, &why, self.config.timing.hold_down);
            self.abort_claim(now, why, out);
        }
    }

    pub(super) fn persisted(&mut self, now: Time, epoch: u64, out: &mut Vec<Action>) {
        if self.ledger.written(epoch) {
            self.highest = self.highest.take().max(self.ledger.durable().ballot.clone());
            self.renewal_written(now, out);
        }
    }

    pub(super) fn persist_failed(&mut self, now: Time, epoch: u64, error: &str, out: &mut Vec<Action>) {
        let Some(record) = self.ledger.failed(now, epoch, self.config.timing.pace) else { return };
        self.note(format!("the epoch file could not be written: {error}"), out);
        match &self.phase {
            Phase::Claiming(claim) if record.ballot.as_ref() == Some(&claim.ballot) => {
                self.claim_unwritten(now, error, out);
            }
            // It was an older record; the claim's own follows at once.
            Phase::Claiming(_) => self.ledger.hurry(),
            Phase::Active(tenure) if tenure.renewal() == record.ballot.as_ref() => {
                self.renewal_unwritten(now, error, out);
            }
            Phase::Idle(_) | Phase::Active(_) | Phase::Releasing(_) => {}
        }
    }

    /// The kernel has what was wanted last.
    pub(super) fn installed(&mut self, now: Time, out: &mut Vec<Action>) {
        self.may_answer = self.net.answer;
        if matches!(self.phase, Phase::Releasing(_)) {
            return self.withdrawn(now, out);
        }
        let Phase::Claiming(claim) = &self.phase else { return };
        if claim.stage != Stage::Installing || !self.net.answer {
            return;
        }
        let (from, claim) = (self.state(), claim.clone());
        let reason = format!("answers for {} with epoch {}", self.config.addr, claim.ballot.epoch);
        self.phase = Phase::Active(Tenure::confirmed(claim.ballot));
        self.hold = None;
        self.stale_until = None;
        self.announce(now, out);
        match claim.cause {
            Cause::Takeover => {}
            Cause::Nomination { id, .. } => {
                out.push(Action::AnswerNomination { id, outcome: Outcome::Accepted });
            }
            Cause::TakeBack { request: Some(id), why } => {
                out.push(Action::AnswerHandover { id, result: Err(HandoverError::Failed(why)) });
            }
            Cause::TakeBack { request: None, .. } => {}
        }
        self.log(from, reason, out);
    }

    pub(super) fn install_failed(&mut self, now: Time, error: &str, out: &mut Vec<Action>) {
        match &self.phase {
            Phase::Claiming(claim) if claim.stage == Stage::Installing => {
                let why = format!("the kernel did not take it: {error}");
                self.hold_down(now, &why, self.config.timing.hold_down);
                self.abort_claim(now, why, out);
            }
            Phase::Releasing(_) => self.withdraw_failed(now, error, out),
            Phase::Idle(_) | Phase::Claiming(_) | Phase::Active(_) => {
                self.note(format!("the kernel refused: {error}"), out);
            }
        }
    }

    pub(super) fn abort_claim(&mut self, now: Time, why: String, out: &mut Vec<Action>) {
        self.end_claim(now, why, None, out);
    }

    fn overruled(&mut self, now: Time, ballot: &Ballot, how: String, out: &mut Vec<Action>) {
        self.end_claim(now, how, Some(ballot.node.clone()), out);
    }

    fn end_claim(&mut self, now: Time, why: String, winner: Option<String>, out: &mut Vec<Action>) {
        let Phase::Claiming(claim) = &self.phase else { return };
        let mut asked = None;
        match claim.cause.clone() {
            Cause::Takeover | Cause::TakeBack { request: None, .. } => {}
            Cause::Nomination { id, .. } => {
                let highest = self.next_ballot().epoch - 1;
                let outcome = Outcome::Refused { reason: why.clone(), highest };
                out.push(Action::AnswerNomination { id, outcome });
            }
            Cause::TakeBack { request: Some(id), why: first } => {
                let failed = HandoverError::Failed(format!("{first}; then {why}"));
                asked = Some((id, winner.map_or(Err(failed), |node| Ok(Handed::To(node)))));
            }
        }
        self.become_idle(now, why, out);
        if let Some((id, result)) = asked {
            self.answer_request(now, id, result, out);
        }
    }
}
