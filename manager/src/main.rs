//! `manager`: the daemon, and the commands to speak to it.

use std::process::ExitCode;

use clap::Parser;
use manager::cli::Cli;
use manager::config::Config;

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
    // Until all that can still say something has ended.
    let _log;
    let outcome = match &cli.command {
        Some(command) => runtime.block_on(manager::cli::run(cli, command)),
        None => {
            let config = Config::load(&cli.config)?;
            if cli.check_config {
                manager::run::check(&config)?;
                println!("{}: good", cli.config.display());
                return Ok(());
            }
            _log = program_log::init(cli.log_format, "", "info");
            runtime.block_on(manager::run::run(config, cli.config.clone(), cli.leave))
        }
    };
    // A call of libvirt that hangs must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    outcome
}
