//! The shell around the library: arguments, logs, runtime, signals.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use rng_service::Config;
use rng_service::config::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Exit status after a second signal.
const IMPATIENT: i32 = 3;

/// Answers with random values over HTTP.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The configuration file (TOML). Without it, the defaults hold.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Who answers; overrides the file.
    #[arg(long, env = "PHALANX_INSTANCE", value_name = "ID")]
    instance: Option<String>,
    /// Where the manager reads heartbeats from; overrides `manager_addr` of the file.
    #[arg(long, env = "PHALANX_GATEWAY", value_name = "IP")]
    manager_addr: Option<IpAddr>,
    /// Checks the configuration and exits.
    #[arg(long)]
    check_config: bool,
    /// How logs are written, on standard error. RUST_LOG filters them (default: info).
    #[arg(long, value_enum, default_value_t)]
    log_format: program_log::Format,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let mut config = Config::load(args.config.as_deref(), args.instance)?;
    config.manager_addr = args.manager_addr.or(config.manager_addr);
    if args.check_config {
        println!("the configuration is valid");
        return Ok(());
    }
    let _log = program_log::init(args.log_format, "", "info");
    raise_file_limit(&mut config.limits);
    // One processor, the usual case in a small VM, gains nothing from worker threads.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut runtime = match processors {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build().context("runtime")?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Before the listener: whoever can connect may also send a signal.
    let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listen: {}", config.listen))?;
    let (first, shutdown) = oneshot::channel();
    tokio::spawn(watch_signals(signals, first));
    tracing::info!(listen = %listener.local_addr()?, instance = config.instance, "serving");
    let registry = prometheus::Registry::new();
    let drained = rng_service::serve(listener, config, &registry, async {
        // The sender only goes away by sending.
        let _ = shutdown.await;
    })
    .await?;
    if drained.cut > 0 {
        tracing::warn!(cut = drained.cut, "requests were still open at drain.timeout_ms");
    }
    Ok(())
}

/// What the process has open beside its connections, generously.
const OTHER_FILES: usize = 64;

/// Every connection takes a file descriptor, and the usual soft limit is only 1024. Without descriptors to
/// spare, others could leave none for the manager, whose places would be of no use: so where the limit cannot
/// be raised far enough, others get fewer places.
fn raise_file_limit(limits: &mut Limits) {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let Some(files) = getrlimit(Resource::Nofile).current else { return };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let room = files.saturating_sub(limits.manager_connections + OTHER_FILES).max(1);
    if room < limits.max_connections {
        tracing::warn!(
            files,
            max_connections = room,
            "fewer connections than configured: too few open files"
        );
        limits.max_connections = room;
    }
}

async fn watch_signals(mut signals: (Signal, Signal), first: oneshot::Sender<()>) {
    next(&mut signals).await;
    let _ = first.send(());
    next(&mut signals).await;
    tracing::warn!("second signal: exiting at once");
    std::process::exit(IMPATIENT);
}

async fn next((terminate, interrupt): &mut (Signal, Signal)) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
