//! The program of the VM's role: how it is started, signalled and reaped.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use wire::Role;

/// What to start, and with what.
#[derive(Debug)]
pub(crate) struct Program {
    role: Role,
    env: Vec<(String, String)>,
}

/// Where the role's configuration is.
pub(crate) fn config_path(role: Role) -> String {
    format!("/etc/phalanx/{}.toml", role.as_str())
}

impl Program {
    /// The program of `role`, with exactly the environment `env`.
    pub(crate) fn new(role: Role, env: Vec<(String, String)>) -> Self {
        Self { role, env }
    }

    /// Starts it as the leader of a process group of its own, with the console for output.
    ///
    /// # Errors
    /// What fork or exec says.
    pub(crate) fn start(&self) -> io::Result<u32> {
        let mut command = Command::new(format!("/usr/bin/{}", self.role.as_str()));
        command
            .args(["--config", &config_path(self.role)])
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0);
        crate::sys::unblock_signals(&mut command);
        Ok(command.spawn()?.id())
    }
}

/// Sends `signal` to the process group `group`; it may be gone.
pub(crate) fn signal_group(group: u32, signal: Signal) {
    if let Ok(group) = i32::try_from(group) {
        match killpg(Pid::from_raw(group), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => eprintln!("init: cannot send {signal} to group {group}: {errno}"),
        }
    }
}

/// Takes the end of one process, whoever started it: its id, and `exit status 1` or `signal 9`.
pub(crate) fn reap() -> Option<(u32, String)> {
    let (pid, status) = crate::sys::wait_any()?;
    Some((pid, describe(status)))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests;
