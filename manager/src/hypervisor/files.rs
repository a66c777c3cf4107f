//! The files a VM leaves in the runtime directory, and which of them to remove.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Error, at};

/// The ending of a socket's name.
pub(super) const SOCKET: &str = ".sock";
/// The ending of a console log's name.
pub(super) const CONSOLE: &str = ".console";

/// How many console logs of VMs that are gone are kept: somebody may want to know why they died.
const KEPT_LOGS: usize = 16;
/// The longest console log of a running VM, in bytes.
const MAX_LOG: u64 = 1024 * 1024;

/// A socket or console log in the runtime directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// The domain it belongs to.
    pub(super) domain: String,
    pub(super) is_log: bool,
    pub(super) len: u64,
    pub(super) modified: SystemTime,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Remove(PathBuf),
    Truncate(PathBuf),
}

impl Step {
    pub(super) fn run(&self) -> Result<(), Error> {
        match self {
            Self::Remove(path) => remove(path),
            Self::Truncate(path) => {
                let cut = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(0));
                ignore_missing(path, cut)
            }
        }
    }
}

/// What to do about what was found, while the domains in `active` exist.
pub(super) fn plan_sweep(found: Vec<Found>, active: &[String]) -> Vec<Step> {
    let (living, mut dead): (Vec<_>, Vec<_>) = found.into_iter().partition(|f| active.contains(&f.domain));
    let truncate = living.into_iter().filter(|f| f.is_log && f.len > MAX_LOG).map(|f| Step::Truncate(f.path));
    let mut steps: Vec<_> = truncate.collect();
    dead.sort_by_key(|f| std::cmp::Reverse(f.modified));
    let mut logs = 0;
    for file in dead {
        logs += usize::from(file.is_log);
        if !file.is_log || logs > KEPT_LOGS {
            steps.push(Step::Remove(file.path));
        }
    }
    steps
}

/// The sockets and console logs in `dir`. Other files are none of our business.
pub(super) fn scan(dir: &Path) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| at(dir, e))? {
        let path = entry.map_err(|e| at(dir, e))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let (domain, is_log) = match (name.strip_suffix(SOCKET), name.strip_suffix(CONSOLE)) {
            (Some(domain), _) => (domain.to_owned(), false),
            (_, Some(domain)) => (domain.to_owned(), true),
            _ => continue,
        };
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(at(&path, e)),
        };
        let modified = meta.modified().map_err(|e| at(&path, e))?;
        found.push(Found { domain, is_log, len: meta.len(), modified, path });
    }
    Ok(found)
}

/// Removes a file; one that does not exist is fine.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    ignore_missing(path, fs::remove_file(path))
}

fn ignore_missing(path: &Path, result: io::Result<()>) -> Result<(), Error> {
    match result {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(path, e)),
        _ => Ok(()),
    }
}

/// A new random UUID, from the kernel.
pub(super) fn random_uuid() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    Ok(fs::read_to_string(path).map_err(|e| at(path, e))?.trim_end().to_owned())
}

#[cfg(test)]
mod tests;
