//! `bench failover-vip`: one address, several hosts, and the owner or a part of it fails. What do clients see that open a
//! new connection for every request, and does ever more than one host answer for the address?
//!
//! The project's own cluster is a lab that is up already; the yardstick is built here. All are treated alike: the same
//! clients, the same listener on the LAN, everything settled before each fault. It refuses to average failures
//! away: the worst run is shown beside the median.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::rig::environment::Environment;
use crate::rig::interrupt::Interrupt;
use crate::rig::tools::{self, HAPROXY, IP, KEEPALIVED, SETPRIV};
use crate::rig::{namespace, output};

mod arp;
mod claims;
mod fault;
mod keepalived;
mod lab;
mod measure;
mod observe;
mod outage;
mod system;
mod table;
mod watch;

pub use self::arp::{Mac, request as arp_request};
pub use self::claims::{Announcement, Claims, Double, Held, Manner};
pub use self::fault::Fault;
pub use self::measure::Run;
pub use self::observe::{Clients, Observation, Observed, Stage};
pub use self::outage::Gap;
pub use self::watch::{Lan, mac_of};

use self::keepalived::{Keepalived, Pace};
use self::lab::Lab;
use self::system::{System, Trial};

/// What to compare, and how; see `bench failover-vip --help`.
#[derive(Debug, Clone, Args)]
pub struct VipOptions {
    /// Only these; all by default.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    pub only: Vec<Contender>,
    /// Only these faults; all by default. `host-cut` and `host-back` go together.
    #[arg(long = "fault", value_enum, value_delimiter = ',', value_name = "FAULT")]
    pub faults: Vec<Fault>,
    /// How often each fault happens.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub repeat: usize,
    /// New connections per second.
    #[arg(long, default_value_t = 100)]
    pub rate: u32,
    /// How long the client waits for an answer.
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    pub timeout_ms: u64,
    /// Requests that take longer are slow.
    #[arg(long, default_value_t = 100, value_name = "MS")]
    pub slow_ms: u64,
    /// How long everything may take to be well before and after a fault.
    #[arg(long, default_value_t = 180, value_name = "SECONDS")]
    pub settle_within: u64,
    /// The lab's program; the one beside this program by default.
    #[arg(long, value_name = "PATH")]
    pub lab: Option<PathBuf>,
    /// The service of the yardstick; the one beside this program by default.
    #[arg(long, value_name = "PATH")]
    pub rng_service: Option<PathBuf>,
    /// Writes the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Prints the yardstick's configurations and does nothing else.
    #[arg(long)]
    pub show_configs: bool,
}

/// Who can be chosen with `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Contender {
    /// The project's own, in the lab that is up.
    Phalanx,
    /// keepalived and HAProxy, with adverts every second.
    #[value(name = "keepalived-1s")]
    KeepalivedSecond,
    /// keepalived and HAProxy, with adverts every 100 ms.
    #[value(name = "keepalived-100ms")]
    KeepalivedTenth,
}

impl Contender {
    const ALL: [Self; 3] = [Self::Phalanx, Self::KeepalivedSecond, Self::KeepalivedTenth];

    const fn pace(self) -> Option<Pace> {
        match self {
            Self::Phalanx => None,
            Self::KeepalivedSecond => Some(Pace::Second),
            Self::KeepalivedTenth => Some(Pace::Tenth),
        }
    }

    fn name(self) -> String {
        self.pace().map_or_else(|| "phalanx".to_owned(), |pace| pace.to_string())
    }
}

/// The file that `--out` writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VipResult {
    /// Always `failover-vip`.
    pub bench: String,
    /// On what and with what.
    pub environment: Environment,
    /// New connections per second.
    pub rate: u32,
    /// How long the client waited.
    pub timeout_ms: u64,
    /// What is slow.
    pub slow_ms: u64,
    /// The pause between two questions for the address.
    pub ask_every_ms: u64,
    /// Every case, with all of its runs.
    pub cases: Vec<CaseResult>,
}

/// What one case gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaseResult {
    /// The system's name.
    pub system: String,
    /// What happened to the owner.
    pub fault: Fault,
    /// Each run.
    pub runs: Vec<Run>,
}

impl VipOptions {
    fn check(&self) -> Result<()> {
        ensure!((1..=1_000).contains(&self.repeat), "--repeat must be 1 to 1000, not {}", self.repeat);
        ensure!((1..=1_000).contains(&self.rate), "--rate must be 1 to 1000, not {}", self.rate);
        ensure!(
            (1..=60_000).contains(&self.timeout_ms),
            "--timeout-ms must be 1 to 60000, not {}",
            self.timeout_ms
        );
        ensure!((1..=60_000).contains(&self.slow_ms), "--slow-ms must be 1 to 60000, not {}", self.slow_ms);
        ensure!(
            (1..=3_600).contains(&self.settle_within),
            "--settle-within must be 1 to 3600, not {}",
            self.settle_within
        );
        Ok(())
    }

    fn contenders(&self) -> Vec<Contender> {
        let chosen = |contender: &Contender| self.only.is_empty() || self.only.contains(contender);
        Contender::ALL.into_iter().filter(chosen).collect()
    }

