//! What a lab must remember to be found and removed again, and the lock that keeps two commands apart.
//!
//! The state is written before the first thing is made, so even a lab that was killed half-way knows what
//! there may be to remove. It holds no secrets.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::procs::Process;

#[cfg(test)]
mod tests;

/// Everything a lab keeps on the machine, apart from namespaces, is below this.
pub(crate) const ROOT: &str = "/run/phalanx-lab";

/// What a lab must remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Names and addresses.
    pub plan: Plan,
    /// Where the programs are.
    pub bin_dir: PathBuf,
    /// Where the VM image is.
    pub image_dir: PathBuf,
    /// Directories made as mount points, to be removed again, in the order of their making.
    pub made_dirs: Vec<PathBuf>,
    /// Whether `/run/netns` was made for this lab.
    pub made_netns_dir: bool,
    /// The process that owns the cluster, once it runs.
    pub supervisor: Option<Process>,
}

impl State {
    /// The state of the lab on this machine; none if there is no lab.
    pub(crate) fn load() -> Result<Option<Self>> {
        Self::load_from(Path::new(ROOT))
    }

    fn load_from(root: &Path) -> Result<Option<Self>> {
        let path = root.join("state.json");
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", path.display()))?,
            )),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The state of a lab that must be there.
    pub(crate) fn require() -> Result<Self> {
        Self::load()?.context("there is no lab on this machine: start one with `./demo up`")
    }

    /// Writes the state, in one step.
    pub(crate) fn save(&self) -> Result<()> {
        self.save_to(Path::new(ROOT))
    }

    fn save_to(&self, root: &Path) -> Result<()> {
        write_atomically(&root.join("state.json"), &serde_json::to_vec_pretty(self)?)
    }

    /// The supervisor, if it still runs.
    pub(crate) fn live_supervisor(&self) -> Option<Process> {
        self.supervisor.filter(Process::is_alive)
    }
}

/// The directory of one host's files and logs.
pub(crate) fn host_dir(host: &str) -> PathBuf {
    Path::new(ROOT).join(host)
}

/// The supervisor's control socket.
pub(crate) fn control_socket() -> PathBuf {
    Path::new(ROOT).join("control.sock")
}

/// Replaces a file so that readers see the old or the new contents, never a part.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Held while a lab is put up or taken down. It is a lock on the directory itself, so no file is left.
#[derive(Debug)]
pub(crate) struct Lock {
    _dir: File,
}

impl Lock {
    /// Takes the lock, or says that another command holds it.
    pub(crate) fn take() -> Result<Self> {
        Self::take_at(Path::new(ROOT))
    }

    fn take_at(root: &Path) -> Result<Self> {
        // The directory may be removed between opening and locking it; then the lock is worth nothing.
        for _ in 0..100 {
            fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
            let Ok(dir) = File::open(root) else { continue };
            match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    bail!(
                        "another lab command is putting the lab up or taking it down: wait for it or end it"
                    )
                }
                Err(error) => return Err(error).with_context(|| format!("cannot lock {}", root.display())),
            }
            let locked = dir.metadata().with_context(|| format!("cannot look at {}", root.display()))?;
            if fs::metadata(root).is_ok_and(|now| now.ino() == locked.ino() && now.dev() == locked.dev()) {
                return Ok(Self { _dir: dir });
            }
        }
        bail!("cannot lock {}: it is removed again and again", root.display())
    }
}
