//! The load balancer under updates: what runs, and its windows.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::membership::Membership;
use super::{ChurnOptions, Flood, Memory};
use crate::balancer::{Balancer, Binaries, Site};
use crate::options::{Plan, question, target};
use crate::probe::{self, Stop};
use crate::rig::admin::Admin;
use crate::rig::interrupt::Interrupt;
use crate::rig::namespace::Namespace;
use crate::rig::process::{Invocation, Program};
use crate::rig::usage::resident_bytes;
use crate::rig::wait;
use crate::samples::{Sample, Spread, ms};
use crate::timeline::Schedule;

const PATH: &str = "/int";
/// The first upstream process's port.
const PORT: u16 = 7000;
/// Requests that take longer are slow.
const SLOW: Duration = Duration::from_millis(100);
/// Updates between two looks at memory.
const MEMORY_EVERY: u64 = 5_000;

/// What runs. The order is that of the end: programs before their files.
pub(super) struct Scene<'a> {
    options: &'a ChurnOptions,
    interrupt: &'a Interrupt,
    membership: Membership,
    memory: Vec<Memory>,
    updates: u64,
    site: Site,
    balancer: Program,
    _upstreams: Vec<Program>,
    namespace: Namespace,
    _dir: TempDir,
}

impl<'a> Scene<'a> {
    pub(super) fn build(
        options: &'a ChurnOptions,
        lb: &Path,
        rng_service: &Path,
        interrupt: &'a Interrupt,
    ) -> Result<Self> {
        let dir = tempfile::tempdir().context("no directory for files")?;
        let namespace = Namespace::new("churn")?;
        let ports: Vec<u16> = (PORT..).take(options.processes).collect();
        let mut upstreams = Vec::new();
        for port in &ports {
            upstreams.push(start_upstream(&namespace, dir.path(), rng_service, *port)?);
        }
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let site =
            Site { listen: local(80), admin: local(9000), threads: options.threads, upstreams: Vec::new() };
        let binaries = Binaries { lb, bare: None };
        let mut balancer =
            Balancer::Lb.start(&binaries, &namespace, &dir.path().join("balancer"), None, &site)?;
        let membership = Membership::new(options.upstreams, options.changes, &ports);
        namespace.block_on(async || {
            Admin::connect(site.admin).await?.put_encoded(membership.generation(), membership.body()).await
        })?;
        wait::until_ready(&namespace, site.listen, PATH, &mut balancer)?;
        Ok(Self {
            options,
            interrupt,
            membership,
            memory: Vec::new(),
            updates: 0,
            site,
            balancer,
            _upstreams: upstreams,
            namespace,
            _dir: dir,
        })
    }

    /// A window without updates.
    pub(super) fn quiet(&mut self) -> Result<Spread> {
        self.balancer.check()?;
        let (plan, stop) = (self.plan(Some(self.window()))?, self.interrupt.order());
        let spread = self.namespace.block_on(async || probed(plan, stop).await)?;
        self.interrupt.check()?;
        Ok(spread)
    }

    /// A window with updates at the rate asked for; and how long each took, in milliseconds. A late update does not
    /// make the next ones hurry.
    pub(super) fn busy(&mut self) -> Result<(Spread, Vec<f64>)> {
        self.balancer.check()?;
        let (window, stop) = (self.window(), self.interrupt.order());
        let plan = self.plan(Some(window))?;
        let (membership, site, namespace) = (&mut self.membership, &self.site, &self.namespace);
        let pause = Duration::from_secs(1) / self.options.update_rate;
        let updating = async || {
            let mut admin = Admin::connect(site.admin).await?;
            let start = Instant::now();
            let mut took = Vec::new();
            let mut due = interval_at(start + pause, pause);
            due.set_missed_tick_behavior(MissedTickBehavior::Skip);
            while due.tick().await < start + window {
                membership.advance();
                let body = membership.body();
                let before = Instant::now();
                admin.put_encoded(membership.generation(), body).await?;
                took.push(ms(before.elapsed()));
            }
            Ok(took)
        };
        let (spread, took) = both(namespace, async || probed(plan, stop).await, updating)?;
        self.interrupt.check()?;
        self.updates += took.len() as u64;
        Ok((spread, took))
    }

