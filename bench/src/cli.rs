//! The shell around the library: arguments, runtime, signals, standard output.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use bench::churn::{self, ChurnOptions};
use bench::options::ProbeOptions;
use bench::probe::{self, Stop};
use bench::proxy::{self, ProxyOptions};
use bench::report::Line;
use bench::upstream_loss::{self, LossOptions};
use bench::vip::{self, VipOptions};
use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Measures what clients see.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Asks at a fixed rate, checks every answer, and reports. The first SIGINT or SIGTERM ends it in order
    /// (open requests are waited for), the second at once; both print the summary.
    Probe(ProbeOptions),
    /// Loses one of three upstreams under load, and compares what clients see with lb, nginx and HAProxy.
    UpstreamLoss(LossOptions),
    /// Measures what a request costs lb, bare pingora-proxy, nginx and HAProxy, in processor time and latency.
    Proxy(ProxyOptions),
    /// Changes lb's upstream set all the time, and watches clients and memory.
    Churn(ChurnOptions),
    /// Breaks the owner of a public address, in the lab that is up, and compares what clients see with keepalived and
    /// HAProxy.
    FailoverVip(VipOptions),
}

/// The exit code: 0, or 1 for failed requests with `--fail-on-error`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    raise_open_files();
    match args.command {
        Command::Probe(options) => probe(&options),
        Command::UpstreamLoss(options) => {
            let failed = upstream_loss::run(&options)?;
            Ok(ExitCode::from(u8::from(options.fail_on_error && failed > 0)))
        }
        Command::Proxy(options) => proxy::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Churn(options) => churn::run(&options).map(|()| ExitCode::SUCCESS),
        Command::FailoverVip(options) => vip::run(&options).map(|()| ExitCode::SUCCESS),
    }
}

fn probe(options: &ProbeOptions) -> anyhow::Result<ExitCode> {
    let plan = options.plan()?;
    // One thread: the timer, the sockets and the checks of 10 000 requests a second fit into it, and the
    // system under test may need the other processors.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")?;
    let probed = runtime.block_on(async {
        let stop = watch_signals()?;
        probe::run(plan, stop, |line| print(line, options.json)).await
    });
    match probed {
        Ok(summary) if options.fail_on_error && summary.failed > 0 => Ok(ExitCode::from(1)),
        Ok(_) => Ok(ExitCode::SUCCESS),
        // Whoever read the output has left: that is an end, not an error.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    }
}

fn print(line: &Line, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match line {
        line if json => writeln!(out, "{}", serde_json::to_string(line)?)?,
        Line::Interval(interval) => writeln!(out, "{interval}")?,
        Line::Summary(summary) => writeln!(out, "{summary}")?,
    }
    out.flush()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn watch_signals() -> anyhow::Result<watch::Receiver<Stop>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (order, ordered) = watch::channel(Stop::Run);
    tokio::spawn(async move {
        for stop in [Stop::Finish, Stop::Abandon] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            order.send_replace(stop);
        }
        order.closed().await;
    });
    Ok(ordered)
}

/// Each open connection is a file descriptor, and the usual soft limit of 1024 is below our own.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Best effort: without it, such failures are counted as `local`.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
