//! The last good upstream set on disk, so that a load balancer that starts alone serves at once.
//!
//! Writing is a convenience and never in the way: it happens on a thread for blocking work, only the newest
//! set is written, and a failure (a full disk, say) is logged, counted and tried again later. A file that
//! cannot be read or is not a valid set is put aside as `<name>.bad` and otherwise ignored. Beside the set stands
//! what the configuration named then: when that has been edited since, the file does not hide it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::{PutUpstreams, Upstream};

use crate::pool::{Invalid, Pool, validate};
use crate::proxy::Proxy;

/// Between a failed write and the next try.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    generation: u64,
    upstreams: Vec<Upstream>,
    /// The upstreams that the configuration named when this was written. None: older versions did not note them.
    #[serde(default)]
    configured: Option<Vec<Upstream>>,
}

impl State {
    /// This set, and the upstreams that the configuration names.
    pub fn new(set: PutUpstreams, configured: Vec<Upstream>) -> Self {
        let PutUpstreams { generation, upstreams } = set;
        Self { generation, upstreams, configured: Some(configured) }
    }

    /// The set, and the upstreams that the configuration named, if that is known.
    pub fn into_parts(self) -> (PutUpstreams, Option<Vec<Upstream>>) {
        let Self { generation, upstreams, configured } = self;
        (PutUpstreams { generation, upstreams }, configured)
    }
}

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
pub fn load(path: &Path, max_upstreams: usize) -> Result<Option<State>, LoadError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let (set, configured) = serde_json::from_slice::<State>(&bytes)?.into_parts();
    validate(&set, max_upstreams)?;
    let PutUpstreams { generation, upstreams } = set;
    Ok(Some(State { generation, upstreams, configured }))
}

/// Writes a state file: all of it, or nothing.
///
/// # Errors
/// When it cannot be written; the old one is still there then.
pub fn save(path: &Path, state: &State) -> io::Result<()> {
    let temporary = with_suffix(path, ".tmp");
    let result = write_and_rename(&temporary, path, state);
    if result.is_err() {
        // What is left of it only takes space. It may not even exist.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_and_rename(temporary: &Path, path: &Path, state: &State) -> io::Result<()> {
    let mut file = File::create(temporary)?;
    file.write_all(&serde_json::to_vec(state)?)?;
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

/// Puts the set of a state file in force, if there is one and it is of use. Answers what the configuration named when
/// it was written, if it says so.
pub fn restore(path: &Path, max_upstreams: usize, pool: &Pool) -> Option<Vec<Upstream>> {
    match load(path, max_upstreams) {
        Ok(None) => tracing::info!(path = %path.display(), "no state file yet"),
        Ok(Some(state)) => {
            let (set, configured) = state.into_parts();
            let (generation, upstreams) = (set.generation, set.upstreams.len());
            match pool.put(set) {
                Ok(_) => {
                    tracing::info!(generation, upstreams, "upstream set restored from the state file");
                    return configured;
                }
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
    None
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
    pub(crate) fn start(path: PathBuf, proxy: Arc<Proxy>, written: u64) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep(path.clone(), proxy, written, stop.clone()));
        Self { path, stop, task }
    }

    /// Begins anew after a [`Keeper::stop`] that took too long: as soon as the last write has ended, one way or
    /// another. Two at a time would spoil each other's.
    pub(crate) fn restart(self, proxy: Arc<Proxy>) -> Self {
        let Self { path, task: before, .. } = self;
        let stop = CancellationToken::new();
        let (file, stopped) = (path.clone(), stop.clone());
        let task = tokio::spawn(async move {
            // What it came to is written once more.
            let _ = before.await;
            keep(file, proxy, 0, stopped).await;
        });
        Self { path, stop, task }
    }

    /// Writes what is not written yet and ends. The path of the file.
    ///
    /// # Errors
    /// When it took longer than `timeout`, so that the file may yet be written.
    pub async fn stop(mut self, timeout: Duration) -> Result<PathBuf, Self> {
        self.stop.cancel();
        match tokio::time::timeout(timeout, &mut self.task).await {
            Ok(_) => Ok(self.path),
            Err(_) => Err(self),
        }
    }
}

/// Writes each new set until `stop`, and then what is not written yet.
async fn keep(path: PathBuf, proxy: Arc<Proxy>, mut written: u64, stop: CancellationToken) {
    let mut generations = proxy.pool.generations();
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
        let set = proxy.pool.set();
        let generation = set.generation;
        if generation != written {
            let target = path.clone();
            let state = State::new(set, proxy.config().upstreams.clone());
            let result = tokio::task::spawn_blocking(move || save(&target, &state)).await;
            match result.map_err(io::Error::other).flatten() {
                Ok(()) => {
                    if failed {
                        tracing::info!(generation, "state file written again");
                    }
                    (written, failed) = (generation, false);
                }
                Err(e) => {
                    proxy.metrics.state_write_failures.inc();
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
