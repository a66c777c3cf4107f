//! Makes the lab's namespaces and links: one LAN, and everyone's cable into it.
//!
//! It sets up what an administrator's machine has before Phalanx comes: interfaces, addresses, and the client's
//! routes. Bridges, routes between hosts and neighbours of VMs are the managers' work.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::ip::ip;
use crate::ns::{CONFIG_MOUNTS, VAR_MOUNTS};
use crate::plan::{CALLER_LINK, CALLER_PORT, CLIENT, CLIENT_NETNS, LAN_BRIDGE, LAN_NETNS, Plan};
use crate::procs::NETNS_DIR;
use crate::state::State;

/// Makes the directories that hosts mount over and that this machine lacks, and notes them in the state, on disk,
/// before each is made.
pub(crate) fn make_mount_points(state: &mut State) -> Result<()> {
    for target in CONFIG_MOUNTS.iter().map(|mount| mount.0).chain(VAR_MOUNTS.iter().map(|mount| mount.0)) {
        let path = Path::new(target);
        let mut missing: Vec<PathBuf> =
            path.ancestors().take_while(|dir| !dir.exists()).map(Path::to_owned).collect();
        missing.reverse();
        for dir in missing {
            state.made_dirs.push(dir.clone());
            state.save()?;
            fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
    }
    if !Path::new(NETNS_DIR).exists() {
        state.made_netns_dir = true;
        state.save()?;
    }
    Ok(())
}

/// Makes namespaces and links. On an error a part of them is left for `teardown`.
pub(crate) fn build(plan: &Plan) -> Result<()> {
    for name in plan.namespaces() {
        ip(&["netns", "add", name])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
    }
    ip(&["-n", LAN_NETNS, "link", "add", LAN_BRIDGE, "type", "bridge"])?;
    ip(&["-n", LAN_NETNS, "link", "set", LAN_BRIDGE, "up"])?;
    for host in &plan.hosts {
        cable(plan, &host.name, &host.netns, host.lan_addr)?;
    }
    cable(plan, CLIENT, CLIENT_NETNS, plan.client)?;

    ip(&["link", "add", CALLER_LINK, "type", "veth", "peer", "name", CALLER_PORT, "netns", LAN_NETNS])?;
    plug(CALLER_PORT)?;
    ip(&["addr", "add", &format!("{}/{}", plan.caller, plan.lan.prefix_len()), "dev", CALLER_LINK])?;
    ip(&["link", "set", CALLER_LINK, "up"])?;

    for host in &plan.hosts {
        let route = ["route", "add", &host.pool.to_string(), "via", &host.lan_addr.to_string()];
        ip(&route)?;
        ip(&[["-n", CLIENT_NETNS].as_slice(), route.as_slice()].concat())?;
    }
    Ok(())
}

/// Connects `eth0` of a namespace to the LAN.
pub(crate) fn cable(plan: &Plan, port: &str, netns: &str, addr: std::net::Ipv4Addr) -> Result<()> {
    ip(&["-n", LAN_NETNS, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", netns])?;
    plug(port)?;
    ip(&["-n", netns, "addr", "add", &format!("{addr}/{}", plan.lan.prefix_len()), "dev", "eth0"])?;
    ip(&["-n", netns, "link", "set", "eth0", "up"]).map(|_| ())
}

fn plug(port: &str) -> Result<()> {
    ip(&["-n", LAN_NETNS, "link", "set", port, "master", LAN_BRIDGE, "up"]).map(|_| ())
}

/// Takes a host's cable out of the LAN (`false`) or puts it back (`true`).
pub(crate) fn set_cable(plan: &Plan, host: &str, connected: bool) -> Result<()> {
    let host = plan.host(host).with_context(|| format!("there is no host `{host}` in the lab"))?;
    let to = if connected { "up" } else { "down" };
    ip(&["-n", LAN_NETNS, "link", "set", &host.name, to]).map(|_| ())
}
