//! `bench proxy`: what a request costs a load balancer, in processor time, and how long its slowest answers take.
//!
//! Processor time per request says more than requests per second where load, proxy and upstream share a few
//! processors. All proxies stand side by side, in one namespace, over the same upstreams, and take turns: the ratios
//! of neighbouring rounds hold even where the machine's speed drifts. It refuses rounds in which a request failed.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::balancer::{Balancer, Manner};
use crate::rig::environment::Environment;
use crate::rig::interrupt::Interrupt;
use crate::rig::tools::{self, IP, NGINX, SETPRIV, TASKSET, WRK};
use crate::rig::{namespace, output};
use crate::stats::{Repeated, paired_ratio};

mod load;
mod profile;
mod stand;
mod table;
mod wrk;

#[cfg(test)]
mod tests;

pub use self::load::Round;
use self::stand::{Contender, Stand};

/// What to compare, and how; see `bench proxy --help`.
#[derive(Debug, Clone, Args)]
pub struct ProxyOptions {
    /// The load balancer; the one beside this program by default.
    #[arg(long, value_name = "PATH")]
    pub lb: Option<PathBuf>,
    /// pingora-proxy with nothing in it; the one beside this program by default.
    #[arg(long, value_name = "PATH")]
    pub bare_proxy: Option<PathBuf>,
    /// Threads of each proxy, one series of rounds after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_name = "N")]
    pub threads: Vec<usize>,
    /// Rounds of each series. In each one, all proxies take their turn.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub rounds: usize,
    /// For how long a proxy is driven as hard as it can, in each round.
    #[arg(long, default_value_t = 4, value_name = "SECONDS")]
    pub seconds: u32,
    /// Connections of the load that drives it.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub connections: u32,
    /// Requests per second at which latency is measured.
    #[arg(long, default_value_t = 2_000)]
    pub rate: u32,
    /// For how long, in each round.
    #[arg(long, default_value_t = 4, value_name = "SECONDS")]
    pub rate_seconds: u32,
    /// Says where lb spends its time, with perf.
    #[arg(long)]
    pub profile: bool,
    /// Writes the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Prints the configurations and does nothing else.
    #[arg(long)]
    pub show_configs: bool,
}

/// The file that `--out` writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProxyResult {
    /// Always `proxy`.
    pub bench: String,
    /// On what and with what.
    pub environment: Environment,
    /// How long a proxy was driven in each round, in seconds.
    pub seconds: u32,
    /// Connections of the load.
    pub connections: u32,
    /// Requests per second at which latency was measured.
    pub rate: u32,
    /// One for each number of threads.
    pub series: Vec<Series>,
    /// Where lb spends its time, as perf says it; none unless asked for.
    pub profile: Option<String>,
}

/// All rounds with one number of threads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Series {
    /// Threads of each proxy.
    pub threads: usize,
    /// Each proxy's rounds and what they come to.
    pub proxies: Vec<ProxySeries>,
    /// Ratios of requests per processor second, of neighbouring rounds.
    pub ratios: Vec<Ratio>,
}

/// One proxy's rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProxySeries {
    /// Its name.
    pub proxy: String,
    /// Requests per second of processor time, driven hard.
    pub per_processor_second: Repeated,
    /// Processor time per request, driven hard, in microseconds.
    pub us_per_request: Repeated,
    /// Processor time per request at the fixed rate, in microseconds.
    pub us_per_request_at_rate: Repeated,
    /// The share of its threads' processors that it used, driven hard: near 1 if nothing else was in its way.
    pub utilisation: Repeated,
    /// 99 of 100 answers were at most this slow at the fixed rate, in milliseconds.
    pub p99_ms: Repeated,
    /// Each round.
    pub rounds: Vec<Round>,
}

/// How two proxies compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Its requests per processor second …
    pub of: String,
    /// … over this one's.
    pub over: String,
    /// The ratio in each round.
    pub ratio: Repeated,
}

impl ProxyOptions {
    fn check(&self) -> Result<()> {
        ensure!(!self.threads.is_empty(), "--threads must name a number");
        for threads in &self.threads {
            ensure!((1..=64).contains(threads), "--threads must be 1 to 64, not {threads}");
        }
        ensure!((1..=100).contains(&self.rounds), "--rounds must be 1 to 100, not {}", self.rounds);
        ensure!((1..=600).contains(&self.seconds), "--seconds must be 1 to 600, not {}", self.seconds);
        ensure!(
            (1..=10_000).contains(&self.connections),
            "--connections must be 1 to 10000, not {}",
            self.connections
        );
        ensure!((1..=20_000).contains(&self.rate), "--rate must be 1 to 20000, not {}", self.rate);
        ensure!(
            (1..=600).contains(&self.rate_seconds),
            "--rate-seconds must be 1 to 600, not {}",
            self.rate_seconds
        );
        Ok(())
    }
}

