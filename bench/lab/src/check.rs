//! `check`: a cluster of its own is put up, tried, and taken down; one line per step.
//!
//! A step that fails does not end the check: the next ones still run if the cluster can settle again, and the
//! cluster is taken down in every case.

mod address;
mod cut;
mod faults;
mod job;
mod mistakes;
mod snapshot;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::cli::UpArgs;
use crate::interrupt::Interrupt;
use crate::state::{Lock, State};
use crate::steps::{say, seconds};
use crate::{logs, teardown, up};
use snapshot::{Snapshot, Witness};

/// What the steps so far have shown.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: u32,
    failed: u32,
    /// Only steps whose names contain this.
    only: Option<String>,
}

impl Report {
    /// Runs one step, if it was asked for, and prints its line: what it found, or why it failed.
    pub(crate) async fn step<T: Detail>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        if self.only.as_ref().is_some_and(|only| !name.contains(only)) {
            return None;
        }
        self.always(name, work).await
    }

    /// Runs one step, whatever was asked for.
    async fn always<T: Detail>(&mut self, name: &str, work: impl Future<Output = Result<T>>) -> Option<T> {
        let start = Instant::now();
        let result = work.await;
        let took = seconds(start.elapsed());
        match result {
            Ok(found) => {
                self.passed += 1;
                let detail = found.detail();
                let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
                say(format!("ok      {took}  {name}{detail}"));
                Some(found)
            }
            Err(error) => {
                self.failed += 1;
                say(format!("FAILED  {took}  {name}: {error:#}"));
                None
            }
        }
    }
}

/// What a step's line says of its result.
pub(crate) trait Detail {
    /// Empty for nothing.
    fn detail(&self) -> String;
}

impl Detail for () {
    fn detail(&self) -> String {
        String::new()
    }
}

impl Detail for String {
    fn detail(&self) -> String {
        self.clone()
    }
}

impl Detail for State {
    fn detail(&self) -> String {
        format!("network {}", self.plan.net)
    }
}

/// Runs the check; success only if every step passed.
pub(crate) async fn run(faults: bool, only: Option<String>) -> Result<ExitCode> {
    let mut interrupt = Interrupt::catch()?;
    // The lock's directory goes, too: nothing of a lab may be in the picture of before.
    teardown::remove(teardown::make_room().await?).await?;
    let before = Snapshot::take(&Witness::default())?;
    let mut report = Report { only, ..Report::default() };
    // A /29 holds so few VMs that exhausting it takes seconds.
    let last_pool_prefix = if faults { 29 } else { 24 };
    let args = UpArgs { hosts: 2, services: 2, net: None, last_pool_prefix };
    let state = report
        .always("two hosts with two services each come up", Box::pin(up::up(&args, &mut interrupt)))
        .await;
    let mut interrupted = None;
    if let Some(state) = &state {
        tokio::select! {
            () = steps(&mut report, state, faults) => {}
            name = interrupt.wait() => interrupted = Some(name),
        }
        if let Some(name) = interrupted {
            report.failed += 1;
            say(format!("FAILED             interrupted by {name}"));
        }
        if report.failed > 0 {
            address::print_events(&state.plan).await;
            logs::print_tails(&state.plan);
        }
    }
    let left = "down: no process, namespace, mount, link, route or file is left";
    report
        .always(left, async {
            let witness = Witness::hold();
            if teardown::anything_left() || state.is_some() {
                teardown::remove(Lock::take()?).await?;
            }
            before.expect_same(&Snapshot::take(&witness)?)
        })
        .await;
    say(format!("{} passed, {} failed", report.passed, report.failed));
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn steps(report: &mut Report, state: &State, faults: bool) {
    if faults {
        faults::steps(report, state).await;
    } else {
        job::steps(report, state).await;
    }
}
