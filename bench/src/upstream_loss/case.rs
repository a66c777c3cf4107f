//! One run: five hosts, a load, a fault, and perhaps a push.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use super::LossOptions;
use crate::balancer::{Balancer, Binaries, Site, lb};
use crate::options::{Plan, question, target};
use crate::probe;
use crate::rig::admin::Admin;
use crate::rig::interrupt::Interrupt;
use crate::rig::network::{Cutter, Network};
use crate::rig::process::{Invocation, Program};
use crate::rig::wait;
use crate::samples::{Sample, Spread, due_within, ms};
use crate::timeline::Schedule;

/// The hosts, by their place in the network.
const HOSTS: [&str; 5] = ["up0", "up1", "up2", "balancer", "client"];
const UPSTREAMS: usize = 3;
const BALANCER: usize = 3;
const CLIENT: usize = 4;
/// Which upstream is lost.
const LOST: usize = 0;
/// What is asked for.
const PATH: &str = "/int";

/// What happens to one upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Its cable is cut: packets vanish, and nobody is told.
    LinkCut,
    /// Its process stands still (SIGSTOP): its kernel goes on to acknowledge, and to take connections.
    Frozen,
    /// Its process is killed (SIGKILL): its kernel resets connections and refuses new ones.
    Killed,
}

impl Fault {
    pub(super) const ALL: [Self; 3] = [Self::LinkCut, Self::Frozen, Self::Killed];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkCut => "link cut",
            Self::Frozen => "frozen",
            Self::Killed => "killed",
        })
    }
}

/// What the control plane does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Push {
    /// Nothing.
    None,
    /// It pushes the set without the lost upstream.
    Removal,
}

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Who balances.
    pub balancer: Balancer,
    /// What happens.
    pub fault: Fault,
    /// And what is done about it.
    pub push: Push,
    /// Rates and times.
    pub options: &'a LossOptions,
    /// The project's load balancer.
    pub lb: &'a Path,
    /// The upstreams' program.
    pub rng_service: &'a Path,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pushed = if self.push == Push::Removal { ", removal pushed" } else { "" };
        write!(f, "{}, {}{pushed}", self.balancer.name(), self.fault)
    }
}

/// What one run gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Of all requests; the last slow one counts from the fault.
    pub all: Spread,
    /// Of those that were over before the fault: the quiet machine, to compare with.
    pub before: Spread,
    /// When the fault was complete, in milliseconds from the start.
    pub fault_ms: f64,
    /// When the push was acknowledged, in milliseconds from the fault; none if there was none.
    pub pushed_ms: Option<f64>,
    /// How late the client itself sent at worst, in milliseconds. It is part of the latencies.
    pub sent_late_ms: f64,
    /// What the first failure said.
    pub first_error: Option<String>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { requests, failed, slowest_ms, slow, .. } = &self.all;
        write!(f, "{failed} of {requests} failed, slowest {slowest_ms:.1} ms, {slow} slow")?;
        if let Some(error) = &self.first_error {
            write!(f, " ({error})")?;
        }
        Ok(())
    }
}

/// How an upstream is lost, from any thread.
enum Deed {
    Cut(Cutter),
    Signal(Pid, Signal),
}

impl Deed {
    fn perform(self) -> Result<()> {
        match self {
            Self::Cut(cutter) => cutter.cut(),
            Self::Signal(pid, signal) => Ok(kill_process(pid, signal)?),
        }
    }
}

