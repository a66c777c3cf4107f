//! What is tried: a system with one address, and the script of a fault in it.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::fault::Fault;
use super::measure::{Clock, Marks, Run, run};
use super::observe::{Clients, Stage};
use crate::rig::interrupt::Interrupt;

/// A system that serves one address from several hosts.
pub(super) trait System {
    /// Where it plays.
    fn stage(&self) -> &Stage;

    /// What can happen to it.
    fn faults(&self) -> &[Fault];

    /// Whose the address is, if everything is well.
    ///
    /// # Errors
    /// What is not well yet.
    fn settled(&self) -> Result<String>;

    /// Does it to the host called `owner`.
    fn strike(&mut self, fault: Fault, owner: &str) -> Result<()>;

    /// How long after that it is undone.
    fn hold(&self, fault: Fault) -> Duration;

    /// Undoes what does not heal by itself.
    fn undo(&mut self, fault: Fault, owner: &str) -> Result<()>;
}

/// How long a system may take to notice a fault. Before that all seems well, and means nothing.
const NOTICE: Duration = Duration::from_secs(3);

/// How faults are measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial<'a> {
    pub(super) clients: Clients,
    /// How long everything may take to be well.
    pub(super) settle_within: Duration,
    pub(super) interrupt: &'a Interrupt,
}

impl Trial<'_> {
    /// Does a fault to the owner, and undoes it. One whose undoing is of interest is two runs; in the second the
    /// undoing counts as the fault.
    pub(super) fn runs(&self, system: &mut dyn System, fault: Fault) -> Result<Vec<(Fault, Run)>> {
        let stage = system.stage().clone();
        let before = Clock::start(self.interrupt);
        let owner = before.wait_for("everything well", self.settle_within, || system.settled())?;
        let measured = run(&stage, self.clients, self.interrupt, |clock| {
            let struck = clock.now();
            system.strike(fault, &owner).with_context(|| format!("{fault} at {owner}"))?;
            clock.sleep_until(clock.now() + system.hold(fault).max(NOTICE))?;
            if fault.sequel().is_some() {
                // Whose it is now is seen after the undoing.
                return Ok(marks(struck, clock.now(), &owner, String::new()));
            }
            self.end(clock, system, fault, struck, &owner)
        });
        let first = match measured {
            Ok(first) => first,
            Err(error) => {
                // A host stays cut off otherwise, or a process stopped.
                let _ = system.undo(fault, &owner);
                return Err(error);
            }
        };
        let Some(sequel) = fault.sequel() else { return Ok(vec![(fault, first)]) };
        let second = run(&stage, self.clients, self.interrupt, |clock| {
            let begun = clock.now();
            self.end(clock, system, fault, begun, &owner)
        });
        if second.is_err() {
            let _ = system.undo(fault, &owner);
        }
        let mut second = second.with_context(|| sequel.to_string())?;
        // Nobody moved it back in between, or the second run says so in `held`.
        let mut first = first;
        first.owner_after = holder(&first).unwrap_or_default();
        first.announced_ms = first.arp.announced_ms(&first.owner_after, 0.0);
        second.owner_before.clone_from(&first.owner_after);
        Ok(vec![(fault, first), (sequel, second)])
    }

    fn end(
        &self,
        clock: &Clock<'_>,
        system: &mut dyn System,
        fault: Fault,
        struck: Duration,
        owner: &str,
    ) -> Result<Marks> {
        system.undo(fault, owner).with_context(|| format!("after {fault} at {owner}"))?;
        let after = clock.wait_for("everything well", self.settle_within, || system.settled())?;
        Ok(marks(struck, clock.now(), owner, after))
    }
}

/// Who held the address last, as ARP shows it.
fn holder(run: &Run) -> Option<String> {
    let last = run.arp.held.iter().max_by(|one, other| one.to_ms.total_cmp(&other.to_ms));
    last.map(|held| held.who.clone())
}

fn marks(fault: Duration, settled: Duration, owner: &str, after: String) -> Marks {
    Marks { fault, settled, owner_before: owner.to_owned(), owner_after: after }
}
