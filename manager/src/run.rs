//! The daemon from start to stop.

use std::convert::Infallible;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use manager_core::core::ForeignVm;
use manager_core::slot::DomainRef;
use manager_core::{Desired, Event, Observed};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::cluster::{self, Cluster, PeerAddr};
use crate::config::Config;
use crate::disk::{Disk, Lock, State};
use crate::driver::{self, Handle, Parts};
use crate::hypervisor::{self, Hypervisor, RunningDomain};
use crate::identity::{Purpose, Secret};
use crate::journal::Journal;
use crate::members::Members;
use crate::metrics::Metrics;
use crate::net::announce::Announcer;
use crate::net::{self, Net, PeerRoute, VipDesired};
use crate::{api, config, vip};

/// Between two tries to reach libvirt after the start.
const LIBVIRT_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at what libvirt runs.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Between two looks at the host's network: well below the time after which silent VMs are given up, because a
/// bridge that somebody removed makes them all silent. A look costs a few netlink requests.
const NETWORK_AGAIN: Duration = Duration::from_secs(1);
/// Between two tries to write the state to disk.
const DISK_AGAIN: Duration = Duration::from_secs(1);

/// Runs the manager until SIGTERM or SIGINT. What it manages stays as it is, but with `leave` the public address is
/// handed over first.
///
/// # Errors
/// If it cannot start; the message says what to change.
pub async fn run(config: Config, leave: bool) -> Result<()> {
    // Whoever is second must learn it before he touches anything.
    let _lock = Lock::acquire(&config.runtime_dir)?;
    raise_descriptor_limit();
    let secret = Secret::load(&config.secret_file)?;
    let hypervisor = Hypervisor::open(hypervisor_settings(&config)).await?;
    let listen = config.api.listen;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("api.listen: cannot listen on {listen}"))?;

    let disk = Disk::new(&config.state_dir);
    let before = disk.load()?;
    // Before the network is touched: VMs of another pool would be cut off.
    let core = config.core()?;
    core.check_inventory(&[], &before.desired)?;
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
    let journal = Journal::new(&config.node);
    let cluster = cluster::start(cluster_config(&config, &secret, boot), metrics.registry()).await?;
    let stop = CancellationToken::new();
    let config = Arc::new(config);
    let (states, to_write) = watch::channel((0, State::default()));
    let (driver, handle) = driver::new(Parts {
        config: Arc::clone(&config),
        secret: secret.clone(),
        net: Arc::clone(&net),
        metrics: Arc::clone(&metrics),
        boot,
        journal: journal.clone(),
        state: states,
    })?;
    info!(node = %config.node, boot, listen = %config.api.listen, "manager starts");

    let Cluster { beats, incoming, gossip, refusals, running } = cluster;
    let (vip_driver, vip) = match config.vip_core() {
        Some(core) => {
            let world = World {
                disk: disk.clone(),
                net: Arc::clone(&net),
                driver: handle.clone(),
                lb: driver.lb_status(),
                metrics: Arc::clone(&metrics),
                journal: journal.clone(),
                beats,
                incoming,
            };
            let (driver, handle) = vip::new(open_vip(core, &config, &secret, world).await?);
            (Some(driver), Some(handle))
        }
        None => (None, None),
    };
    let parts = api::Parts {
        driver: handle.clone(),
        vip: vip.clone(),
        gossip: gossip.clone(),
        journal: journal.clone(),
        metrics: Arc::clone(&metrics),
    };
    let context = api::Context::new(parts, &secret);
    let members = Members { gossip, refusals, account: driver.account(), driver: handle.clone(), journal };
    let mut server = tokio::spawn(api::serve(listener, api::router(context), stop.clone()));
    let writer = tokio::spawn(write_states(disk, to_write, handle.clone(), Arc::clone(&metrics)));
    let network = tokio::spawn(keep_network(net));
    let stock = tokio::spawn(take_stock(hypervisor, core, before.desired, handle));
    let mut driver = tokio::spawn(driver.run(stop.clone()));
    let members = tokio::spawn(members.run());
    let vip_driver = tokio::spawn({
        let stop = stop.clone();
        async move {
            match vip_driver {
                Some(driver) => driver.run(stop).await,
                None => stop.cancelled().await,
            }
        }
    });

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = &mut driver => Err(anyhow::anyhow!("the driver ended by itself: {ended:?}")),
        ended = stock => match ended {
            Ok(Err(foreign)) => Err(foreign.into()),
            ended => Err(anyhow::anyhow!("taking stock ended by itself: {ended:?}")),
        },
        ended = writer => Err(anyhow::anyhow!("writing the state ended by itself: {ended:?}")),
        ended = network => Err(anyhow::anyhow!("keeping the network ended by itself: {ended:?}")),
        ended = members => Err(anyhow::anyhow!("the cluster's membership ended by itself: {ended:?}")),
        ended = vip_driver => Err(anyhow::anyhow!("seeing to the public address ended by itself: {ended:?}")),
        ended = &mut server => Err(anyhow::anyhow!("the API ended by itself: {ended:?}")),
    };
    if leave
        && outcome.is_ok()
        && let Some(vip) = vip
    {
        match vip.leave().await {
            Ok(handed) => info!(?handed, "leaving"),
            Err(error) => warn!(%error, "leaving with the public address"),
        }
    }
    if outcome.is_ok() {
        info!("manager stops; VMs, routes and addresses stay");
    }
    stop.cancel();
    if !server.is_finished() {
        let _ = server.await;
    }
    running.stop().await;
    outcome
}

