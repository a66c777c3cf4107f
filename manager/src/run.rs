//! The daemon from start to stop.

mod keep;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::{self, Cluster, Marks, PeerAddr};
use crate::config::Config;
use crate::disk::{Disk, Lock, State};
use crate::driver::{self, Handle, Parts};
use crate::hypervisor::{self, Hypervisor};
use crate::identity::{Purpose, Secret, Token};
use crate::journal::Journal;
use crate::members::{Members, VipSettings};
use crate::metrics::Metrics;
use crate::net::announce::Announcer;
use crate::net::{self, Net, PeerRoute, VipDesired};
use crate::reload::{self, Reloader};
use crate::scale::Scaler;
use crate::{api, config, vip};

/// Runs the manager until SIGTERM or SIGINT. What it manages stays as it is, but with `leave` the public address is
/// handed over first. On SIGHUP it reads the configuration at `path` again.
///
/// # Errors
/// If it cannot start; the message says what to change.
pub async fn run(config: Config, path: PathBuf, leave: bool) -> Result<()> {
    // From now on it ends nothing: what it asks for is done when all is there.
    let mut hangup = signal(SignalKind::hangup())?;
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
    let marks = disk.load_marks()?;
    let cluster = cluster::start(cluster_config(&config, &secret, boot, marks), metrics.registry()).await?;
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
    let (vip_driver, vip) = match &config.vip {
        Some(vip) => {
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
            let (driver, handle) = vip::new(open_vip(vip, &config, &secret, world).await?);
            (Some(driver), Some(handle))
        }
        None => (None, None),
    };
    let own = IpAddr::V4(*config.api.listen.ip());
    let scaler = Scaler::new(
        &config.node,
        Some(own),
        peer_apis(&config),
        &secret.token(Purpose::Peer),
        handle.clone(),
        gossip.clone(),
    );
    let parts = api::Parts {
        driver: handle.clone(),
        scaler: scaler.clone(),
        vip: vip.clone(),
        gossip: gossip.clone(),
        journal: journal.clone(),
        metrics: Arc::clone(&metrics),
    };
    let context = api::Context::new(parts, &secret);
    let places = api::Places::new([IpAddr::V4(Ipv4Addr::LOCALHOST), own], peer_addrs(&config));
    let cluster_ended = running.ended();
    let marks = gossip.marks();
    let mut reloader = Reloader::new(reload::Parts {
        path,
        config: Arc::clone(&config),
        ways: Box::new({
            let token = secret.token(Purpose::Peer);
            move |config| ways(config, &token)
        }),
        net: Arc::clone(&net),
        driver: handle.clone(),
        vip: vip.clone(),
        scaler,
        places: places.clone(),
        cluster: running,
        journal: journal.clone(),
    });
    let members = Members {
        node: config.node.clone(),
        vip: config.vip.as_ref().map(VipSettings::of),
        gossip,
        refusals,
        account: driver.account(),
        capacity: driver.capacity(),
        driver: handle.clone(),
        journal,
    };
    let mut server = tokio::spawn(api::serve(listener, api::router(context), places, stop.clone()));
    let mark_writer = tokio::spawn(keep::write_marks(disk.clone(), marks, Arc::clone(&metrics)));
    let writer = tokio::spawn(keep::write_states(disk, to_write, handle.clone(), Arc::clone(&metrics)));
    let network = tokio::spawn(keep::keep_network(net));
    let stock = tokio::spawn(keep::take_stock(hypervisor, core, before.desired, handle));
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

    let mut reloads = tokio::spawn({
        let stop = stop.clone();
        async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return reloader.into_cluster(),
                    Some(()) = hangup.recv() => reloader.reload().await,
                }
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
        ended = mark_writer => Err(anyhow::anyhow!("writing who is forgotten ended by itself: {ended:?}")),
        ended = &mut reloads => Err(anyhow::anyhow!("waiting for SIGHUP ended by itself: {ended:?}")),
        ended = network => Err(anyhow::anyhow!("keeping the network ended by itself: {ended:?}")),
        task = cluster_ended => Err(anyhow::anyhow!("a task of the cluster ended by itself: {task}")),
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
    if !reloads.is_finished()
        && let Ok(running) = reloads.await
    {
        running.stop().await;
    }
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

async fn open_vip(of: &config::Vip, config: &Config, secret: &Secret, world: World) -> Result<vip::Parts> {
    let World { disk, net, driver, lb, metrics, journal, beats, incoming } = world;
    let record = disk.load_vip()?;
    let adopted = net.vip_installed().await?.unwrap_or(VipDesired::released(of.addr));
    let interface = config.network.interface.clone();
    let (announcer, seen) = Announcer::open(interface, of.addr).await.context("network.interface")?;
    let token = secret.token(Purpose::Peer);
    let peers = ways(config, &token);
    Ok(vip::Parts {
        checks: of.checks(),
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
        config: config.vip_core(of),
    })
}

/// The ways to the other managers, for nominations and probes.
fn ways(config: &Config, token: &Token) -> BTreeMap<String, vip::Peer> {
    let own = IpAddr::V4(*config.api.listen.ip());
    let timing = config.vip.as_ref().map(config::Vip::timing).unwrap_or_default();
    let peers = config.peers.iter();
    peers.map(|peer| (peer.node.clone(), vip::Peer::new(peer.api, token, &timing).from(own))).collect()
}

/// Where each peer is asked.
pub(crate) fn peer_apis(config: &Config) -> BTreeMap<String, SocketAddr> {
    config.peers.iter().map(|peer| (peer.node.clone(), SocketAddr::V4(peer.api))).collect()
}

/// Where each peer's orders come from.
pub(crate) fn peer_addrs(config: &Config) -> BTreeMap<String, IpAddr> {
    config.peers.iter().map(|peer| (peer.node.clone(), IpAddr::V4(*peer.api.ip()))).collect()
}

/// Where the datagrams of the manager whose API is at `api` come from and go to.
const fn gossip_addr(config: &Config, api: SocketAddrV4) -> SocketAddrV4 {
    SocketAddrV4::new(*api.ip(), config.cluster.gossip_port)
}

/// The other nodes, as the cluster knows them.
pub(crate) fn members(config: &Config) -> Vec<PeerAddr> {
    let addr = |peer: &config::Peer| gossip_addr(config, peer.api);
    let member =
        |peer: &config::Peer| PeerAddr { node: peer.node.clone(), addr: addr(peer), pool: peer.pool };
    config.peers.iter().map(member).collect()
}

fn cluster_config(config: &Config, secret: &Secret, boot: u64, forgotten: Marks) -> cluster::Config {
    cluster::Config {
        cluster: config.cluster.name.clone(),
        node: config.node.clone(),
        boot,
        listen: gossip_addr(config, config.api.listen),
        pool: config.network.pool,
        peers: members(config),
        forgotten,
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
    cluster_config(config, &secret, 1, Marks::new()).check()?;
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

/// The ways to the peers' pools.
pub(crate) fn peer_routes(config: &Config) -> Vec<PeerRoute> {
    config.peers.iter().map(|peer| PeerRoute { pool: peer.pool, via: *peer.api.ip() }).collect()
}

fn net_settings(config: &Config) -> Result<net::Settings, config::Error> {
    Ok(net::Settings {
        interface: config.network.interface.clone(),
        bridge: config.network.bridge.clone(),
        pool: config.network.pool,
        host_addr: config.pool()?.host(),
        peers: peer_routes(config),
        vip: config.vip.as_ref().map(|vip| vip.addr),
    })
}