    /// Those of `possible` that were asked for; a sequel brings what it follows.
    fn chosen(&self, possible: &[Fault]) -> Vec<Fault> {
        let sequels: Vec<Fault> = Fault::ALL.into_iter().filter_map(Fault::sequel).collect();
        let chosen = |fault: &Fault| {
            let named = |fault: &Fault| self.faults.is_empty() || self.faults.contains(fault);
            named(fault) || fault.sequel().is_some_and(|sequel| named(&sequel))
        };
        let first = possible.iter().filter(|fault| !sequels.contains(fault));
        first.filter(|fault| chosen(fault)).copied().collect()
    }
}

/// Runs all cases, says on standard error what is going on, and prints the table.
///
/// # Errors
/// Names what is missing, or the case that could not be run. That requests fail is no error.
pub fn run(options: &VipOptions) -> Result<()> {
    options.check()?;
    let contenders = options.contenders();
    let yardstick = contenders.iter().any(|contender| contender.pace().is_some());
    if options.show_configs {
        contenders.iter().filter_map(|contender| contender.pace()).for_each(keepalived::show_config);
        return Ok(());
    }
    let mut needed = vec![IP, SETPRIV];
    if yardstick {
        needed.extend([HAPROXY, KEEPALIVED]);
    }
    tools::need(&needed)?;
    output::check_writable(options.out.as_deref())?;
    let rng_service =
        yardstick.then(|| tools::own(options.rng_service.as_deref(), "rng-service")).transpose()?;
    let lab = contenders
        .contains(&Contender::Phalanx)
        .then(|| tools::own(options.lab.as_deref(), "lab").and_then(|program| Lab::find(&program)))
        .transpose()
        .context("phalanx (leave it out with --only)")?;
    namespace::remove_stale()?;
    let interrupt = Interrupt::listen()?;
    let mut systems: Vec<(Contender, Box<dyn System>)> = Vec::new();
    systems.extend(lab.map(|lab| (Contender::Phalanx, Box::new(lab) as Box<dyn System>)));
    for (contender, pace) in contenders.iter().filter_map(|one| one.pace().map(|pace| (*one, pace))) {
        let rng_service = rng_service.as_deref().context("no service")?;
        let system = Keepalived::build(pace, rng_service).with_context(|| pace.to_string())?;
        systems.push((contender, Box::new(system)));
    }
    let result = measure(options, &mut systems, &interrupt)?;
    println!("{}", table::text(&result));
    Ok(())
}

/// Rounds in which every system has its turn with every fault, so that a machine that becomes slower does so for all.
fn measure(
    options: &VipOptions,
    systems: &mut [(Contender, Box<dyn System>)],
    interrupt: &Interrupt,
) -> Result<VipResult> {
    let trial = Trial {
        clients: Clients {
            rate: options.rate,
            timeout: Duration::from_millis(options.timeout_ms),
            slow: Duration::from_millis(options.slow_ms),
        },
        settle_within: Duration::from_secs(options.settle_within),
        interrupt,
    };
    let mut report = Report::new(options);
    for number in 1..=options.repeat {
        for fault in Fault::ALL {
            for (contender, system) in &mut *systems {
                if !options.chosen(system.faults()).contains(&fault) {
                    continue;
                }
                interrupt.check()?;
                let name = contender.name();
                let runs = trial.runs(system.as_mut(), fault);
                for (fault, run) in runs.with_context(|| format!("{name}, {fault}, run {number}"))? {
                    eprintln!("{name}, {fault}, run {number} of {}: {run}", options.repeat);
                    report.add(&name, fault, run)?;
                }
            }
        }
    }
    Ok(report.result)
}

/// The result so far, on disk after every run: what was measured is not lost with the next.
#[derive(Debug)]
struct Report<'a> {
    result: VipResult,
    out: Option<&'a std::path::Path>,
}

impl<'a> Report<'a> {
    fn new(options: &'a VipOptions) -> Self {
        let own = std::env::current_exe().unwrap_or_default();
        let result = VipResult {
            bench: "failover-vip".to_owned(),
            // Of the load balancer's program, only the one in the image counts.
            environment: Environment { lb: None, ..Environment::look(&own) },
            rate: options.rate,
            timeout_ms: options.timeout_ms,
            slow_ms: options.slow_ms,
            ask_every_ms: u64::try_from(watch::ASK_EVERY.as_millis()).unwrap_or(u64::MAX),
            cases: Vec::new(),
        };
        Self { result, out: options.out.as_deref() }
    }

    fn add(&mut self, system: &str, fault: Fault, run: Run) -> Result<()> {
        let cases = &mut self.result.cases;
        match cases.iter_mut().find(|case| case.system == system && case.fault == fault) {
            Some(case) => case.runs.push(run),
            None => cases.push(CaseResult { system: system.to_owned(), fault, runs: vec![run] }),
        }
        self.out.map_or(Ok(()), |path| output::write_json(path, &self.result))
    }
}

#[cfg(test)]
mod tests;
