//! Is the own load balancer fit to have the public address? What its manager knows, and what the checks say. Pure.

use std::mem;

use manager_core::core::LbTarget;

use super::check::Verdict;
use super::{Fitness, LbStatus};

/// Both opinions, and what was made of them last.
#[derive(Debug, Default)]
pub(super) struct Health {
    status: LbStatus,
    /// Of the present target only.
    verdict: Option<Verdict>,
    told: Option<(bool, String)>,
}

impl Health {
    /// The present load balancer.
    pub(super) const fn target(&self) -> Option<&LbTarget> {
        self.status.target.as_ref()
    }

    /// What the manager knows: its process, its heartbeat, its upstream set.
    pub(super) fn manager_says(&mut self, status: &LbStatus) {
        if status.target != self.status.target {
            // What was true of another life says nothing of this one.
            self.verdict = None;
        }
        self.status = status.clone();
    }

    /// What the checks say of `target`. False if that is nothing new: one that is broken fails in many ways, and the
    /// first one is kept.
    pub(super) fn checked(&mut self, target: &LbTarget, verdict: Verdict) -> bool {
        let same = self.verdict.as_ref().map(mem::discriminant) == Some(mem::discriminant(&verdict));
        if same || self.status.target.as_ref() != Some(target) {
            return false;
        }
        self.verdict = Some(verdict);
        true
    }

    /// Whether it is fit, and why, if that is not what was said last. One of both is enough to say that it is not. Until
    /// both know, what was said last holds: a manager that has just started does not know yet.
    pub(super) fn changed(&mut self) -> Option<(bool, String)> {
        let now = match (&self.status.fitness, &self.verdict) {
            (Fitness::Unfit(why), _) | (_, Some(Verdict::Broken(why))) => (false, why.clone()),
            (Fitness::Unknown, _) | (_, None) => return None,
            (Fitness::Fit, Some(Verdict::Fit)) => (true, "it answers".to_owned()),
        };
        if self.told.as_ref() == Some(&now) {
            return None;
        }
        self.told = Some(now.clone());
        Some(now)
    }
}

#[cfg(test)]
mod tests;
