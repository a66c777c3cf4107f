//! One network namespace: made, entered by a thread, and removed with everything that runs in it.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::ip::ip;

/// Where named network namespaces are.
const DIR: &str = "/run/netns";

/// What all names begin with; the id of the process that made the namespace follows.
const PREFIX: &str = "phalanx-bench-";

/// A network namespace of its own, with `lo` up. Dropping it kills what runs in it and removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; `part` says what it stands for.
    ///
    /// # Errors
    /// What `ip` says, such as that it needs root.
    pub fn new(part: &str) -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{part}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip -n NAME ARGS`.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, args: &[&str]) -> Result<String> {
        ip(&[["-n", &self.name].as_slice(), args].concat())
    }

    /// What `work` returns, run on a thread of its own inside.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `work` fails.
    ///
    /// # Panics
    /// When `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        enter(&self.name, work)
    }

    /// As [`Self::enter`], with a runtime of one thread.
    ///
    /// # Errors
    /// As there, and when there can be no runtime.
    pub fn block_on<T: Send>(&self, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
        block_on(&self.name, work)
    }
}

/// What `work` returns, run on a thread of its own in the namespace called `name`, whoever made it.
///
/// # Errors
/// When the namespace cannot be entered, or `work` fails.
///
/// # Panics
/// When `work` does.
pub fn enter<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let entered = || {
        join(name)?;
        work()
    };
    thread::scope(|scope| scope.spawn(entered).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// As [`enter`], with a runtime of one thread.
///
/// # Errors
/// As there, and when there can be no runtime.
pub fn block_on<T: Send>(name: &str, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    enter(name, || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")?;
        runtime.block_on(work())
    })
}

/// Moves this thread, for the rest of its life, into the namespace called `name`.
///
/// # Errors
/// When there is none, or it may not be entered.
pub fn join(name: &str) -> Result<()> {
    let path = Path::new(DIR).join(name);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {name}"))
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes the namespaces of runs that are no more.
///
/// # Errors
/// When namespaces cannot be listed.
pub fn remove_stale() -> Result<()> {
    let entries = match fs::read_dir(DIR) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {DIR}")),
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if maker(name).is_some_and(|pid| !is_bench(pid)) {
            remove(name);
        }
    }
    Ok(())
}

/// The process in a namespace's name; none if it is not one of ours.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

/// Whether a process lives and is a bench, and not another one that was given the same id later.
fn is_bench(pid: u32) -> bool {
    let exe = |pid: u32| fs::read_link(PathBuf::from(format!("/proc/{pid}/exe")));
    let name = |pid| exe(pid).ok().and_then(|exe| exe.file_name().map(std::ffi::OsStr::to_owned));
    match (name(pid), name(std::process::id())) {
        (Some(one), Some(own)) => {
            one.to_string_lossy().trim_end_matches(" (deleted)") == own.to_string_lossy()
        }
        _ => false,
    }
}

/// Best effort: what is left is removed by the next run.
fn remove(name: &str) {
    for line in ip(&["netns", "pids", name]).unwrap_or_default().lines() {
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|pid| *pid != rustix::process::getpid()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    if let Err(error) = ip(&["netns", "delete", name]) {
        eprintln!("bench: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::{is_bench, maker};

    #[test]
    fn only_names_of_ours_have_a_maker() {
        assert_eq!(maker("phalanx-bench-123-4-client"), Some(123));
        for name in
            ["phx-client", "phalanx-bench-", "phalanx-bench-x-1-lan", "my-phalanx-bench-1-1-lan", "123"]
        {
            assert_eq!(maker(name), None, "{name}");
        }
    }

    #[test]
    fn this_process_is_one_and_process_1_is_not() {
        assert!(is_bench(std::process::id()));
        assert!(!is_bench(1));
    }
}
