//! Keeps the host's neighbour entries as the core wants them: one per VM, leading to its present life.
//!
//! One task does it, in order, from the latest view: a late write can never undo a newer one. A write that fails
//! is remembered by [`Net`], and made by its next repair.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;

use crate::net::{Net, vm_mac};

/// Follows `lives` until the driver is gone.
pub(super) async fn run(net: Arc<Net>, mut lives: watch::Receiver<BTreeMap<Ipv4Addr, u64>>) {
    let mut known: BTreeMap<_, _> = match net.vms().await {
        Ok(installed) => installed.into_iter().collect(),
        Err(error) => {
            warn!(%error, "cannot read the neighbour entries of an earlier start");
            BTreeMap::new()
        }
    };
    loop {
        let wanted: BTreeMap<_, _> =
            lives.borrow_and_update().iter().map(|(addr, life)| (*addr, vm_mac(*addr, *life))).collect();
        for (addr, mac) in wanted.iter().filter(|(addr, mac)| known.get(addr) != Some(mac)) {
            if let Err(error) = net.set_vm(*addr, *mac).await {
                warn!(%addr, %error, "cannot set a neighbour entry");
            }
        }
        for addr in known.keys().filter(|addr| !wanted.contains_key(addr)) {
            if let Err(error) = net.remove_vm(*addr).await {
                warn!(%addr, %error, "cannot remove a neighbour entry");
            }
        }
        known = wanted;
        if lives.changed().await.is_err() {
            return;
        }
    }
}
