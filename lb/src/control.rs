//! One load balancer from its start to its end: what is started in which order, what orders change, and how it ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sd_notify::NotifyState;
use tokio::sync::{mpsc, watch};
use wire::{PutUpstreams, Status};

use crate::access_log::AccessLog;
use crate::admin::Admin;
use crate::checks;
use crate::config::Config;
use crate::listeners::Listeners;
use crate::load::LOOK_EVERY;
use crate::metrics::Metrics;
use crate::policy::health;
use crate::pool::{Pool, Settings};
use crate::proxy::Proxy;
use crate::state::{self, Keeper};
use crate::tls::Certificates;
use crate::traffic::Traffic;
use crate::upgrade::{self, Handover, Inherited, Program, Successor};
use crate::workers::Workers;
use crate::{Addresses, Error, Order};

/// How soon a client that got a connection just before the listener closed sends its request.
const SETTLE: Duration = Duration::from_millis(50);

/// A disk that hangs must not keep the process for longer.
const STATE_TIMEOUT: Duration = Duration::from_secs(2);

/// For a successor to serve.
const SUCCESSOR_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a load balancer ends.
enum End {
    Told,
    Succeeded(Successor),
}

/// What orders act on.
struct Running {
    proxy: Arc<Proxy>,
    certificates: Certificates,
    checks: watch::Sender<Option<checks::Settings>>,
    listeners: Listeners,
    keeper: Option<Keeper>,
    /// The set is being handed over, so it must not change here any more.
    is_leaving: Arc<AtomicBool>,
}

