//! `bench upstream-loss`: one of three upstream hosts is lost under load. What do clients see, with which load
//! balancer?
//!
//! Each run has hosts of its own: three upstreams, a balancer, and a client, on one LAN. Nothing is shared with the
//! run before, so nothing is remembered. It refuses to average failures away: the worst run is shown beside the median.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::balancer::{Balancer, Manner};
use crate::rig::environment::Environment;
use crate::rig::interrupt::Interrupt;
use crate::rig::tools::{self, IP, SETPRIV};
use crate::rig::{namespace, output};

mod case;
mod table;

pub use self::case::{Case, Fault, Loss, Push};

/// What to compare, and how; see `bench upstream-loss --help`.
#[derive(Debug, Clone, Args)]
pub struct LossOptions {
    /// The load balancer; the one beside this program by default.
    #[arg(long, value_name = "PATH")]
    pub lb: Option<PathBuf>,
    /// The upstream; the one beside this program by default.
    #[arg(long, value_name = "PATH")]
    pub rng_service: Option<PathBuf>,
    /// Only these; all by default.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    pub only: Vec<Contender>,
    /// Only these faults; all by default.
    #[arg(long = "fault", value_enum, value_delimiter = ',', value_name = "FAULT")]
    pub faults: Vec<Fault>,
    /// Runs of each case.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub repeat: usize,
    /// Requests per second.
    #[arg(long, default_value_t = 500)]
    pub rate: u32,
    /// For how many seconds requests become due.
    #[arg(long, default_value_t = 12, value_name = "SECONDS")]
    pub duration: u32,
    /// In which second the upstream is lost.
    #[arg(long, default_value_t = 3, value_name = "SECOND")]
    pub fault_at: u32,
    /// How long after the loss the control plane pushes the set without it.
    #[arg(long, default_value_t = 10, value_name = "MS")]
    pub push_after_ms: u64,
    /// How long the client waits for an answer.
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    pub timeout_ms: u64,
    /// Requests that take longer are slow.
    #[arg(long, default_value_t = 100, value_name = "MS")]
    pub slow_ms: u64,
    /// The client opens a connection for every request, instead of keeping them.
    #[arg(long)]
    pub new_connections: bool,
    /// Writes the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exits with 1 if a request failed with the project's own load balancer.
    #[arg(long)]
    pub fail_on_error: bool,
    /// Prints the configurations and does nothing else.
    #[arg(long)]
    pub show_configs: bool,
}

/// Who can be chosen with `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Contender {
    /// The project's own.
    Lb,
    /// nginx, as it comes.
    NginxDefault,
    /// nginx, tuned.
    NginxTuned,
    /// HAProxy, as it comes.
    HaproxyDefault,
    /// HAProxy, tuned.
    HaproxyTuned,
    /// HAProxy, tuned, but without `shutdown-sessions`.
    HaproxyKeeping,
}

impl Contender {
    const ALL: [Self; 6] = [
        Self::Lb,
        Self::NginxDefault,
        Self::NginxTuned,
        Self::HaproxyDefault,
        Self::HaproxyTuned,
        Self::HaproxyKeeping,
    ];

    const fn balancer(self) -> Balancer {
        match self {
            Self::Lb => Balancer::Lb,
            Self::NginxDefault => Balancer::Nginx(Manner::Default),
            Self::NginxTuned => Balancer::Nginx(Manner::Tuned),
            Self::HaproxyDefault => Balancer::Haproxy(Manner::Default),
            Self::HaproxyTuned => Balancer::Haproxy(Manner::Tuned),
            Self::HaproxyKeeping => Balancer::HaproxyKeeping,
        }
    }
}

/// The file that `--out` writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LossResult {
    /// Always `upstream-loss`.
    pub bench: String,
    /// On what and with what.
    pub environment: Environment,
    /// Requests per second.
    pub rate: u32,
    /// For how many seconds.
    pub duration_s: u32,
    /// In which second the upstream was lost.
    pub fault_at_s: u32,
    /// How long after that the set without it was pushed, where it was.
    pub push_after_ms: u64,
    /// How long the client waited.
    pub timeout_ms: u64,
    /// What is slow.
    pub slow_ms: u64,
    /// Whether every request had a connection of its own.
    pub new_connections: bool,
    /// Every case, with all of its runs.
    pub cases: Vec<CaseResult>,
}

