//! The last good upstream set on disk, so that a load balancer that starts alone serves at once.
//!
//! Writing is a convenience and never in the way: it happens on a thread for blocking work, only the newest
//! set is written, and a failure (a full disk, say) is logged, counted and tried again later. A file that
//! cannot be read or is not a valid set is put aside as `<name>.bad` and otherwise ignored.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::PutUpstreams;

use crate::metrics::Metrics;
use crate::pool::{Invalid, Pool, validate};

/// Between a failed write and the next try.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a state file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    /// It is not the JSON of an upstream set.
    #[error("it is not an upstream set: {0}")]
    Parse(#[from] serde_json::Error),
    /// It is an upstream set that would not be accepted.
    #[error("it holds an invalid upstream set: {0}")]
    Invalid(#[from] Invalid),
}

/// Reads a state file; none when there is no such file.
///
/// # Errors
/// When there is one and it is of no use.
pub fn load(path: &Path, max_upstreams: usize) -> Result<Option<PutUpstreams>, LoadError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let set = serde_json::from_slice(&bytes)?;
    validate(&set, max_upstreams)?;
    Ok(Some(set))
}

/// Writes a state file: all of it, or nothing.
///
/// # Errors
/// When it cannot be written; the old one is still there then.
pub fn save(path: &Path, set: &PutUpstreams) -> io::Result<()> {
    let temporary = with_suffix(path, ".tmp");
    let result = write_and_rename(&temporary, path, set);
    if result.is_err() {
        // What is left of it only takes space. It may not even exist.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_and_rename(temporary: &Path, path: &Path, set: &PutUpstreams) -> io::Result<()> {
    let mut file = File::create(temporary)?;
    file.write_all(&serde_json::to_vec(set)?)?;
    file.sync_all()?;
    drop(file);
    fs::rename(temporary, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Puts the set of a state file in force, if there is one and it is of use.
pub fn restore(path: &Path, max_upstreams: usize, pool: &Pool) {
    match load(path, max_upstreams) {
        Ok(None) => tracing::info!(path = %path.display(), "no state file yet"),
        Ok(Some(set)) => {
            let (generation, upstreams) = (set.generation, set.upstreams.len());
            match pool.put(set) {
                Ok(_) => tracing::info!(generation, upstreams, "upstream set restored from the state file"),
                Err(e) => tracing::warn!("state file not used: {e}"),
            }
        }
        Err(e) => {
            let aside = with_suffix(path, ".bad");
            let kept = match fs::rename(path, &aside) {
                Ok(()) => format!("kept as {}", aside.display()),
                Err(e) => format!("not put aside: {e}"),
            };
            tracing::warn!(path = %path.display(), kept, "state file ignored: {e}");
        }
    }
}

/// Writes each new set to the state file.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins. The file has the set of the generation `written`, or something of no use when that is 0.
    pub fn start(path: PathBuf, pool: Arc<Pool>, metrics: Arc<Metrics>, written: u64) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep(path.clone(), pool, metrics, written, stop.clone()));
        Self { path, stop, task }
    }

    /// Writes what is not written yet and ends. The path of the file; none if it took longer than `timeout`, and so
    /// may yet be written.
    pub async fn stop(self, timeout: Duration) -> Option<PathBuf> {
        self.stop.cancel();
        tokio::time::timeout(timeout, self.task).await.is_ok().then_some(self.path)
    }
}

/// Writes each new set until `stop`, and then what is not written yet.
async fn keep(
    path: PathBuf,
    pool: Arc<Pool>,
    metrics: Arc<Metrics>,
    mut written: u64,
    stop: CancellationToken,
) {
    let mut generations = pool.generations();
    if *generations.borrow_and_update() != written {
        generations.mark_changed();
    }
    let mut failed = false;
    loop {
        let stopping = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            changed = generations.changed() => changed.is_err(),
            () = tokio::time::sleep(RETRY_AFTER), if failed => false,
        };
        let set = pool.set();
        let generation = set.generation;
        if generation != written {
            let target = path.clone();
            let result = tokio::task::spawn_blocking(move || save(&target, &set)).await;
            match result.map_err(io::Error::other).flatten() {
                Ok(()) => {
                    if failed {
                        tracing::info!(generation, "state file written again");
                    }
                    (written, failed) = (generation, false);
                }
                Err(e) => {
                    metrics.state_write_failures.inc();
                    tracing::warn!(path = %path.display(), generation, "state file not written: {e}");
                    failed = true;
                }
            }
        }
        if stopping {
            return;
        }
    }
}