pub(crate) async fn serve(
    config: Config,
    registry: prometheus::Registry,
    mut inherited: Inherited,
    mut orders: mpsc::Receiver<Order>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Addresses),
) -> Result<(), Error> {
    // Who waits for signals installs their handlers when first asked. Nobody must see this process work before that: an
    // early signal would kill it.
    let mut stop = std::pin::pin!(stop);
    if is_done(stop.as_mut()).await {
        return Ok(());
    }
    let metrics = Arc::new(Metrics::new(registry)?);
    let certificates = Certificates::load(&config.tls)?;
    let access_log = config.access_log.as_ref().map(|log| {
        let fail = |source| Error::AccessLog { path: log.path.to_string(), source };
        AccessLog::start(log).map_err(fail)
    });
    let access_log = access_log.transpose()?;
    let pool = Pool::new(settings(&config), config.threads.size(), Arc::clone(&metrics));
    let written = begin_with(&config, &pool, Handover::read(&mut inherited)?);

    let listeners = Listeners::open(&config, &certificates, &mut inherited)?;
    let predecessor = inherited.ready();
    drop(inherited);
    let admin_listener = listeners.admin.to_tokio()?;
    let proxy = Arc::new(Proxy::new(config.clone(), Arc::clone(&pool), Arc::clone(&metrics), access_log));
    let traffic = Traffic::new(&config, Arc::clone(&proxy), Arc::clone(&metrics));
    let mut workers = Workers::start(&traffic, &listeners, config.threads.size())?;

    let status = watch::Sender::new(Status::Ok);
    let is_leaving = Arc::new(AtomicBool::new(false));
    let admin = Admin::new(
        &config,
        Arc::clone(&pool),
        Arc::clone(&metrics),
        status.subscribe(),
        Arc::clone(&is_leaving),
    );
    let admin_task = tokio::spawn(admin.accept(admin_listener));
    let refresh = tokio::spawn(refresh(Arc::clone(&proxy)));
    let (check, checked) = watch::channel(checks::Settings::of(&config));
    let checks = tokio::spawn(checks::run(Arc::clone(&pool), Arc::clone(&metrics), checked));
    let keeper = config.state_file.clone().map(|path| Keeper::start(path, Arc::clone(&proxy), written));

    let addresses = listeners.addresses();
    let list =
        |addrs: &[std::net::SocketAddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (plain, tls) = (list(&addresses.traffic), list(&addresses.tls));
    tracing::info!(traffic = plain, tls, admin = %addresses.admin, "listening");
    ready(addresses);
    notify(&[NotifyState::Ready]);
    if let Some(predecessor) = predecessor
        && let Err(e) = predecessor.signal()
    {
        tracing::warn!("the predecessor is gone already: {e}");
    }

    let mut running = Running { proxy, certificates, checks: check, listeners, keeper, is_leaving };
    let end = loop {
        tokio::select! {
            () = &mut stop => break End::Told,
            Some(order) = orders.recv() => match order {
                Order::Reload(config) => running.reload(*config),
                Order::Upgrade(program) => if let Some(successor) = running.upgrade(program).await {
                    break End::Succeeded(successor);
                },
            },
        }
    };

    checks.abort();
    let Running { proxy, listeners, keeper, .. } = running;
    let drain = proxy.config().drain.clone();
    traffic.announce_end();
    let is_told = match end {
        End::Told => {
            tracing::info!(from = "OK", to = "DRAINING", reason = "told to stop", "draining");
            notify(&[NotifyState::Stopping]);
            status.send_replace(Status::Draining);
            tokio::time::sleep(drain.linger_ms.duration()).await;
            // The threads have them still. Whoever of them closes them last has looked into their queues.
            drop(listeners);
            traffic.stop_accepting();
            true
        }
        End::Succeeded(successor) => {
            let (pid, reason) = (successor.pid, "a successor serves");
            tracing::info!(from = "OK", to = "leaving", reason, pid, "draining");
            notify(&[NotifyState::MainPid(pid)]);
            let is_told = pass_on(&successor, stop.as_mut(), &mut orders).await;
            workers.leave();
            admin_task.abort();
            // The service goes on, so those who watch it are not told that it ends. They find the successor when they
            // connect again.
            drop(status);
            tokio::time::sleep(drain.linger_ms.duration()).await;
            is_told
        }
    };
    workers.accepted().await;
    tokio::time::sleep(SETTLE).await;
    let left = if is_told {
        traffic.finish(drain.timeout_ms.duration()).await
    } else {
        tokio::select! {
            left = traffic.finish(drain.upgrade_timeout_ms.duration()) => left,
            () = stop => {
                tracing::info!(reason = "told to stop", "draining");
                traffic.finish(drain.timeout_ms.duration()).await
            }
        }
    };
    if let Some(keeper) = keeper
        && keeper.stop(STATE_TIMEOUT).await.is_err()
    {
        tracing::warn!("the state file is still being written");
    }
    admin_task.abort();
    refresh.abort();
    // What did not end in its time is cut here.
    workers.stop();
    if let Some(log) = proxy.access_log() {
        log.close(Duration::from_secs(1));
    }
    tracing::info!(from = "DRAINING", to = "stopped", cut_connections = left, "stopped");
    Ok(())
}

impl Running {
    fn reload(&self, config: Config) {
        let Self { proxy, certificates, .. } = self;
        let present = proxy.config();
        let (config, kept) = present.reloaded(config);
        if !kept.is_empty() {
            tracing::warn!(keys = kept.join(", "), "these keys need a restart to change");
        }
        // The only thing that can still be wrong comes first: all of the file is in force afterwards, or nothing.
        if let Err(e) = certificates.reload(&config.tls) {
            tracing::error!("configuration not reloaded: {e}");
            return;
        }
        if let Some(log) = proxy.access_log() {
            log.reopen();
        }
        proxy.pool.reconfigure(settings(&config));
        self.checks.send_replace(checks::Settings::of(&config));
        // Before the set: who writes down a new set writes down the configured one too.
        proxy.reconfigure(config);
        let config = proxy.config();
        if config.upstreams != present.upstreams {
            configure_upstreams(&config, &proxy.pool);
        }
        tracing::info!("configuration reloaded");
    }

    /// Starts the program. None if it does not come to serve; all is as it was then.
    async fn upgrade(&mut self, program: Program) -> Option<Successor> {
        tracing::info!(%program, "starting a successor");
        self.is_leaving.store(true, Ordering::Relaxed);
        let result = self.start_successor(program).await;
        if let Err(e) = &result {
            tracing::error!("there is no successor, all stays as it is: {e}");
            self.is_leaving.store(false, Ordering::Relaxed);
        }
        result.ok()
    }

    async fn start_successor(&mut self, program: Program) -> Result<Successor, upgrade::Error> {
        // Two must not write the state file. What is in force is written before, and nothing else comes into force.
        let path = match self.keeper.take() {
            Some(keeper) => match keeper.stop(STATE_TIMEOUT).await {
                Ok(path) => Some(path),
                Err(keeper) => {
                    self.keeper = Some(keeper.restart(Arc::clone(&self.proxy)));
                    return Err(upgrade::Error::StateFile);
                }
            },
            None => None,
        };
        let pool = &self.proxy.pool;
        let handover = Handover { set: pool.set(), configured: self.proxy.config().upstreams.clone() };
        let listeners: Vec<_> = self.listeners.all().cloned().collect();
        let started = tokio::task::spawn_blocking(move || {
            let left: Vec<_> = listeners.iter().map(crate::listeners::Listening::left).collect();
            upgrade::start_successor(&program, &left, &handover.to_bytes()?, SUCCESSOR_TIMEOUT)
        });
        let result = started.await.map_err(|e| upgrade::Error::Wait(e.into())).flatten();
        if let (Err(_), Some(path)) = (&result, path) {
            let written = *pool.generations().borrow();
            self.keeper = Some(Keeper::start(path, Arc::clone(&self.proxy), written));
        }
        result
    }
}

/// What this process was told while it started its successor is meant for that one. True when it was told to stop.
async fn pass_on(
    successor: &Successor,
    stop: Pin<&mut impl Future<Output = ()>>,
    orders: &mut mpsc::Receiver<Order>,
) -> bool {
    let stopped = is_done(stop).await;
    let mut signals = Vec::new();
    while let Ok(order) = orders.try_recv() {
        signals.push(match order {
            Order::Reload(_) => Signal::HUP,
            Order::Upgrade(_) => Signal::USR2,
        });
    }
    signals.extend(stopped.then_some(Signal::TERM));
    let pid = i32::try_from(successor.pid).ok().and_then(Pid::from_raw);
    for signal in signals {
        if let Some(Err(e)) = pid.map(|pid| kill_process(pid, signal)) {
            tracing::warn!(?signal, "the successor does not get a signal: {e}");
        }
    }
    stopped
}

/// Whether it is done now.
async fn is_done(future: Pin<&mut impl Future<Output = ()>>) -> bool {
    tokio::select! {
        biased;
        () = future => true,
        () = std::future::ready(()) => false,
    }
}

/// Tells the service manager, if there is one that wants to know: sd_notify(3).
fn notify(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::warn!(?states, "cannot tell the service manager: {e}");
    }
}

