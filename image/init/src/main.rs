//! PID 1 of every VM: gives the VM the identity its manager sends, and keeps the program of its role running.
//!
//! It waits on a virtio-serial port, configures what the identity says, starts one program, starts it again when
//! it ends, and powers the VM off when told. It refuses to be a general init: there are no services, no shells, no
//! logins, no disks. It also refuses to live on half-dead: whatever makes the VM useless ends PID 1, which is
//! a kernel panic, which (`panic=-1`) is the end of the VM. The manager then makes a new one.

mod backoff;
mod boot;
mod driver;
mod identity;
mod lines;
mod machine;
mod netlink;
mod network;
mod port;
mod program;
mod sys;

use std::process::ExitCode;

use nix::unistd::Pid;

fn main() -> ExitCode {
    if nix::unistd::getpid() != Pid::from_raw(1) {
        eprintln!("init: this is PID 1 of a VM; it does nothing else");
        return ExitCode::FAILURE;
    }
    // The end of PID 1 is a kernel panic. A Rust panic in PID 1 unwinds out of main and ends the same way,
    // after std has printed it on the console.
    match driver::run() {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("init: fatal: {error}");
            ExitCode::FAILURE
        }
    }
}
