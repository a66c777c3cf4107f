//! The shell around the library: arguments, logs, runtime, signals.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use rng_service::Config;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

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
    /// Checks the configuration and exits.
    #[arg(long)]
    check_config: bool,
    /// How logs are written, on standard error. RUST_LOG filters them (default: info).
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref(), args.instance)?;
    if args.check_config {
        println!("the configuration is valid");
        return Ok(());
    }
    start_logs(args.log_format);
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

fn start_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => logs.json().init(),
    }
}