    /// Updates without a pause, until there have been `total` in all.
    pub(super) fn flood(&mut self, total: u64) -> Result<Option<Flood>> {
        let first = self.updates;
        if first >= total {
            return Ok(None);
        }
        let plan = self.plan(None)?;
        let Self { membership, memory, updates, site, balancer, interrupt, namespace, .. } = self;
        let (finish, finished) = watch::channel(Stop::Run);
        let updating = async || {
            // Dropped at the end, however it comes, and then the probe ends too.
            let finish = finish;
            let mut admin = Admin::connect(site.admin).await?;
            let start = Instant::now();
            while *updates < total {
                interrupt.check()?;
                ensure!(!finish.is_closed(), "the probe has ended before the updates");
                membership.advance();
                admin.put_encoded(membership.generation(), membership.body()).await?;
                *updates += 1;
                if updates.is_multiple_of(MEMORY_EVERY) {
                    balancer.check()?;
                    let seen = Memory { updates: *updates, resident_bytes: resident_bytes(balancer.pid())? };
                    eprintln!("{} updates: {} MiB", seen.updates, seen.resident_bytes >> 20);
                    memory.push(seen);
                }
            }
            let took = start.elapsed();
            finish.send_replace(Stop::Finish);
            finish.closed().await;
            Ok(took)
        };
        let (spread, took) = both(namespace, async || probed(plan, finished).await, updating)?;
        self.note_memory()?;
        Ok(Some(Flood { updates: total - first, seconds: took.as_secs_f64(), clients: spread }))
    }

    pub(super) fn note_memory(&mut self) -> Result<()> {
        let resident_bytes = resident_bytes(self.balancer.pid())?;
        self.memory.push(Memory { updates: self.updates, resident_bytes });
        Ok(())
    }

    pub(super) fn memory(&self) -> &[Memory] {
        &self.memory
    }

    fn window(&self) -> Duration {
        Duration::from_secs(self.options.seconds.into())
    }

    fn plan(&self, duration: Option<Duration>) -> Result<Plan> {
        Ok(Plan {
            targets: vec![target(&format!("http://{}", self.site.listen))?],
            questions: vec![question(PATH)?],
            schedule: Schedule { rate: f64::from(self.options.rate), requests: None, duration },
            timeout: Duration::from_secs(10),
            max_in_flight: 10_000,
            new_connections: false,
            report_interval: Duration::from_secs(3600),
        })
    }
}

/// Clients and control plane at once, on a thread each: what an update costs its sender delays no request.
fn both<A: Send, B: Send>(
    namespace: &Namespace,
    clients: impl AsyncFnOnce() -> Result<A> + Send,
    control: impl AsyncFnOnce() -> Result<B> + Send,
) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let control = scope.spawn(|| namespace.block_on(control));
        let clients = namespace.block_on(clients);
        let control = control.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((clients?, control?))
    })
}

async fn probed(plan: Plan, stop: watch::Receiver<Stop>) -> Result<Spread> {
    let mut samples: Vec<Sample> = Vec::new();
    probe::run_from(Instant::now(), plan, stop, |_| Ok(()), |sample| samples.push(sample)).await?;
    Ok(Spread::of(&samples, SLOW, Duration::ZERO))
}

fn start_upstream(namespace: &Namespace, dir: &Path, program: &Path, port: u16) -> Result<Program> {
    let name = format!("up-{port}");
    let config = dir.join(format!("{name}.toml"));
    // One process stands for hundreds of upstreams, each with connections of its own.
    std::fs::write(&config, format!("listen = \"0.0.0.0:{port}\"\n[limits]\nmax_connections = 65536\n"))?;
    let args = ["--instance".as_ref(), name.as_ref(), "--config".as_ref(), config.as_os_str()];
    let mut program = Program::start(namespace, dir, &name, None, &Invocation::new(program, args))?;
    wait::until_ready(namespace, SocketAddr::from(([127, 0, 0, 1], port)), PATH, &mut program)?;
    Ok(program)
}
