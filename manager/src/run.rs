//! The daemon from start to stop.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use manager_core::slot::DomainRef;
use manager_core::{Desired, Event, Observed};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::disk::{Disk, Lock, State};
use crate::driver::{self, Handle, Parts};
use crate::hypervisor::{self, Hypervisor, RunningDomain};
use crate::identity::Secret;
use crate::metrics::Metrics;
use crate::net::{self, Net, PeerRoute};
use crate::{api, config};

/// Between two tries to reach libvirt after the start.
const LIBVIRT_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at what libvirt runs and at the host's network.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Between two tries to write the state to disk.
const DISK_AGAIN: Duration = Duration::from_secs(1);

/// Runs the manager until SIGTERM or SIGINT. What it manages stays as it is.
///
/// # Errors
/// If it cannot start; the message says what to change.
pub async fn run(config: Config) -> Result<()> {
    // Whoever is second must learn it before he touches anything.
    let _lock = Lock::acquire(&config.runtime_dir)?;
    let secret = Secret::load(&config.secret_file)?;
    let hypervisor = Hypervisor::open(hypervisor_settings(&config)?).await?;
    let listen = config.api.listen;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("api.listen: cannot listen on {listen}"))?;

    let disk = Disk::new(&config.state_dir);
    let before = disk.load();
    let boot = next_boot(before.boot);
    let state = State { boot, desired: before.desired.clone() };
    if let Err(error) = tokio::task::spawn_blocking({
        let disk = disk.clone();
        move || disk.store(&state)
    })
    .await?
    {
        warn!(%error, "cannot write the state; going on, and trying again with the next change");
    }

    let net = Arc::new(Net::open(net_settings(&config)?).await?);
    let metrics = Arc::new(Metrics::new()?);
    let stop = CancellationToken::new();
    let config = Arc::new(config);
    let (states, to_write) = watch::channel((0, State::default()));
    let (driver, handle) = driver::new(Parts {
        config: Arc::clone(&config),
        secret: secret.clone(),
        net: Arc::clone(&net),
        metrics: Arc::clone(&metrics),
        boot,
        state: states,
    })?;
    info!(node = %config.node, boot, listen = %config.api.listen, "manager starts");

    let context = api::Context::new(handle.clone(), Arc::clone(&metrics), &secret);
    let server = tokio::spawn(api::serve(listener, api::router(context), stop.clone()));
    tokio::spawn(write_states(disk, to_write, handle.clone(), Arc::clone(&metrics)));
    let inventory = tokio::spawn(take_stock(hypervisor, net, before.desired, handle, stop.clone()));
    let mut driver = tokio::spawn(driver.run(stop.clone()));

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = &mut driver => Err(anyhow::anyhow!("the driver ended by itself: {ended:?}")),
        ended = inventory => Err(anyhow::anyhow!("taking stock ended by itself: {ended:?}")),
    };
    info!("manager stops; VMs, routes and addresses stay");
    stop.cancel();
    let _ = server.await;
    outcome
}

/// A number greater than that of every start before, even if the disk has lost it.
fn next_boot(before: u64) -> u64 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    seconds.max(before + 1)
}

fn hypervisor_settings(config: &Config) -> Result<hypervisor::Settings, config::Error> {
    config.pool()?;
    let of = &config.hypervisor;
    Ok(hypervisor::Settings {
        uri: of.uri.clone(),
        accel: of.accel,
        machine: of.machine,
        memory_mib: of.memory_mib,
        vcpus: of.vcpus,
        kernel: config.image.kernel.clone(),
        initramfs: config.image.initramfs.clone(),
        bridge: config.network.bridge.clone(),
        node: config.node.clone(),
        // Of its own, because what nobody knows of there is removed.
        runtime_dir: config.runtime_dir.join("vm"),
        call_timeout: Duration::from_millis(of.call_timeout_ms),
    })
}

fn net_settings(config: &Config) -> Result<net::Settings, config::Error> {
    let peers = config.peers.iter().map(|peer| PeerRoute { pool: peer.pool, via: *peer.api.ip() });
    Ok(net::Settings {
        interface: config.network.interface.clone(),
        bridge: config.network.bridge.clone(),
        pool: config.network.pool,
        host_addr: config.pool()?.host(),
        peers: peers.collect(),
    })
}

/// Writes each state to disk, the latest if several came meanwhile, and says how it went.
async fn write_states(
    disk: Disk,
    mut states: watch::Receiver<(u64, State)>,
    driver: Handle,
    metrics: Arc<Metrics>,
) {
    while states.changed().await.is_ok() {
        loop {
            let (revision, state) = states.borrow_and_update().clone();
            let disk = disk.clone();
            let written = tokio::task::spawn_blocking(move || disk.store(&state)).await;
            let error = match written {
                Ok(Ok(())) => {
                    driver.event(Event::Persisted { revision }).await;
                    break;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            metrics.persist_failures.with_label_values(&["state"]).inc();
            warn!(error, revision, "cannot write the state; requests are refused, healing goes on");
            driver.event(Event::PersistFailed { revision }).await;
            tokio::select! {
                () = tokio::time::sleep(DISK_AGAIN) => {}
                changed = states.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Reaches libvirt, sets up the network, and reports what runs; then looks again every so often, for domains
/// nobody knows of and for routes somebody has removed.
async fn take_stock(
    hypervisor: Hypervisor,
    net: Arc<Net>,
    desired: Desired,
    driver: Handle,
    stop: CancellationToken,
) {
    let mut network = Network { net, last: String::new() };
    let mut complained = false;
    let running = loop {
        if stop.is_cancelled() {
            return;
        }
        network.ensure().await;
        match hypervisor.list().await {
            Ok(running) => break running,
            Err(error) if !complained => warn!(%error, "cannot take stock of the VMs; trying again"),
            Err(_) => {}
        }
        complained = true;
        tokio::time::sleep(LIBVIRT_AGAIN).await;
    };
    driver.ready(hypervisor.clone(), running.into_iter().map(observed).collect(), desired).await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        network.ensure().await;
        match hypervisor.list().await {
            Ok(running) => driver.event(Event::Seen(running.into_iter().map(observed).collect())).await,
            Err(error) => warn!(%error, "cannot list domains"),
        }
        if let Err(error) = hypervisor.sweep().await {
            warn!(%error, "cannot tidy up runtime_dir");
        }
    }
}

/// The host's network, and what was last said about it: what is wrong is found again at every look.
struct Network {
    net: Arc<Net>,
    last: String,
}

impl Network {
    async fn ensure(&mut self) {
        let now = match self.net.ensure().await {
            Ok(changes) => changes.conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Err(error) => error.to_string(),
        };
        if now == self.last {
            return;
        }
        if now.is_empty() {
            info!("the host's network is as it should be");
        } else {
            error!(reason = now, "the host's network is not as it should be");
        }
        self.last = now;
    }
}

fn observed(running: RunningDomain) -> Observed {
    let meta = running.meta.clone();
    let domain = DomainRef::from(running);
    Observed { domain, id: meta.id, role: meta.role, addr: meta.addr, incarnation: meta.incarnation }
}
