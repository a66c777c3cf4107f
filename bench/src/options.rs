//! The options of `bench probe`, and their check: a [`Plan`] is sound.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use http::Uri;
use http::uri::{Authority, PathAndQuery};

use crate::contract::Expectation;
use crate::timeline::Schedule;

#[cfg(test)]
mod tests;

/// What to probe and how; see `bench probe --help`.
#[derive(Debug, Clone, Args)]
pub struct ProbeOptions {
    /// Base URL to probe, such as http://10.77.11.2; several are probed in turn.
    #[arg(long = "url", required = true, value_name = "URL")]
    pub urls: Vec<String>,
    /// What to ask for: /bool, /int, /float or /double, with ?min=&max= if wanted; several are asked in turn.
    #[arg(long = "path", default_value = "/int", value_name = "PATH")]
    pub paths: Vec<String>,
    /// Requests per second, sent whether or not earlier ones were answered. Above 1000, several are sent per
    /// millisecond.
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// For how many seconds; with --requests too, whatever ends first. Without both: until SIGINT or SIGTERM.
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// How many requests.
    #[arg(long, value_name = "N")]
    pub requests: Option<u64>,
    /// How long a request may take, counted from when it was due.
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    pub timeout_ms: u64,
    /// Requests without an answer at most; one more is not sent and counts as failed (`overrun`).
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub max_in_flight: usize,
    /// Open a connection for every request, instead of keeping them.
    #[arg(long)]
    pub new_connections: bool,
    /// Time from one line to the next.
    #[arg(long, default_value_t = 1_000, value_name = "MS")]
    pub report_interval_ms: u64,
    /// Print JSON lines: an object per interval, and a last one of type `summary`.
    #[arg(long)]
    pub json: bool,
    /// Exit with status 1 if any request failed.
    #[arg(long)]
    pub fail_on_error: bool,
}

/// Checked options.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to; not empty.
    pub targets: Vec<Target>,
    /// What to ask for; not empty.
    pub questions: Vec<Question>,
    /// When.
    pub schedule: Schedule,
    /// How long a request may take, from its due time.
    pub timeout: Duration,
    /// Requests without an answer at most.
    pub max_in_flight: usize,
    /// Whether each request gets a connection of its own.
    pub new_connections: bool,
    /// Time from one report to the next.
    pub report_interval: Duration,
}

/// A base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was written.
    pub url: String,
    /// Host and, if written, port.
    pub authority: Authority,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A path and what its answers must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Path and query.
    pub path: PathAndQuery,
    /// The check of its answers.
    pub expectation: Expectation,
}

impl ProbeOptions {
    /// The plan these options describe.
    ///
    /// # Errors
    /// Names the option at fault and the value.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        ensure!(
            self.rate.is_finite() && 0.001 <= self.rate && self.rate <= 100_000.0,
            "--rate must be 0.001 to 100000, not {}",
            self.rate
        );
        let duration = self.duration.map(|seconds| {
            let within = (0.001..=31_536_000.0).contains(&seconds);
            ensure!(within, "--duration must be 0.001 to 31536000, not {seconds}");
            Ok(Duration::from_secs_f64(seconds))
        });
        ensure!(self.requests != Some(0), "--requests must be at least 1");
        ensure!(
            (1..=3_600_000).contains(&self.timeout_ms),
            "--timeout-ms must be 1 to 3600000, not {}",
            self.timeout_ms
        );
        ensure!(
            (1..=60_000).contains(&self.max_in_flight),
            "--max-in-flight must be 1 to 60000, not {}",
            self.max_in_flight
        );
        ensure!(
            (10..=3_600_000).contains(&self.report_interval_ms),
            "--report-interval-ms must be 10 to 3600000, not {}",
            self.report_interval_ms
        );
        Ok(Plan {
            targets: self
                .urls
                .iter()
                .map(|url| target(url).with_context(|| format!("--url {url}")))
                .collect::<Result<_, _>>()?,
            questions: self
                .paths
                .iter()
                .map(|path| question(path).with_context(|| format!("--path {path}")))
                .collect::<Result<_, _>>()?,
            schedule: Schedule { rate: self.rate, requests: self.requests, duration: duration.transpose()? },
            timeout: Duration::from_millis(self.timeout_ms),
            max_in_flight: self.max_in_flight,
            new_connections: self.new_connections,
            report_interval: Duration::from_millis(self.report_interval_ms),
        })
    }
}

impl Plan {
    /// Where request `number` goes and what it asks for: each target in turn, and each gets every question.
    #[allow(clippy::cast_possible_truncation)] // a remainder is below a length
    pub fn assign(&self, number: u64) -> (usize, usize) {
        let targets = self.targets.len() as u64;
        let round = number / targets;
        ((number % targets) as usize, (round % self.questions.len() as u64) as usize)
    }
}

pub(crate) fn target(url: &str) -> anyhow::Result<Target> {
    let uri: Uri = url.parse()?;
    if uri.scheme_str() != Some("http") {
        bail!("must begin with http://");
    }
    let authority = uri.authority().context("has no host")?.clone();
    ensure!(!authority.as_str().contains('@'), "must not hold a user name");
    ensure!(uri.path() == "/" && uri.query().is_none(), "must be a host and a port only; see --path");
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    ensure!(!host.is_empty(), "has no host");
    let port = authority.port_u16().unwrap_or(80);
    Ok(Target { url: url.trim_end_matches('/').to_owned(), host, port, authority })
}

pub(crate) fn question(path: &str) -> anyhow::Result<Question> {
    Ok(Question { expectation: Expectation::of(path)?, path: path.parse()? })
}
