//! What goes on from start to stop beside the loops: the disk is written, libvirt looked at, the network repaired.
//!
//! Each of these waits for something slow, and tries again what failed. None of them decides anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use manager_core::core::ForeignVm;
use manager_core::slot::DomainRef;
use manager_core::{Desired, Event, Observed};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::cluster::Marks;
use crate::disk::{Disk, State};
use crate::driver::Handle;
use crate::hypervisor::{Hypervisor, RunningDomain};
use crate::metrics::Metrics;
use crate::net::Net;

/// Between two tries to reach libvirt after the start.
const LIBVIRT_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at what libvirt runs.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Between two looks at the host's network: well below the time after which silent VMs are given up, because a
/// bridge that somebody removed makes them all silent. A look costs a few netlink requests.
const NETWORK_AGAIN: Duration = Duration::from_secs(1);
/// Between two tries to write the state to disk.
const DISK_AGAIN: Duration = Duration::from_secs(1);

/// Writes each state to disk, the latest if several came meanwhile, and says how it went.
pub(super) async fn write_states(
    disk: Disk,
    mut states: watch::Receiver<(u64, State)>,
    driver: Handle,
    metrics: Arc<Metrics>,
) {
    while states.changed().await.is_ok() {
        loop {
            let (revision, state) = states.borrow_and_update().clone();
            let disk = disk.clone();
            let Err(error) = written(move || disk.store(&state)).await else {
                driver.event(Event::Persisted { revision }).await;
                break;
            };
            metrics.persist_failures.with_label_values(&["state"]).inc();
            warn!(error, revision, "cannot write the state; requests are refused, healing goes on");
            driver.event(Event::PersistFailed { revision }).await;
            if pause_or_change(&mut states).await.is_err() {
                return;
            }
        }
    }
}

/// Writes who is forgotten to disk, so that a restart does not bring back what others still pass on.
pub(super) async fn write_marks(disk: Disk, mut marks: watch::Receiver<Marks>, metrics: Arc<Metrics>) {
    while marks.changed().await.is_ok() {
        loop {
            let (disk, now) = (disk.clone(), marks.borrow_and_update().clone());
            let Err(error) = written(move || disk.store_marks(&now)).await else { break };
            metrics.persist_failures.with_label_values(&["forgotten"]).inc();
            warn!(error, "cannot write who is forgotten; the other nodes know it, and it is tried again");
            if pause_or_change(&mut marks).await.is_err() {
                return;
            }
        }
    }
}

/// Writes beside the loops; the error in words.
async fn written<E: ToString + Send + 'static>(
    store: impl FnOnce() -> Result<(), E> + Send + 'static,
) -> Result<(), String> {
    let written = tokio::task::spawn_blocking(store).await;
    written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Until it is time to try again, or there is something newer to write. An error if there never will be.
async fn pause_or_change<T>(news: &mut watch::Receiver<T>) -> Result<(), watch::error::RecvError> {
    tokio::time::timeout(DISK_AGAIN, news.changed()).await.unwrap_or(Ok(()))
}

/// Reaches libvirt and reports what runs; then looks again every so often, for domains nobody knows of.
pub(super) async fn take_stock(
    hypervisor: Hypervisor,
    core: manager_core::Config,
    desired: Desired,
    driver: Handle,
) -> Result<Infallible, ForeignVm> {
    let mut complained = false;
    let running: Vec<_> = loop {
        match hypervisor.list().await {
            Ok(running) => break running.into_iter().map(observed).collect(),
            Err(error) if !complained => warn!(%error, "cannot take stock of the VMs; trying again"),
            Err(_) => {}
        }
        complained = true;
        tokio::time::sleep(LIBVIRT_AGAIN).await;
    };
    // Before anything is done about VMs that another configuration made.
    core.check_inventory(&running, &desired)?;
    driver.ready(hypervisor.clone(), running, desired).await;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        match hypervisor.list().await {
            Ok(running) => driver.event(Event::Seen(running.into_iter().map(observed).collect())).await,
            Err(error) => warn!(%error, "cannot list domains"),
        }
        if let Err(error) = hypervisor.sweep().await {
            warn!(%error, "cannot tidy up runtime_dir");
        }
    }
}

/// Sets up the host's network, and repairs it every so often. What is wrong is said once: it is found again at
/// every look.
pub(super) async fn keep_network(net: Arc<Net>) -> Infallible {
    let mut last = String::new();
    loop {
        let now = match net.ensure().await {
            Ok(changes) => changes.conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Err(error) => error.to_string(),
        };
        if now != last {
            if now.is_empty() {
                info!("the host's network is as it should be again");
            } else {
                error!(reason = now, "the host's network is not as it should be");
            }
            last = now;
        }
        tokio::time::sleep(NETWORK_AGAIN).await;
    }
}

fn observed(running: RunningDomain) -> Observed {
    let meta = running.meta.clone();
    let age = running.process.age();
    let domain = DomainRef::from(running);
    Observed { domain, id: meta.id, role: meta.role, addr: meta.addr, incarnation: meta.incarnation, age }
}
