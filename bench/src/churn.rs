//! `bench churn`: does traffic notice when the upstream set changes a hundred times a second? And does memory?
//!
//! A thousand upstreams are a thousand addresses of one namespace's loopback, behind which a few processes listen.
//! Quiet windows and windows with updates alternate, and neighbours are compared: the machine's mood is the same for
//! both. Then updates are pushed as fast as they are taken, up to a number that would show a leak.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::rig::environment::Environment;
use crate::rig::interrupt::Interrupt;
use crate::rig::tools::{self, IP, SETPRIV};
use crate::rig::{namespace, output};
use crate::samples::Spread;
use crate::stats::{Repeated, paired_ratio};

mod membership;
mod scene;
mod table;

#[cfg(test)]
mod tests;

use self::scene::Scene;

/// What to do, and how much of it; see `bench churn --help`.
#[derive(Debug, Clone, Args)]
pub struct ChurnOptions {
    /// The load balancer; the one beside this program by default.
    #[arg(long, value_name = "PATH")]
    pub lb: Option<PathBuf>,
    /// The upstream; the one beside this program by default.
    #[arg(long, value_name = "PATH")]
    pub rng_service: Option<PathBuf>,
    /// Upstreams in the set, at any time.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub upstreams: usize,
    /// Processes that answer for all of them.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub processes: usize,
    /// How many upstreams each update removes, and how many it adds.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub changes: usize,
    /// Updates per second in the windows that have them.
    #[arg(long, default_value_t = 100)]
    pub update_rate: u32,
    /// Requests per second, all the time.
    #[arg(long, default_value_t = 500)]
    pub rate: u32,
    /// Pairs of windows: a quiet one, and one with updates.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
    /// How long a window is.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub seconds: u32,
    /// Updates in all: what the windows leave of them is pushed as fast as it is taken.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub updates: u64,
    /// Threads of the load balancer.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: usize,
    /// Writes the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The file that `--out` writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChurnResult {
    /// Always `churn`.
    pub bench: String,
    /// On what and with what.
    pub environment: Environment,
    /// Upstreams in the set.
    pub upstreams: usize,
    /// How many each update removed and added.
    pub changes: usize,
    /// Updates per second in windows.
    pub update_rate: u32,
    /// Requests per second.
    pub rate: u32,
    /// How long a window was, in seconds.
    pub seconds: u32,
    /// The load balancer's threads.
    pub threads: usize,
    /// Pairs of windows.
    pub rounds: Vec<Round>,
    /// p99 with updates over p99 without, of neighbouring windows.
    pub p99_ratio: Repeated,
    /// The rest, as fast as it was taken; none if the windows had all.
    pub flood: Option<Flood>,
    /// Requests that failed, in all.
    pub failed: u64,
    /// Resident memory of the load balancer over the updates.
    pub memory: Vec<Memory>,
}

/// A quiet window and one with updates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// What clients saw without updates.
    pub quiet: Spread,
    /// What they saw with updates.
    pub busy: Spread,
    /// Updates that were taken.
    pub updates: u64,
    /// How long an update took until it was acknowledged, in milliseconds.
    pub update_ms: Repeated,
}

/// Updates without a pause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flood {
    /// How many.
    pub updates: u64,
    /// For how long, in seconds.
    pub seconds: f64,
    /// What clients saw meanwhile.
    pub clients: Spread,
}

/// Memory at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Updates so far.
    pub updates: u64,
    /// Resident bytes.
    pub resident_bytes: u64,
}

impl ChurnOptions {
    fn check(&self) -> Result<()> {
        ensure!(
            (2..=4_096).contains(&self.upstreams),
            "--upstreams must be 2 to 4096, not {}",
            self.upstreams
        );
        ensure!((1..=64).contains(&self.processes), "--processes must be 1 to 64, not {}", self.processes);
        ensure!(
            (1..self.upstreams).contains(&self.changes),
            "--changes must be 1 to {} (below --upstreams), not {}",
            self.upstreams - 1,
            self.changes
        );
        ensure!(
            (1..=1_000).contains(&self.update_rate),
            "--update-rate must be 1 to 1000, not {}",
            self.update_rate
        );
        ensure!((1..=20_000).contains(&self.rate), "--rate must be 1 to 20000, not {}", self.rate);
        ensure!((1..=100).contains(&self.rounds), "--rounds must be 1 to 100, not {}", self.rounds);
        ensure!((1..=600).contains(&self.seconds), "--seconds must be 1 to 600, not {}", self.seconds);
        ensure!(self.updates <= 100_000_000, "--updates must be at most 100000000, not {}", self.updates);
        ensure!((1..=64).contains(&self.threads), "--threads must be 1 to 64, not {}", self.threads);
        Ok(())
    }
}

/// Runs it, says on standard error what is going on, and prints the table.
///
/// # Errors
/// Names what is missing, the update that was refused, or the program that ended. That requests fail is no error.
pub fn run(options: &ChurnOptions) -> Result<()> {
    options.check()?;
    tools::need(&[IP, SETPRIV])?;
    output::check_writable(options.out.as_deref())?;
    let lb = tools::own(options.lb.as_deref(), "lb")?;
    let rng_service = tools::own(options.rng_service.as_deref(), "rng-service")?;
    namespace::remove_stale()?;
    let interrupt = Interrupt::listen()?;
    let environment = Environment::look(&lb);
    let mut scene = Scene::build(options, &lb, &rng_service, &interrupt)?;
    let warm = scene.quiet()?;
    eprintln!("warm: p99 {:.2} ms, {} failed", warm.p99_ms, warm.failed);
    scene.note_memory()?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let quiet = scene.quiet()?;
        let (busy, updates_ms) = scene.busy()?;
        let round = Round {
            quiet,
            busy,
            updates: updates_ms.len() as u64,
            update_ms: Repeated::of(updates_ms).context("no update in a whole window")?,
        };
        let (quiet, busy, updates) = (round.quiet.p99_ms, round.busy.p99_ms, round.updates);
        let failed = round.quiet.failed + round.busy.failed;
        eprintln!(
            "round {number}: p99 {quiet:.2} ms quiet, {busy:.2} ms with {updates} updates, {failed} failed"
        );
        rounds.push(round);
        scene.note_memory()?;
    }
    let flood = scene.flood(options.updates)?;
    let p99 = |of: fn(&Round) -> f64| rounds.iter().map(of).collect::<Vec<_>>();
    let ratio = paired_ratio(&p99(|round| round.busy.p99_ms), &p99(|round| round.quiet.p99_ms));
    let in_rounds: u64 = rounds.iter().map(|round| round.quiet.failed + round.busy.failed).sum();
    let result = ChurnResult {
        bench: "churn".to_owned(),
        environment,
        upstreams: options.upstreams,
        changes: options.changes,
        update_rate: options.update_rate,
        rate: options.rate,
        seconds: options.seconds,
        threads: options.threads,
        p99_ratio: ratio.context("no latency in a quiet window")?,
        failed: warm.failed + in_rounds + flood.as_ref().map_or(0, |flood| flood.clients.failed),
        rounds,
        flood,
        memory: scene.memory().to_vec(),
    };
    if let Some(path) = &options.out {
        output::write_json(path, &result)?;
    }
    println!("{}", table::text(&result));
    Ok(())
}