/// What one case gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaseResult {
    /// The balancer's name.
    pub balancer: String,
    /// What happened to the upstream.
    pub fault: Fault,
    /// Whether the control plane pushed the set without it.
    pub push: Push,
    /// Each run.
    pub runs: Vec<Loss>,
}

impl LossOptions {
    fn check(&self) -> Result<()> {
        ensure!((1..=100).contains(&self.repeat), "--repeat must be 1 to 100, not {}", self.repeat);
        ensure!((1..=5_000).contains(&self.rate), "--rate must be 1 to 5000, not {}", self.rate);
        ensure!((2..=600).contains(&self.duration), "--duration must be 2 to 600, not {}", self.duration);
        ensure!(
            (1..self.duration).contains(&self.fault_at),
            "--fault-at must be 1 to {} (before --duration), not {}",
            self.duration - 1,
            self.fault_at
        );
        ensure!(
            self.push_after_ms <= 60_000,
            "--push-after-ms must be at most 60000, not {}",
            self.push_after_ms
        );
        ensure!(
            (1..=600_000).contains(&self.timeout_ms),
            "--timeout-ms must be 1 to 600000, not {}",
            self.timeout_ms
        );
        ensure!((1..=600_000).contains(&self.slow_ms), "--slow-ms must be 1 to 600000, not {}", self.slow_ms);
        Ok(())
    }

    /// The project's own one with and without help; the others know no such thing.
    fn cases(&self) -> Vec<(Balancer, Fault, Push)> {
        let only = |contender: &Contender| self.only.is_empty() || self.only.contains(contender);
        let contenders: Vec<_> = Contender::ALL.into_iter().filter(only).map(Contender::balancer).collect();
        let faults =
            Fault::ALL.into_iter().filter(|fault| self.faults.is_empty() || self.faults.contains(fault));
        let cases = faults.flat_map(|fault| {
            contenders.iter().flat_map(move |balancer| {
                let pushes: &[Push] =
                    if *balancer == Balancer::Lb { &[Push::None, Push::Removal] } else { &[Push::None] };
                pushes.iter().map(move |push| (*balancer, fault, *push))
            })
        });
        cases.collect()
    }
}

/// Runs all cases, says on standard error what is going on, and prints the table. Answers how many requests failed
/// with the project's own load balancer.
///
/// # Errors
/// Names what is missing, or the case that could not be run. That requests fail is no error.
pub fn run(options: &LossOptions) -> Result<u64> {
    options.check()?;
    let cases = options.cases();
    if options.show_configs {
        case::show_configs(&cases)?;
        return Ok(0);
    }
    let mut needed = vec![IP, SETPRIV];
    needed.extend(cases.iter().filter_map(|(balancer, ..)| balancer.tool()));
    tools::need(&needed)?;
    output::check_writable(options.out.as_deref())?;
    let lb = tools::own(options.lb.as_deref(), "lb")?;
    let rng_service = tools::own(options.rng_service.as_deref(), "rng-service")?;
    namespace::remove_stale()?;
    let interrupt = Interrupt::listen()?;
    let mut result = LossResult {
        bench: "upstream-loss".to_owned(),
        environment: Environment::look(&lb),
        rate: options.rate,
        duration_s: options.duration,
        fault_at_s: options.fault_at,
        push_after_ms: options.push_after_ms,
        timeout_ms: options.timeout_ms,
        slow_ms: options.slow_ms,
        new_connections: options.new_connections,
        cases: Vec::new(),
    };
    for (balancer, fault, push) in cases {
        let case = Case { balancer, fault, push, options, lb: &lb, rng_service: &rng_service };
        let mut runs = Vec::new();
        for number in 1..=options.repeat {
            interrupt.check()?;
            let run = case.run(&interrupt).with_context(|| format!("{case}"))?;
            eprintln!("{case}, run {number} of {}: {run}", options.repeat);
            runs.push(run);
        }
        result.cases.push(CaseResult { balancer: balancer.name().to_owned(), fault, push, runs });
        // After every case: what was measured is not lost with the next.
        if let Some(path) = &options.out {
            output::write_json(path, &result)?;
        }
    }
    println!("{}", table::text(&result));
    let own = result.cases.iter().filter(|case| case.balancer == Balancer::Lb.name());
    Ok(own.flat_map(|case| &case.runs).map(|run| run.all.failed).sum())
}

#[cfg(test)]
mod tests;
