//! Clients that open a connection to the address for every request, and a listener on the LAN, for as long as somebody
//! else breaks things.
//!
//! Both work on threads of their own. It refuses to judge: it hands over what was seen.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use super::arp::Mac;
use super::claims::{Claim, Claims};
use super::outage::{Gap, longest_gap};
use super::watch::{Lan, Watch};
use crate::options::{Plan, question, target};
use crate::probe::{self, Stop};
use crate::report::Summary;
use crate::rig::namespace;
use crate::samples::Sample;
use crate::timeline::Schedule;

/// What is asked for.
const PATH: &str = "/int";

/// Where it plays.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The client's namespace.
    pub client: String,
    /// The LAN, with the address.
    pub lan: Lan,
    /// The hosts by their hardware addresses.
    pub names: BTreeMap<Mac, String>,
}

/// How clients ask.
#[derive(Debug, Clone, Copy)]
pub struct Clients {
    /// New connections per second.
    pub rate: u32,
    /// How long one waits for its answer.
    pub timeout: Duration,
    /// Answers that take longer are slow.
    pub slow: Duration,
}

/// Clients and a listener at work. Dropped, they end, and what they saw is lost.
#[derive(Debug)]
pub struct Observation {
    start: Instant,
    names: BTreeMap<Mac, String>,
    order: watch::Sender<Stop>,
    clients: Option<JoinHandle<Result<Probed>>>,
    /// While it listens, the switch hands everything that passes to all listeners in its namespace.
    listener: Watch,
}

/// Every request, and all of them together.
type Probed = (Vec<Sample>, Summary);

/// What was seen. Times count from the start.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Every request.
    pub samples: Vec<Sample>,
    /// All of them together.
    pub summary: Summary,
    claims: Vec<Claim>,
    asked: u64,
    names: BTreeMap<Mac, String>,
}

impl Observation {
    /// Begins.
    ///
    /// # Errors
    /// When there is no such LAN, or this is not root.
    pub fn start(stage: &Stage, clients: Clients) -> Result<Self> {
        let plan = plan(stage, clients)?;
        let start = Instant::now();
        let listener = Watch::start(start, &stage.lan)?;
        let (order, ordered) = watch::channel(Stop::Run);
        let client = stage.client.clone();
        let clients = std::thread::Builder::new()
            .name("clients".to_owned())
            .spawn(move || probed(&client, start, plan, ordered))?;
        Ok(Self { start, names: stage.names.clone(), order, clients: Some(clients), listener })
    }

    /// When it began.
    pub const fn started(&self) -> Instant {
        self.start
    }

    /// Since then.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Ends it, after the requests that are open are over.
    ///
    /// # Errors
    /// When one of the two could not do its work.
    pub fn finish(mut self) -> Result<Observed> {
        self.order.send_replace(Stop::Finish);
        let clients = self.clients.take().context("the clients have ended")?;
        let probed = clients.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let seen = self.listener.end()?;
        let (samples, summary) = probed?;
        let names = std::mem::take(&mut self.names);
        Ok(Observed { samples, summary, claims: seen.claims, asked: seen.asked, names })
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.order.send_replace(Stop::Abandon);
        if let Some(clients) = self.clients.take() {
            let _ = clients.join();
        }
    }
}

impl Observed {
    /// Whether an answer came before `at`.
    pub fn served_before(&self, at: Duration) -> bool {
        self.samples.iter().any(|sample| sample.failure.is_none() && sample.end() < at)
    }

    /// The longest time from one answer to the next, of those that end after `from`; see [`Gap`].
    pub fn longest_gap(&self, from: Duration, until: Duration) -> Gap {
        longest_gap(&self.samples, from, until)
    }

    /// What ARP showed, in milliseconds from `fault`.
    pub fn claims(&self, fault: Duration) -> Claims {
        Claims::of(&self.claims, self.asked, fault, &self.names)
    }

    /// What the first failure said.
    pub fn first_error(&self) -> Option<&str> {
        let first = self.summary.failures.values().min_by_key(|failure| failure.first_ms);
        first.map(|failure| failure.first_error.as_str())
    }
}

fn probed(namespace: &str, start: Instant, plan: Plan, stop: watch::Receiver<Stop>) -> Result<Probed> {
    namespace::block_on(namespace, async || {
        let mut samples = Vec::new();
        let start = tokio::time::Instant::from_std(start);
        let summary = probe::run_from(start, plan, stop, |_| Ok(()), |sample| samples.push(sample)).await?;
        Ok((samples, summary))
    })
    .context("the clients")
}

fn plan(stage: &Stage, clients: Clients) -> Result<Plan> {
    let in_flight = u64::from(clients.rate) * (clients.timeout.as_secs() + 1);
    Ok(Plan {
        targets: vec![target(&format!("http://{}", stage.lan.vip))?],
        questions: vec![question(PATH)?],
        schedule: Schedule { rate: f64::from(clients.rate), requests: None, duration: None },
        timeout: clients.timeout,
        // All that can hang at once.
        max_in_flight: usize::try_from(in_flight).unwrap_or(usize::MAX).min(60_000),
        new_connections: true,
        report_interval: Duration::from_secs(3600),
    })
}