/// What the public address's loop shares with others.
struct World {
    disk: Disk,
    net: Arc<Net>,
    driver: Handle,
    lb: watch::Receiver<vip::LbStatus>,
    metrics: Arc<Metrics>,
    journal: Journal,
    beats: cluster::Beats,
    incoming: cluster::Incoming,
}

async fn open_vip(
    core: manager_core::vip::Config,
    config: &Config,
    secret: &Secret,
    world: World,
) -> Result<vip::Parts> {
    let World { disk, net, driver, lb, metrics, journal, beats, incoming } = world;
    let record = disk.load_vip()?;
    let adopted = net.vip_installed().await?.unwrap_or(VipDesired::released(core.addr));
    let interface = config.network.interface.clone();
    let (announcer, seen) = Announcer::open(interface, core.addr).await.context("network.interface")?;
    let token = secret.token(Purpose::Peer);
    let peer = |peer: &config::Peer| (peer.node.clone(), vip::Peer::new(peer.api, &token, &core.timing));
    let peers = config.peers.iter().map(peer).collect();
    let checks = config.vip.as_ref().map_or_else(Default::default, config::Vip::checks);
    Ok(vip::Parts {
        checks,
        lb_port: config.lb.port,
        peers,
        beats,
        incoming,
        net,
        announcer: Arc::new(announcer),
        seen,
        disk,
        record,
        adopted,
        lb,
        driver,
        metrics,
        journal,
        config: core,
    })
}

fn cluster_config(config: &Config, secret: &Secret, boot: u64) -> cluster::Config {
    let at = |addr: &SocketAddrV4| SocketAddrV4::new(*addr.ip(), config.cluster.gossip_port);
    let peer =
        |peer: &config::Peer| PeerAddr { node: peer.node.clone(), addr: at(&peer.api), pool: peer.pool };
    cluster::Config {
        cluster: config.cluster.name.clone(),
        node: config.node.clone(),
        boot,
        listen: at(&config.api.listen),
        pool: config.network.pool,
        peers: config.peers.iter().map(peer).collect(),
        key: cluster::Key::derive(secret, &config.cluster.name),
    }
}

/// Checks what [`Config::load`] cannot: what the hypervisor and the network make of it, on this machine.
///
/// # Errors
/// The setting at fault.
pub fn check(config: &Config) -> Result<()> {
    hypervisor_settings(config).check()?;
    net_settings(config)?.check()?;
    let secret = Secret::load(&config.secret_file)?;
    cluster_config(config, &secret, 1).check()?;
    Ok(())
}

/// A number greater than that of every start before, even if the disk has lost it; a clock that was wrong then is
/// found out by the peers.
fn next_boot(before: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(now).unwrap_or(u64::MAX).max(before.saturating_add(1))
}

/// Each VM costs about three descriptors, each client of the API one; the usual soft limit is for other programs.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!(%error, ?current, "cannot raise the limit of open files");
    }
}

fn hypervisor_settings(config: &Config) -> hypervisor::Settings {
    let of = &config.hypervisor;
    hypervisor::Settings {
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
    }
}

fn net_settings(config: &Config) -> Result<net::Settings, config::Error> {
    let peers = config.peers.iter().map(|peer| PeerRoute { pool: peer.pool, via: *peer.api.ip() });
    Ok(net::Settings {
        interface: config.network.interface.clone(),
        bridge: config.network.bridge.clone(),
        pool: config.network.pool,
        host_addr: config.pool()?.host(),
        peers: peers.collect(),
        vip: config.vip.as_ref().map(|vip| vip.addr),
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

/// Reaches libvirt and reports what runs; then looks again every so often, for domains nobody knows of.
async fn take_stock(
    hypervisor: Hypervisor,
    core: manager_core::Config,
    desired: Desired,
    driver: Handle,
) -> Result<Infallible, ForeignVm> {
    let mut complained = false;
    let running: Vec<_> = loop {
        match hypervisor.list().await {
            Ok(running) => break running.into_iter().map(observed).collect(),
            Err(error) if !complained => warn!(%error, "cannot take stock of the VMs; trying again"),
            Err(_) => {}
        }
        complained = true;
        tokio::time::sleep(LIBVIRT_AGAIN).await;
    };
    // Before anything is done about VMs that another configuration made.
    core.check_inventory(&running, &desired)?;
    driver.ready(hypervisor.clone(), running, desired).await;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        match hypervisor.list().await {
            Ok(running) => driver.event(Event::Seen(running.into_iter().map(observed).collect())).await,
            Err(error) => warn!(%error, "cannot list domains"),
        }
        if let Err(error) = hypervisor.sweep().await {
            warn!(%error, "cannot tidy up runtime_dir");
        }
    }
}

/// Sets up the host's network, and repairs it every so often. What is wrong is said once: it is found again at
/// every look.
async fn keep_network(net: Arc<Net>) -> Infallible {
    let mut last = String::new();
    loop {
        let now = match net.ensure().await {
            Ok(changes) => changes.conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Err(error) => error.to_string(),
        };
        if now != last {
            if now.is_empty() {
                info!("the host's network is as it should be again");
            } else {
                error!(reason = now, "the host's network is not as it should be");
            }
            last = now;
        }
        tokio::time::sleep(NETWORK_AGAIN).await;
    }
}

fn observed(running: RunningDomain) -> Observed {
    let meta = running.meta.clone();
    let age = running.process.age();
    let domain = DomainRef::from(running);
    Observed { domain, id: meta.id, role: meta.role, addr: meta.addr, incarnation: meta.incarnation, age }
}
