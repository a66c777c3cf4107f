//! What a manager keeps on disk, and the lock that keeps a second manager away.
//!
//! The file is replaced as a whole (write, fsync, rename, fsync of the folder), so a crash leaves the old or
//! the new one. A file that cannot be understood is kept aside and reported, never overwritten unseen: what
//! runs is adopted from libvirt without it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use manager_core::Desired;
use manager_core::vip::Record;
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cluster::Marks;

const STATE_FILE: &str = "manager.json";
const VIP_FILE: &str = "vip.json";
const MARKS_FILE: &str = "forgotten.json";
const LOCK_FILE: &str = "manager.lock";
/// A pool has at most 65533 addresses; a state file is smaller than this.
const STATE_MAX_BYTES: u64 = 32 << 20;

/// Why the disk could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another manager works on the same node.
    #[error("another manager{owner} runs on this node already (it holds {path})", owner = owner(*.pid))]
    Locked {
        /// The lock.
        path: PathBuf,
        /// The other's process id, if it could be read.
        pid: Option<u32>,
    },
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + use<'a> {
    move |source| Error::Io { what, path: path.to_owned(), source }
}

/// The right to be this node's manager, for as long as it is held. The kernel takes it back from a process that
/// dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock in `runtime_dir`, which is created if it is missing.
    ///
    /// # Errors
    /// If another process holds it, or the folder cannot be used.
    pub fn acquire(runtime_dir: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(runtime_dir).map_err(io("create", runtime_dir))?;
        let path = runtime_dir.join(LOCK_FILE);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(io("open", &path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            let pid = read.ok().and_then(|_| text.trim().parse().ok());
            return Err(Error::Locked { path, pid });
        }
        // The number is a courtesy to whoever is kept out; the lock holds without it.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

/// Everything that survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Grows with each start of the manager.
    pub boot: u64,
    /// The VMs there should be.
    pub desired: Desired,
}

/// The state files of one manager.
#[derive(Debug, Clone)]
pub struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// The state files in `state_dir`.
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.to_owned() }
    }

    /// Reads the state; a file that is missing is the empty state. One that cannot be understood is kept aside, and
    /// counts as missing: what runs is adopted without it.
    ///
    /// # Errors
    /// If the disk cannot be read, or the file not be kept aside. To go on then would be to forget.
    pub fn load(&self) -> Result<State, Error> {
        self.load_file(STATE_FILE)
    }

    /// Reads the record of the public address, in the same way. One that is missing is found out from the peers.
    ///
    /// # Errors
    /// As [`Disk::load`].
    pub fn load_vip(&self) -> Result<Record, Error> {
        self.load_file(VIP_FILE)
    }

    /// Reads who was forgotten, in the same way. Without it, the other nodes know.
    ///
    /// # Errors
    /// As [`Disk::load`].
    pub fn load_marks(&self) -> Result<Marks, Error> {
        self.load_file(MARKS_FILE)
    }

    /// Replaces the state. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// If the disk refuses; the old state is still there then.
    pub fn store(&self, state: &State) -> Result<(), Error> {
        self.store_file(STATE_FILE, state)
    }

    /// Replaces the record of the public address. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// If the disk refuses; the old record is still there then.
    pub fn store_vip(&self, record: &Record) -> Result<(), Error> {
        self.store_file(VIP_FILE, record)
    }

    /// Replaces the list of those who are forgotten. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// If the disk refuses; the old list is still there then.
    pub fn store_marks(&self, marks: &Marks) -> Result<(), Error> {
        self.store_file(MARKS_FILE, marks)
    }

    fn load_file<T: Default + DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        let path = self.dir.join(name);
        let Some(text) = read(&path).map_err(io("read", &path))? else { return Ok(T::default()) };
        match serde_json::from_slice(&text) {
            Ok(value) => Ok(value),
            Err(error) => {
                let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let aside = self.dir.join(format!("{name}.bad-{seconds}"));
                std::fs::rename(&path, &aside).map_err(io("keep aside", &path))?;
                tracing::error!(
                    file = name,
                    %error,
                    kept = %aside.display(),
                    "state file cannot be understood; starting without"
                );
                Ok(T::default())
            }
        }
    }

    fn store_file(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let path = self.dir.join(name);
        let temporary = self.dir.join(format!(".{name}.new"));
        std::fs::create_dir_all(&self.dir).map_err(io("create", &self.dir))?;
        let text =
            serde_json::to_vec_pretty(value).map_err(std::io::Error::other).map_err(io("encode", &path))?;
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        if let Err(source) = written {
            let _ = std::fs::remove_file(&temporary);
            return Err(Error::Io { what: "write", path, source });
        }
        std::fs::rename(&temporary, &path).map_err(io("replace", &path))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io("sync", &self.dir))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, std::io::Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(STATE_MAX_BYTES).read_to_end(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
