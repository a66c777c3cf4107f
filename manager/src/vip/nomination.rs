//! Nominations on the wire: what is refused before the machine sees it, and how the machine's answer is said.

use manager_core::vip::Outcome;
use wire::{VipNomination, VipNominationAnswer};

/// How far a nomination may be above the greatest epoch known here. At one move a second this is twelve days during
/// which a node heard of none.
const EPOCH_LEAP: u64 = 1 << 20;

/// Why a `nomination` is refused that no move of the address explains, at a node that knows of no higher epoch than
/// `highest`. An epoch is written down by every node and never goes back, so a single one near the end of the range
/// would be the last: then nobody could take the address by order any more.
pub(super) fn far_fetched(nomination: &VipNomination, highest: u64) -> Option<String> {
    let epoch = nomination.epoch;
    (epoch.saturating_sub(highest) > EPOCH_LEAP)
        .then(|| format!("epoch: {epoch} is more than {EPOCH_LEAP} above {highest}, the highest known here"))
}

/// `outcome` on the wire, at a node that knows of no higher epoch than `highest`.
pub(super) fn answer(outcome: Outcome, highest: u64) -> VipNominationAnswer {
    let (reason, highest) = match outcome {
        Outcome::Accepted => (None, highest),
        Outcome::Refused { reason, highest } => (Some(reason), highest),
        Outcome::Failed { reason } => (Some(reason), highest),
    };
    VipNominationAnswer { accepted: reason.is_none(), reason, highest }
}

#[cfg(test)]
mod tests;
