//! Removes a lab, whole or in pieces.
//!
//! It works from what it finds on the machine rather than from what should be there, so it can be run twice, after
//! half an `up`, and after the supervisor was killed. It touches nothing that is not the lab's.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::process::Signal;

use crate::control::{self, Request};
use crate::ip::ip;
use crate::plan::CALLER_LINK;
use crate::procs::{NETNS_DIR, NamespaceId, Process, kill_all, lab_namespaces, lab_processes, send};
use crate::state::{Lock, ROOT, State};
use crate::steps::say;

/// How long all processes of a lab may take to vanish after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// How long the supervisor may take for its part.
const SUPERVISOR_LIMIT: Duration = Duration::from_secs(45);

/// What was removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Processes killed.
    pub processes: usize,
    /// Network namespaces removed.
    pub namespaces: usize,
}

/// Whether anything of a lab is on this machine, apart from the directory in which the lock is.
pub(crate) fn anything_left() -> bool {
    Path::new(ROOT).join("state.json").exists()
        || !lab_namespaces().is_empty()
        || link_exists(CALLER_LINK)
        || !lab_processes().is_empty()
}

/// Takes the lock for a new lab, and removes what an earlier one has left. It refuses while a lab is up.
pub(crate) async fn make_room() -> Result<Lock> {
    let lock = Lock::take()?;
    if let Some(process) = State::load().ok().flatten().and_then(|state| state.live_supervisor()) {
        bail!("a lab is up already (supervisor process {}): remove it with `./demo down`", process.pid);
    }
    if !anything_left() {
        return Ok(lock);
    }
    say("removing what an earlier lab has left");
    remove(lock).await?;
    Lock::take()
}

/// Removes the lab of this machine under the lock given, and with it the lock's directory.
pub(crate) async fn remove(lock: Lock) -> Result<Removed> {
    let state = State::load().unwrap_or_else(|error| {
        eprintln!("warning: {error:#}; removing what can be found without it");
        None
    });
    if let Some(supervisor) = state.as_ref().and_then(State::live_supervisor) {
        stop_supervisor(supervisor).await?;
    }
    let removed = match &state {
        Some(state) => sweep(state, || {})?,
        None => sweep_found(|| {})?,
    };
    match fs::remove_dir_all(ROOT) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {ROOT}"));
        }
        _ => {}
    }
    drop(lock);
    Ok(removed)
}

/// Lets the supervisor take the lab down: it reaps what it kills. A supervisor that does not is killed.
async fn stop_supervisor(supervisor: Process) -> Result<()> {
    let deadline = Instant::now() + SUPERVISOR_LIMIT;
    // A stopped supervisor would never answer.
    send(supervisor, Signal::CONT)?;
    if let Err(error) = control::ask_within(&Request::Down, SUPERVISOR_LIMIT).await {
        eprintln!("warning: {error:#}");
        send(supervisor, Signal::TERM)?;
    }
    while supervisor.is_alive() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if supervisor.is_alive() {
        eprintln!("warning: the supervisor does not end; killing it");
        send(supervisor, Signal::KILL)?;
    }
    // When this very command started it, it is ours to reap; otherwise there is no such child.
    let _ = waitpid(Pid::from_raw(supervisor.pid), None);
    Ok(())
}

/// Kills the lab's processes, but this one, and removes its namespaces, links and mount points.
///
/// `reap` is called while waiting, for a caller whose children they are.
pub(crate) fn sweep(state: &State, reap: impl FnMut()) -> Result<Removed> {
    let removed = sweep_found(reap)?;
    for dir in state.made_dirs.iter().rev() {
        match fs::remove_dir(dir) {
            // Someone else uses it by now: then it is not ours any more.
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                return Err(error).with_context(|| format!("cannot remove {}", dir.display()));
            }
            _ => {}
        }
    }
    if state.made_netns_dir {
        remove_netns_dir()?;
    }
    Ok(removed)
}

fn sweep_found(reap: impl FnMut()) -> Result<Removed> {
    let processes = kill_all(KILL_LIMIT, reap)?;
    if link_exists(CALLER_LINK) {
        ip(&["link", "del", CALLER_LINK])?;
    }
    let namespaces = lab_namespaces();
    for name in &namespaces {
        remove_namespace(name)?;
    }
    Ok(Removed { processes, namespaces: namespaces.len() })
}

fn remove_namespace(name: &str) -> Result<()> {
    let path = Path::new(NETNS_DIR).join(name);
    // A file on which no namespace was mounted: `up` ended between the two.
    let is_mounted = NamespaceId::of(&path)
        .is_some_and(|id| NamespaceId::of(NETNS_DIR).is_some_and(|dir| !id.same_device(dir)));
    if is_mounted {
        ip(&["netns", "del", name]).map(|_| ())
    } else {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }
}

/// `ip netns add` makes this directory and mounts it on itself; both go when nobody else uses it.
fn remove_netns_dir() -> Result<()> {
    let dir = Path::new(NETNS_DIR);
    let Ok(mut entries) = fs::read_dir(dir) else { return Ok(()) };
    if entries.next().is_some() {
        return Ok(());
    }
    // Detached, because copies of the mount in other namespaces could make it busy. It fails when the directory
    // is no mount, and then there is nothing to undo.
    let _ = umount2(dir, MntFlags::MNT_DETACH);
    fs::remove_dir(dir).with_context(|| format!("cannot remove {NETNS_DIR}"))
}

/// Whether this machine has a link of that name.
pub(crate) fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}