/// How the pool chooses and judges, as configured.
pub(crate) fn settings(config: &Config) -> Settings {
    Settings {
        balance: config.balance,
        health: health::Limits {
            max_fails: config.upstream.max_fails.int(),
            fail_timeout_ms: config.upstream.fail_timeout_ms.get(),
        },
        slow_start_ms: config.upstream.slow_start_ms.get(),
        rules: config.rules(),
        first_byte_ms: (config.attempt.first_byte_min_ms.get(), config.attempt.first_byte_max_ms.get()),
        first_byte_percent: config.attempt.first_byte_multiple_percent.int(),
        budget_percent: config.retry.budget_percent.int(),
        budget_min_per_second: config.retry.budget_min_per_second.int(),
    }
}

/// Puts the predecessor's set in force, or else that of the state file, or else that of the configuration. A
/// configured set that is another one than it was then wins over both. Answers the generation that the state file
/// has; 0: it must be written.
fn begin_with(config: &Config, pool: &Arc<Pool>, handover: Option<Handover>) -> u64 {
    if let Some(Handover { set, configured }) = handover.filter(|handover| handover.set.generation > 0) {
        let (generation, upstreams) = (set.generation, set.upstreams.len());
        // An empty pool takes every set.
        let _ = pool.put(set);
        tracing::info!(generation, upstreams, "upstream set taken over");
        if config.upstreams != configured {
            configure_upstreams(config, pool);
        }
        return 0;
    }
    let path = config.state_file.as_ref();
    let configured = path.and_then(|path| state::restore(path, config.limits.upstreams.size(), pool));
    let restored = *pool.generations().borrow();
    let is_other = match &configured {
        Some(configured) => *configured != config.upstreams,
        None => restored == 0,
    };
    // A list that was emptied names nothing to begin with.
    if is_other && !config.upstreams.is_empty() {
        configure_upstreams(config, pool);
    }
    // A file that does not say what was configured cannot tell next time whether that has changed.
    if configured.is_some() { restored } else { 0 }
}

/// Puts the upstreams of the configuration in force.
fn configure_upstreams(config: &Config, pool: &Arc<Pool>) {
    let generation = *pool.generations().borrow() + 1;
    // A newer generation is always taken, and the configuration has validated the set.
    let _ = pool.put(PutUpstreams { generation, upstreams: config.upstreams.clone() });
}

/// Lets the wait for a first byte follow what was observed, and looks at the load, for ever.
async fn refresh(proxy: Arc<Proxy>) {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let first_byte = proxy.pool.first_byte();
        first_byte.refresh();
        let deadline = i64::try_from(first_byte.deadline().as_micros()).unwrap_or(i64::MAX);
        proxy.metrics.first_byte_deadline.set(deadline);
        proxy.metrics.look(began.elapsed());
        if let Some(log) = proxy.access_log() {
            proxy.metrics.access_log_lost.set(i64::try_from(log.lost()).unwrap_or(i64::MAX));
        }
    }
}
