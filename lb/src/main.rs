//! The load balancer's program: arguments, log, signals. All else is in the library.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use lb::Order;
use lb::config::Config;
use lb::upgrade::{self, Program};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is logged unless `RUST_LOG` says otherwise. pingora logs each failed request on its own; those are logged by this
/// program, once, and counted.
const LOG_FILTER: &str = "info,pingora_proxy=off,pingora_core=error";

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
    log_format: program_log::Format,
}

fn main() -> anyhow::Result<()> {
    let program = Program::current().context("cannot find out which program this is")?;
    // Before anything is opened.
    let inherited = upgrade::inherited().context("cannot take over from the predecessor")?;
    let args = Args::parse();
    let config = Config::load(&args.config)?;
    if args.check_config {
        lb::check(&config)?;
        return Ok(());
    }
    let instance = std::env::var("PHALANX_INSTANCE").unwrap_or_default();
    let _log = program_log::init(args.log_format, &instance, LOG_FILTER);
    raise_file_limit(&config);
    let (orders, ordered) = mpsc::channel(4);
    let stop = signals(args.config, program, orders);
    lb::succeed(config, prometheus::Registry::new(), inherited, ordered, stop, |_| {})
        .context("the load balancer cannot run")
}

/// Done at the signal to stop. Passes on what other signals mean.
async fn signals(path: PathBuf, program: Program, orders: mpsc::Sender<Order>) {
    // Without handlers the process would just be killed, so a failure to install them is fatal.
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler for SIGINT");
    let mut hangup = signal(SignalKind::hangup()).expect("a handler for SIGHUP");
    let mut upgrade = signal(SignalKind::user_defined2()).expect("a handler for SIGUSR2");
    loop {
        let order = tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            _ = hangup.recv() => match Config::load(&path) {
                Ok(config) => Order::Reload(Box::new(config)),
                Err(e) => {
                    tracing::error!("configuration not reloaded: {e}");
                    continue;
                }
            },
            _ = upgrade.recv() => Order::Upgrade(program.clone()),
        };
        if let Err(e) = orders.try_send(order) {
            tracing::error!("too many signals at once: {e}");
        }
    }
}

/// Every connection takes a file descriptor, and the usual soft limit is only 1024.
fn raise_file_limit(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    if let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("cannot raise the limit of open files: {e}");
    }
    // One for the client and one for the upstream.
    let (connections, files) = (config.limits.connections.get(), getrlimit(Resource::Nofile).current);
    if files.is_some_and(|files| files < 2 * connections) {
        tracing::warn!(
            connections,
            files,
            "limits.connections takes two open files each, more than this process may have: connections will be refused"
        );
    }
}
