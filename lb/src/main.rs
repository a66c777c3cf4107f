//! The load balancer's program: arguments, log, signals. All else is in the library.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use lb::config::Config;
use lb::logging::{self, LogFormat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Phalanx's load balancer.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and exit.
    #[arg(long)]
    check_config: bool,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let config = Config::load(&args.config)?;
    if args.check_config {
        return Ok(());
    }
    logging::init(args.log_format, &std::env::var("PHALANX_INSTANCE").unwrap_or_default());
    raise_file_limit();
    let stop = async {
        // Without handlers the process would just be killed, so a failure to install them is fatal.
        let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
        let mut interrupt = signal(SignalKind::interrupt()).expect("a handler for SIGINT");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    lb::run(config, prometheus::Registry::new(), stop, |_| {}).context("the load balancer cannot run")
}

/// Every connection takes a file descriptor, and the usual soft limit is only 1024.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("cannot raise the limit of open files: {e}");
    }
}
