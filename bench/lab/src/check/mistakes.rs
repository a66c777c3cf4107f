//! What an administrator does to a host by mistake while its VMs serve. Their VMs must live on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::job::{MANAGER_WITHIN, RATE, lbs_of, lives_of, settled};
use crate::commands::kill;
use crate::ip::ip;
use crate::ns::path_in_host;
use crate::plan::HostPlan;
use crate::probe::{Probe, brief, expect_none_failed};
use crate::state::{State, host_dir};
use crate::status::Status;
use crate::steps::wait_for;
use crate::up;

/// How long a manager may take to say what it refuses, restarts included.
const REFUSED_WITHIN: Duration = Duration::from_secs(30);

/// The bridge is removed, and with it every way to the host's VMs. Requests under way are lost with it, so failures are
/// shown, not judged; that no VM is replaced is.
pub(super) async fn bridge_removed(state: &State, host: &HostPlan) -> Result<String> {
    let status = settled(state).await?;
    let before = lives_of(&status, &host.name)?;
    let probe = Probe::under_load(state, &lbs_of(&status)?, RATE).await?;
    ip(&["-n", &host.netns, "link", "del", "phx0"])?;
    let served = wait_for("the bridge", MANAGER_WITHIN, || up::all_served(state)).await;
    let summary = probe.stop().await?;
    served?;
    let after = lives_of(&settled(state).await?, &host.name)?;
    ensure!(after == before, "the VMs were {before:?} and are {after:?}");
    Ok(brief(&summary))
}

/// The pool is changed in the configuration, and the manager restarts: it must refuse before it touches anything.
pub(super) async fn pool_changed(state: &State, host: &HostPlan) -> Result<String> {
    let status = settled(state).await?;
    let before = lives_of(&status, &host.name)?;
    let config = path_in_host(&host.name, "/etc/phalanx/manager.toml")?;
    let good = fs::read_to_string(&config).context("cannot read the configuration")?;
    let own = format!("pool = \"{}\"", host.pool);
    ensure!(good.contains(&own), "the configuration does not say {own}");
    let [a, b, ..] = host.pool.network().octets();
    let changed = good.replacen(&own, &format!("pool = \"{a}.{b}.240.0/24\""), 1);
    let log = host_dir(&host.name).join("manager.log");
    let said_before = refusals(&log)?;

    let probe = Probe::under_load(state, &lbs_of(&status)?, RATE).await?;
    fs::write(&config, changed).context("cannot change the configuration")?;
    kill(state, &format!("manager:{}", host.name), "KILL").await?;
    let refused = wait_for("its refusal", REFUSED_WITHIN, || async {
        ensure!(refusals(&log)? > said_before, "it has not refused yet");
        Ok(())
    })
    .await;
    fs::write(&config, good).context("cannot restore the configuration")?;
    let back = wait_for("the manager", MANAGER_WITHIN, || up::manager_is_healthy(host)).await;
    let summary = probe.stop().await?;
    refused?;
    back?;
    settled(state).await?;
    let after = lives_of(&Status::collect(state).await, &host.name)?;
    ensure!(after == before, "the VMs were {before:?} and are {after:?}");
    expect_none_failed(&summary)?;
    Ok(brief(&summary))
}

fn refusals(log: &Path) -> Result<usize> {
    let text = fs::read_to_string(log).context("cannot read the manager's log")?;
    Ok(text.matches("does not fit this node's name or its pool").count())
}
