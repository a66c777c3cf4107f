//! `manager`: the daemon, and the commands to speak to it.

use std::process::ExitCode;

use clap::Parser;
use manager::cli::{Cli, LogFormat};
use manager::config::Config;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manager: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = match &cli.command {
        Some(command) => runtime.block_on(manager::cli::run(cli, command)),
        None => {
            let config = Config::load(&cli.config)?;
            if cli.check_config {
                manager::run::check(&config)?;
                println!("{}: good", cli.config.display());
                return Ok(());
            }
            log_to_stderr(cli.log_format);
            runtime.block_on(manager::run::run(config, cli.leave))
        }
    };
    // A call of libvirt that hangs must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    outcome
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
