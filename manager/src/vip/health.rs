//! Is the own load balancer fit to have the public address? What its manager knows, and what the checks say. Pure.

use manager_core::core::LbTarget;

use super::LbStatus;
use super::check::Verdict;

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

    /// What the checks say of `target`. False if that is nothing new.
    pub(super) fn checked(&mut self, target: &LbTarget, verdict: Verdict) -> bool {
        if self.status.target.as_ref() != Some(target) || self.verdict.as_ref() == Some(&verdict) {
            return false;
        }
        self.verdict = Some(verdict);
        true
    }

    /// Whether it is fit, and why, if that is not what was said last. Nothing is said before both have spoken: a manager
    /// that has just started does not know yet.
    pub(super) fn changed(&mut self) -> Option<(bool, String)> {
        let now = match (&self.status, &self.verdict) {
            (LbStatus { healthy: false, reason, .. }, _) if reason.is_empty() => return None,
            (LbStatus { healthy: false, reason, .. }, _) => (false, reason.clone()),
            (_, None) => return None,
            (_, Some(Verdict::Broken(why))) => (false, why.clone()),
            (LbStatus { reason, .. }, Some(Verdict::Fit)) => (true, reason.clone()),
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
