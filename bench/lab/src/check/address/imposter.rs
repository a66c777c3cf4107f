//! A second manager with the name of a host: a copied configuration, with the cluster's secret, at another address.
//!
//! It is a whole manager. Its hypervisor is libvirt's own mock, so it takes stock, finds nothing, and would tell all
//! that its namesake serves nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::super::job::RATE;
use super::commands::services_of;
use super::readings::{metric, told, unix_ms};
use super::rest::at_rest;
use super::station::Station;
use super::trial::Trial;
use crate::plan::{API_PORT, HostPlan, STRANGER, STRANGER_NETNS};
use crate::state::{ROOT, State, host_dir};
use crate::up;

/// How long it is there: managers tell each other everything every two seconds.
const PRESENT: Duration = Duration::from_secs(6);
/// Between two looks at what its victim is believed to serve.
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn same_name(state: &State, victim: &HostPlan) -> Result<String> {
    let rest = at_rest(state).await?;
    let peer =
        state.plan.hosts.iter().find(|host| host.name != victim.name).context("there is another host")?;
    let before = services_of(peer, &victim.name).await?;
    let since = unix_ms();
    let series = |reason: &str| format!("manager_cluster_datagrams_dropped_total{{reason=\"{reason}\"}}");
    let counted = (metric(peer, &series("wrong_address")).await?, metric(victim, &series("own_name")).await?);
    let trial = Trial::start(&state.plan, RATE).await?;
    let fault = trial.now();
    let station = Station::arrive(&state.plan)?;
    let mut imposter = start(state, victim, &station)?;
    let there = station.addr.to_string();
    let by_peer = told(peer, since, &[&victim.name, &there, &victim.lan_addr.to_string()]).await;
    let by_victim = told(victim, since, &["used twice", &victim.name, &there]).await;
    let believed = believed(peer, victim, &before).await;
    let runs = imposter.try_wait()?;
    imposter.kill().await.context("cannot end the second manager")?;
    drop(station);
    let (by_peer, by_victim) = (by_peer?, by_victim?);
    ensure!(runs.is_none(), "the second manager has ended: {runs:?}");
    let after = at_rest(state).await?;
    up::all_served(state).await?;
    let seen = trial.finish(fault).await?;
    believed?;
    after.expect_same(&rest)?;
    seen.none_failed()?.held_by(&[&rest.owner])?;
    let now = (metric(peer, &series("wrong_address")).await?, metric(victim, &series("own_name")).await?);
    ensure!(now.0 > counted.0 && now.1 > counted.1, "dropped datagrams went from {counted:?} to {now:?}");
    Ok(format!("{}: \"{by_peer}\"; {}: \"{by_victim}\"; {}", peer.name, victim.name, seen.words()))
}

/// Looks for a while at what `victim` is believed to serve; an error unless that was always the same.
async fn believed(peer: &HostPlan, victim: &HostPlan, before: &BTreeSet<String>) -> Result<()> {
    let deadline = Instant::now() + PRESENT;
    let (mut looks, mut wrong) = (0, Vec::new());
    while Instant::now() < deadline {
        let now = services_of(peer, &victim.name).await?;
        looks += 1;
        if now != *before {
            wrong.push(now);
        }
        sleep(LOOK).await;
    }
    match wrong.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{} believes the second {} about its services: {first:?} instead of {before:?}, at {} of {looks} looks",
            peer.name,
            victim.name,
            wrong.len()
        ),
    }
}

fn start(state: &State, victim: &HostPlan, station: &Station) -> Result<Child> {
    let dir = Path::new(ROOT).join(STRANGER);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let own = host_dir(&victim.name).join("etc-phalanx");
    let text = fs::read_to_string(own.join("manager.toml")).context("cannot read the configuration")?;
    let config = copied(&text, &own, &dir, victim, station)?;
    let file = dir.join("manager.toml");
    fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
    let log = File::create(dir.join("manager.log")).context("cannot write its log")?;
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", STRANGER_NETNS])
        .arg(state.bin_dir.join("manager"))
        .arg("--config")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true);
    command.spawn().context("cannot start a second manager")
}

/// The configuration of `victim`, for a manager at another address that keeps its files in `dir`.
fn copied(text: &str, own: &Path, dir: &Path, victim: &HostPlan, station: &Station) -> Result<String> {
    let path = |path: &Path| toml::Value::String(path.display().to_string());
    let mut config: toml::Table = text.parse().context("the configuration is not understood")?;
    config.insert("secret_file".to_owned(), path(&own.join("secret")));
    config.insert("state_dir".to_owned(), path(&dir.join("state")));
    config.insert("runtime_dir".to_owned(), path(&dir.join("run")));
    let set = |config: &mut toml::Table, table: &str, key: &str, value: String| {
        let table = config.get_mut(table).and_then(toml::Value::as_table_mut);
        table.map(|table| table.insert(key.to_owned(), value.into()))
    };
    set(&mut config, "api", "listen", format!("{}:{API_PORT}", station.addr)).context("[api]")?;
    set(&mut config, "hypervisor", "uri", "test:///default".to_owned()).context("[hypervisor]")?;
    // Its namesake as a peer of another name, so that it hears of it.
    let mut namesake = toml::Table::new();
    namesake.insert("node".to_owned(), "namesake".into());
    namesake.insert("api".to_owned(), victim.api().to_string().into());
    let [a, b, ..] = victim.pool.network().octets();
    namesake.insert("pool".to_owned(), format!("{a}.{b}.250.0/24").into());
    let peers = config.get_mut("peers").and_then(toml::Value::as_array_mut).context("[[peers]]")?;
    peers.push(namesake.into());
    toml::to_string(&config).context("cannot write the configuration")
}
