//! QEMU processes on this host: finding them, watching them end, ending them.
//!
//! A process is named by its id and its start time: ids are used again, the pair never is. libvirt is not asked
//! here, so all of this works while libvirtd is stopped or hangs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::raw;

/// A process, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// The process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_time: u64,
}

impl ProcessId {
    /// How long it has been running, to a hundredth of a second.
    pub fn age(&self) -> Duration {
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let now =
            Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
        now.saturating_sub(Duration::from_millis(self.start_time.saturating_mul(1000) / ticks))
    }
}

/// Waits until the process is gone; returns at once if it already is. Dropping the future is harmless.
///
/// # Errors
/// When the kernel refuses a pidfd for another reason than that the process is gone.
pub async fn exited(process: ProcessId) -> io::Result<()> {
    match open(process)? {
        Some(pidfd) => {
            let pidfd = raw::watch(pidfd)?;
            pidfd.readable().await.map(drop)
        }
        None => Ok(()),
    }
}

/// Sends SIGKILL and waits for the end, `limit` at most. It works on a stopped process, too.
///
/// # Errors
/// `TimedOut` if the process still exists after `limit` (it hangs in the kernel), and what `exited` gives.
pub(super) async fn kill(process: ProcessId, limit: Duration) -> io::Result<()> {
    let Some(pidfd) = open(process)? else { return Ok(()) };
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Ok(()),
        Err(e) => return Err(e.into()),
    }
    let pidfd = raw::watch(pidfd)?;
    match tokio::time::timeout(limit, pidfd.readable()).await {
        Ok(ready) => ready.map(drop),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A handle on the process, or none if it is gone. The start time is compared after the handle is open, so it
/// cannot be the handle of another one.
fn open(process: ProcessId) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let same = start_time(process.pid)? == Some(process.start_time);
    Ok(same.then_some(pidfd))
}

/// When the process with this id started; none if there is no such process.
pub(super) fn start_time(pid: u32) -> io::Result<Option<u64>> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => {
            parse_start_time(&stat).map(Some).ok_or_else(|| io::Error::other(format!("unreadable: {stat:?}")))
        }
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The second field is the program's name in parentheses and may contain anything, parentheses and blanks too.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Every QEMU process on this host, by the domain UUID on its command line.
pub(super) fn qemu_processes() -> io::Result<BTreeMap<String, ProcessId>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match qemu_process(pid, &entry.path()) {
            Ok(Some((uuid, process))) => drop(found.insert(uuid, process)),
            Ok(None) => {}
            Err(e) if is_gone(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

fn qemu_process(pid: u32, dir: &Path) -> io::Result<Option<(String, ProcessId)>> {
    let before = start_time(pid)?;
    let Some(uuid) = uuid_of(&std::fs::read(dir.join("cmdline"))?) else { return Ok(None) };
    let after = start_time(pid)?;
    Ok(after.filter(|_| before == after).map(|start_time| (uuid, ProcessId { pid, start_time })))
}

/// The value of `-uuid`, if this is the command line of a QEMU.
fn uuid_of(cmdline: &[u8]) -> Option<String> {
    let mut args = cmdline.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = args.next()?;
    let program = program.rsplit('/').next()?;
    if !program.starts_with("qemu") && program != "kvm" {
        return None;
    }
    args.find(|arg| arg == "-uuid")?;
    args.next().map(|uuid| uuid.to_ascii_lowercase())
}

/// A process can end between any two looks at it.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests;