/// Who is compared.
const BALANCERS: [Balancer; 4] =
    [Balancer::Lb, Balancer::Bare, Balancer::Nginx(Manner::Load), Balancer::Haproxy(Manner::Load)];

/// Runs all rounds, says on standard error what is going on, and prints the table.
///
/// # Errors
/// Names what is missing, or the proxy that could not be run or let a request fail.
pub fn run(options: &ProxyOptions) -> Result<()> {
    options.check()?;
    if options.show_configs {
        return stand::show_configs(&BALANCERS, &options.threads);
    }
    let mut needed = vec![IP, SETPRIV, TASKSET, NGINX, WRK];
    needed.extend(BALANCERS.iter().filter_map(|balancer| balancer.tool()));
    needed.dedup();
    tools::need(&needed)?;
    output::check_writable(options.out.as_deref())?;
    let lb = tools::own(options.lb.as_deref(), "lb")?;
    let bare = tools::own(options.bare_proxy.as_deref(), "bare-proxy")?;
    namespace::remove_stale()?;
    let interrupt = Interrupt::listen()?;
    let mut result = ProxyResult {
        bench: "proxy".to_owned(),
        environment: Environment::look(&lb),
        seconds: options.seconds,
        connections: options.connections,
        rate: options.rate,
        series: Vec::new(),
        profile: None,
    };
    for (place, threads) in options.threads.iter().enumerate() {
        let mut stand = Stand::build(&BALANCERS, *threads, &lb, &bare)?;
        let rounds =
            rounds(&mut stand, options, &interrupt).with_context(|| format!("with {threads} threads"))?;
        result.series.push(series(*threads, &stand.contenders, rounds).context("no rounds")?);
        if options.profile && place == 0 {
            let text =
                profile::take(&stand, options).unwrap_or_else(|error| format!("no profile: {error:#}"));
            result.profile = Some(text);
        }
        if let Some(path) = &options.out {
            output::write_json(path, &result)?;
        }
    }
    println!("{}", table::text(&result));
    Ok(())
}

/// For each contender its rounds. Who begins changes from round to round.
fn rounds(stand: &mut Stand, options: &ProxyOptions, interrupt: &Interrupt) -> Result<Vec<Vec<Round>>> {
    let count = stand.contenders.len();
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); count];
    for number in 0..options.rounds {
        for turn in 0..count {
            interrupt.check()?;
            let place = (number + turn) % count;
            let round = load::round(stand, place, options, interrupt)?;
            let Contender { balancer, .. } = &stand.contenders[place];
            eprintln!("{} threads, round {}, {}: {round}", stand.threads, number + 1, balancer.name());
            rounds[place].push(round);
        }
    }
    Ok(rounds)
}

fn series(threads: usize, contenders: &[Contender], rounds: Vec<Vec<Round>>) -> Option<Series> {
    let mut proxies = Vec::new();
    for (contender, rounds) in contenders.iter().zip(rounds) {
        let of = |value: fn(&Round) -> f64| Repeated::of(rounds.iter().map(value));
        proxies.push(ProxySeries {
            proxy: contender.balancer.name().to_owned(),
            per_processor_second: of(Round::per_processor_second)?,
            us_per_request: of(Round::us_per_request)?,
            us_per_request_at_rate: of(|round| round.us_per_request_at_rate)?,
            utilisation: of(|round| round.utilisation)?,
            p99_ms: of(|round| round.at_rate.p99_ms)?,
            rounds,
        });
    }
    let ratios = ratios(&proxies);
    Some(Series { threads, proxies, ratios })
}

/// The first proxy over each of the others.
fn ratios(proxies: &[ProxySeries]) -> Vec<Ratio> {
    let Some((own, others)) = proxies.split_first() else { return Vec::new() };
    let values =
        |proxy: &ProxySeries| proxy.rounds.iter().map(Round::per_processor_second).collect::<Vec<_>>();
    let ratio = |other: &ProxySeries| {
        let ratio = paired_ratio(&values(own), &values(other))?;
        Some(Ratio { of: own.proxy.clone(), over: other.proxy.clone(), ratio })
    };
    others.iter().filter_map(ratio).collect()
}
