//! Requests from the client's namespace: made and judged by `bench probe`, here only started, read and ended.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bench::report::{Interval, Line, Summary};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout, timeout_at};

use crate::plan::CLIENT;
use crate::procs::{Process, send};
use crate::state::State;

/// The kinds of value that are asked for, in turn.
const PATHS: [&str; 4] = ["/int", "/bool", "/float", "/double?min=-2.5&max=1e3"];
/// How long a client waits for an answer, in milliseconds.
const TIMEOUT_MS: u64 = 5_000;
/// How long the first valid answer may take.
const FIRST_WITHIN: Duration = Duration::from_secs(20);
/// How long a probe may take to its end once it was told to end: open requests are waited for.
const END_WITHIN: Duration = Duration::from_millis(TIMEOUT_MS + 5_000);
/// Requests a second of a probe with a fixed number: a step's own clients come on top, and what is tried is not what
/// happens under more load than an emulated load balancer can carry.
const COUNT_RATE: u32 = 100;
/// How long a probe with a fixed number of requests may take.
const COUNT_WITHIN: Duration = Duration::from_secs(60);

/// Whether requests share connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connections {
    Kept,
    New,
}

/// A running probe. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Probe {
    child: Child,
    process: Process,
    rate: u32,
    started: Instant,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Probe {
    /// Starts to ask the load balancers in turn, `rate` times a second in all.
    pub(crate) fn start(state: &State, lbs: &[SocketAddr], rate: u32) -> Result<Self> {
        Self::spawn(state, lbs, rate, None, Connections::Kept)
    }

    /// Starts to ask one address, with a connection for every request.
    pub(crate) fn new_connections(state: &State, addr: SocketAddr, rate: u32) -> Result<Self> {
        Self::spawn(state, &[addr], rate, None, Connections::New)
    }

    /// Starts, and returns when the first valid answers have come: what happens next happens under load.
    pub(crate) async fn under_load(state: &State, lbs: &[SocketAddr], rate: u32) -> Result<Self> {
        let mut probe = Self::start(state, lbs, rate)?;
        let first = async {
            loop {
                match probe.next().await? {
                    Some(interval) if interval.ok > 0 => return Ok(()),
                    Some(_) => {}
                    None => bail!("the probe ended"),
                }
            }
        };
        match timeout(FIRST_WITHIN, first).await {
            Ok(result) => result?,
            Err(_) => bail!("no valid answer within {} s", FIRST_WITHIN.as_secs()),
        }
        Ok(probe)
    }

    /// Asks `count` times.
    pub(crate) async fn count(state: &State, lbs: &[SocketAddr], count: u64) -> Result<Summary> {
        Self::spawn(state, lbs, COUNT_RATE, Some(count), Connections::Kept)?.summary(COUNT_WITHIN).await
    }

    fn spawn(
        state: &State,
        lbs: &[SocketAddr],
        rate: u32,
        count: Option<u64>,
        connections: Connections,
    ) -> Result<Self> {
        let own = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(own);
        command.args(["enter", CLIENT, "--"]).arg(state.bin_dir.join("bench")).args(["probe", "--json"]);
        for lb in lbs {
            command.args(["--url", &format!("http://{lb}")]);
        }
        for path in PATHS {
            command.args(["--path", path]);
        }
        command.args(["--rate", &rate.to_string(), "--timeout-ms", &TIMEOUT_MS.to_string()]);
        if connections == Connections::New {
            command.arg("--new-connections");
        }
        if let Some(count) = count {
            command.args(["--requests", &count.to_string()]);
        }
        // A process group of its own: a Ctrl-C is for the lab, which then ends the probe in order.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).process_group(0);
        let mut child = command.spawn().context("cannot start the probe")?;
        let pid = child.id().context("the probe has ended already")?;
        let process = Process::of(pid.cast_signed()).context("the probe has ended already")?;
        let stdout = child.stdout.take().context("the probe has no output")?;
        Ok(Self { child, process, rate, started: Instant::now(), lines: BufReader::new(stdout).lines() })
    }

    async fn line(&mut self) -> Result<Option<Line>> {
        match self.lines.next_line().await.context("cannot read the probe's output")? {
            Some(text) => {
                serde_json::from_str(&text).map(Some).with_context(|| format!("the probe said: {text}"))
            }
            None => Ok(None),
        }
    }

    /// A moment from which an interval that begins there or later has nothing of what was before this call, in milliseconds
    /// of the intervals' time. That begins a little later than `started`, which is on the safe side.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The next second's result; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Interval>> {
        match self.line().await? {
            Some(Line::Interval(interval)) => Ok(Some(interval)),
            Some(Line::Summary(_)) | None => Ok(None),
        }
    }

    /// Ends it in order; what happened in all. It is an error if far fewer requests were made than should have been.
    pub(crate) async fn stop(self) -> Result<Summary> {
        let expected = self.started.elapsed().as_secs_f64() * f64::from(self.rate);
        send(self.process, Signal::INT)?;
        let summary = self.summary(END_WITHIN).await?;
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let made = summary.requests as f64;
        ensure!(made >= expected / 2.0, "only {made} requests were made where {expected:.0} were due");
        Ok(summary)
    }

    async fn summary(mut self, limit: Duration) -> Result<Summary> {
        let deadline = Instant::now() + limit;
        loop {
            match timeout_at(deadline, self.line()).await.map_err(|_| anyhow!("the probe does not end"))?? {
                Some(Line::Summary(summary)) => {
                    timeout_at(deadline, self.child.wait()).await.context("the probe does not end")??;
                    return Ok(summary);
                }
                Some(Line::Interval(_)) => {}
                None => bail!("the probe ended without a summary"),
            }
        }
    }
}

/// An error unless requests were made and none failed.
pub(crate) fn expect_none_failed(summary: &Summary) -> Result<()> {
    ensure!(summary.ok > 0, "no request was served");
    let bad = summary.failed + summary.unfinished;
    let first = summary.failures.values().min_by_key(|failure| failure.first_ms);
    let first = first.map(|failure| format!(", first {}", failure.first_error)).unwrap_or_default();
    ensure!(bad == 0, "{bad} of {} requests failed{first}", summary.requests);
    Ok(())
}

/// An error unless the answers came from exactly these VMs.
pub(crate) fn expect_instances<'a>(summary: &Summary, all: impl Iterator<Item = &'a str>) -> Result<()> {
    let seen: BTreeSet<&str> = summary.instances.keys().map(String::as_str).collect();
    let all: BTreeSet<&str> = all.collect();
    ensure!(seen == all, "answers came from {seen:?} instead of {all:?}");
    Ok(())
}

/// A summary in a few words.
pub(crate) fn brief(summary: &Summary) -> String {
    let failed = summary.failed + summary.unfinished;
    format!("{failed} of {} requests failed, slowest {:.0} ms", summary.requests, summary.slowest_ms)
}

#[cfg(test)]
mod tests;
