//! Finds and ends the processes of a lab.
//!
//! A process belongs to the lab when it is in one of the lab's network namespaces, whoever started it, or when
//! it carries the lab's mark in its environment. No other process is ever signalled: names and command
//! lines do not count.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::plan::is_lab_namespace;

#[cfg(test)]
mod tests;

/// The environment variable that marks a process of the lab; its value is the part: a host, `client`, `supervisor`.
pub(crate) const MARK: &str = "PHALANX_LAB";
/// Where named network namespaces are.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its id.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

impl Process {
    /// This process.
    pub(crate) fn current() -> Self {
        let pid = std::process::id().cast_signed();
        Self { pid, start_ticks: start_ticks(pid).unwrap_or_default() }
    }

    /// The process that has this id now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, start_ticks: start_ticks(pid)? })
    }

    /// Whether it still runs; one that has ended and waits for its parent does not.
    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.ended)
    }
}

struct Stat {
    start_ticks: u64,
    ended: bool,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/PID/stat`; the command's name in it may contain blanks and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let after_name = &text[text.rfind(')')? + 1..];
    let fields: Vec<_> = after_name.split_whitespace().collect();
    // Of a process with several threads the first one may be a zombie while the others still run.
    let threads: u32 = fields.get(17)?.parse().ok()?;
    let ended = matches!(*fields.first()?, "Z" | "X") && threads <= 1;
    Some(Stat { start_ticks: fields.get(19)?.parse().ok()?, ended })
}

fn start_ticks(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.start_ticks)
}

/// The identity of a namespace, comparable between `/run/netns/NAME` and `/proc/PID/ns/net`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NamespaceId {
    dev: u64,
    ino: u64,
}

impl NamespaceId {
    /// The namespace behind a path.
    pub(crate) fn of(path: impl AsRef<Path>) -> Option<Self> {
        fs::metadata(path).ok().map(|meta| Self { dev: meta.dev(), ino: meta.ino() })
    }

    /// The namespace behind an open file.
    pub(crate) fn of_file(file: &fs::File) -> Option<Self> {
        file.metadata().ok().map(|meta| Self { dev: meta.dev(), ino: meta.ino() })
    }

    /// Whether both are on the same file system.
    pub(crate) fn same_device(self, other: Self) -> bool {
        self.dev == other.dev
    }

    /// The network namespace of a process.
    pub(crate) fn of_process(pid: i32) -> Option<Self> {
        Self::of(format!("/proc/{pid}/ns/net"))
    }

    /// A network namespace by its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::of(Path::new(NETNS_DIR).join(name))
    }
}

/// The names of the lab's network namespaces that exist.
pub(crate) fn lab_namespaces() -> Vec<String> {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_lab_namespace(name))
        .collect();
    names.sort();
    names
}

/// A process of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The process.
    pub process: Process,
    /// Its command's name.
    pub comm: String,
}

/// Every process of the lab, but this one.
pub(crate) fn lab_processes() -> Vec<Found> {
    let namespaces: Vec<_> = lab_namespaces().iter().filter_map(|name| NamespaceId::named(name)).collect();
    all_pids()
        .filter(|pid| *pid != Process::current().pid)
        .filter(|pid| {
            NamespaceId::of_process(*pid).is_some_and(|id| namespaces.contains(&id)) || is_marked(*pid)
        })
        .filter_map(|pid| Some(Found { process: Process::of(pid)?, comm: comm(pid) }))
        .collect()
}

/// The ids of all processes.
pub(crate) fn all_pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The name of a process's command; empty if it is gone.
pub(crate) fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).map(|name| name.trim_end().to_owned()).unwrap_or_default()
}

/// Whether a process carries the lab's mark.
pub(crate) fn is_marked(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| has_mark(&environ))
}

fn has_mark(environ: &[u8]) -> bool {
    let prefix = format!("{MARK}=");
    environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(prefix.as_bytes()))
}

/// Sends a signal to exactly this process; false if it is gone.
pub(crate) fn send(process: Process, signal: Signal) -> Result<bool> {
    let Some(pid) = Pid::from_raw(process.pid) else { bail!("{} is no process id", process.pid) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("cannot open process {}", process.pid)),
    };
    // The descriptor is fixed now: if the start time still matches, it is the process that was meant.
    if start_ticks(process.pid) != Some(process.start_ticks) {
        return Ok(false);
    }
    match pidfd_send_signal(pidfd.as_fd(), signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {}", process.pid)),
    }
}

/// Kills every process of the lab and waits until none runs. A zombie counts as gone: it holds nothing, and not every
/// machine has an init that would collect it.
///
/// `reap` is called between looks: a supervisor collects its children there.
pub(crate) fn kill_all(limit: Duration, mut reap: impl FnMut()) -> Result<usize> {
    let deadline = Instant::now() + limit;
    let mut killed: Vec<Process> = Vec::new();
    loop {
        reap();
        let left = lab_processes();
        if left.is_empty() && !killed.iter().any(Process::is_alive) {
            return Ok(killed.len());
        }
        for found in &left {
            send(found.process, Signal::KILL)?;
            if !killed.contains(&found.process) {
                killed.push(found.process);
            }
        }
        if Instant::now() > deadline {
            let names: Vec<_> = killed
                .iter()
                .filter(|process| process.is_alive())
                .map(|process| format!("{} ({})", process.pid, comm(process.pid)))
                .collect();
            bail!("processes do not end: {}", names.join(", "));
        }
        sleep(Duration::from_millis(10));
    }
}

/// The signal called `name`, with or without `SIG`.
pub(crate) fn signal_by_name(name: &str) -> Option<Signal> {
    let upper = name.to_ascii_uppercase();
    Some(match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "KILL" => Signal::KILL,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        "QUIT" => Signal::QUIT,
        "ABRT" => Signal::ABORT,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        _ => return None,
    })
}
