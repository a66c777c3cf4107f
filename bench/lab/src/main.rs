//! `lab`: a whole cluster on one machine, for the demonstration and for the end-to-end checks.

mod admin;
mod api;
mod check;
mod cli;
mod commands;
mod console;
mod control;
mod files;
mod interrupt;
mod ip;
mod logs;
mod netcheck;
mod network;
mod ns;
mod plan;
mod probe;
mod procs;
mod run;
mod state;
mod status;
mod steps;
mod supervisor;
mod teardown;
mod units;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match commands::dispatch(cli::Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