impl Case<'_> {
    /// Builds the hosts, runs the load and the fault, and removes the hosts.
    ///
    /// # Errors
    /// When something cannot be built or started, or the run is interrupted.
    pub fn run(&self, interrupt: &Interrupt) -> Result<Loss> {
        let dir = tempfile::tempdir().context("no directory for files")?;
        let network = Network::new(&HOSTS)?;
        let site = site(|place| network.host(place).addr);
        let mut upstreams = Vec::new();
        for place in 0..UPSTREAMS {
            upstreams.push(self.start_upstream(&network, dir.path(), place, site.upstreams[place])?);
        }
        let binaries = Binaries { lb: self.lb, bare: None };
        let host = &network.host(BALANCER).namespace;
        let mut balancer = self.balancer.start(&binaries, host, &dir.path().join("balancer"), None, &site)?;
        let client = &network.host(CLIENT).namespace;
        if self.balancer == Balancer::Lb {
            let all = lb::set(1, site.upstreams.iter().copied().enumerate());
            client.block_on(async || Admin::connect(site.admin).await?.put(&all).await)?;
        }
        wait::until_ready(client, site.listen, PATH, &mut balancer)?;
        let deed = match self.fault {
            Fault::LinkCut => Deed::Cut(network.cutter(LOST)),
            Fault::Frozen => Deed::Signal(upstreams[LOST].pid(), Signal::STOP),
            Fault::Killed => Deed::Signal(upstreams[LOST].pid(), Signal::KILL),
        };
        let loss = client.block_on(async || self.load(&site, deed, interrupt).await)?;
        interrupt.check()?;
        balancer.check()?;
        Ok(loss)
    }

    fn start_upstream(
        &self,
        network: &Network,
        dir: &Path,
        place: usize,
        addr: SocketAddr,
    ) -> Result<Program> {
        let name = HOSTS[place];
        let config = dir.join(format!("{name}.toml"));
        // As many connections as a proxy may open that keeps none.
        std::fs::write(&config, format!("listen = \"{addr}\"\n[limits]\nmax_connections = 65536\n"))?;
        let args = ["--instance".as_ref(), name.as_ref(), "--config".as_ref(), config.as_os_str()];
        let invocation = Invocation::new(self.rng_service, args);
        let host = &network.host(place).namespace;
        let mut program = Program::start(host, dir, name, None, &invocation)?;
        wait::until_ready(&network.host(CLIENT).namespace, addr, PATH, &mut program)?;
        Ok(program)
    }

    async fn load(&self, site: &Site, deed: Deed, interrupt: &Interrupt) -> Result<Loss> {
        let mut samples: Vec<Sample> = Vec::new();
        // A control plane is connected before it is needed.
        let mut admin = match self.push {
            Push::None => None,
            Push::Removal => Some(Admin::connect(site.admin).await?),
        };
        let start = Instant::now();
        let fault_at = start + Duration::from_secs(self.options.fault_at.into());
        let trouble = async {
            sleep_until(fault_at).await;
            tokio::task::spawn_blocking(|| deed.perform()).await.context("the fault")??;
            let fault = Instant::now();
            let Some(admin) = &mut admin else { return Ok((fault, None)) };
            sleep_until(fault + Duration::from_millis(self.options.push_after_ms)).await;
            let rest = site.upstreams.iter().copied().enumerate().filter(|(place, _)| *place != LOST);
            admin.put(&lb::set(2, rest)).await?;
            anyhow::Ok((fault, Some(fault.elapsed())))
        };
        let plan = self.plan(site)?;
        let probing =
            probe::run_from(start, plan, interrupt.order(), |_| Ok(()), |sample| samples.push(sample));
        let (summary, (fault, pushed)) = tokio::try_join!(probing, trouble)?;
        let fault = fault - start;
        let slow = Duration::from_millis(self.options.slow_ms);
        let quiet: Vec<_> = due_within(&samples, Duration::ZERO, fault)
            .into_iter()
            .filter(|sample| sample.end() < fault)
            .collect();
        let first = summary.failures.into_values().min_by_key(|failure| failure.first_ms);
        Ok(Loss {
            all: Spread::of(&samples, slow, fault),
            before: Spread::of(&quiet, slow, Duration::ZERO),
            fault_ms: ms(fault),
            pushed_ms: pushed.map(ms),
            sent_late_ms: summary.sent_late_ms,
            first_error: first.map(|failure| failure.first_error),
        })
    }

    fn plan(&self, site: &Site) -> Result<Plan> {
        let LossOptions { rate, duration, timeout_ms, new_connections, .. } = *self.options;
        let in_flight = u64::from(rate).saturating_mul(timeout_ms / 1000 + 1);
        Ok(Plan {
            targets: vec![target(&format!("http://{}", site.listen))?],
            questions: vec![question(PATH)?],
            schedule: Schedule {
                rate: f64::from(rate),
                requests: None,
                duration: Some(Duration::from_secs(duration.into())),
            },
            timeout: Duration::from_millis(timeout_ms),
            // All that can hang at once.
            max_in_flight: usize::try_from(in_flight).unwrap_or(usize::MAX).min(60_000),
            new_connections,
            report_interval: Duration::from_secs(3600),
        })
    }
}

fn site(addr: impl Fn(usize) -> std::net::IpAddr) -> Site {
    Site {
        listen: SocketAddr::new(addr(BALANCER), 80),
        admin: SocketAddr::new(addr(BALANCER), 9000),
        threads: 1,
        upstreams: (0..UPSTREAMS).map(|place| SocketAddr::new(addr(place), 8080)).collect(),
    }
}

/// Prints each configuration once.
pub(super) fn show_configs(cases: &[(Balancer, Fault, Push)]) -> Result<()> {
    let site = site(|place| std::net::IpAddr::from([10, 99, 0, u8::try_from(place + 1).unwrap_or(u8::MAX)]));
    let mut shown: Vec<Balancer> = Vec::new();
    for (balancer, ..) in cases {
        if shown.contains(balancer) {
            continue;
        }
        shown.push(*balancer);
        let config = balancer.config(&site, Path::new("/tmp/bench")).context("it has no configuration")?;
        println!("# {}\n{config}", balancer.name());
    }
    Ok(())
}
