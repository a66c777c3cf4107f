//! The configuration files of one host: libvirtd's, the manager's, the cluster's secret.
//!
//! The text is made by pure functions; the manager's file is the one a real host would have.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::plan::{CLUSTER, GOSSIP_PORT, HostPlan, LB_PORT, Plan};
use crate::state::{State, host_dir};

#[cfg(test)]
mod tests;

/// libvirtd listens on its own unix socket only, and says what goes wrong on standard error.
const LIBVIRTD_CONF: &str = r#"auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
log_level = 3
log_outputs = "3:stderr"
"#;

/// QEMU runs as root, without security drivers, control groups, namespaces or a log daemon: all of these
/// belong to the machine and not to the lab.
const QEMU_CONF: &str = r#"user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"#;

#[derive(Serialize)]
struct Manager<'a> {
    node: &'a str,
    secret_file: &'a str,
    state_dir: &'a str,
    runtime_dir: &'a str,
    api: Api,
    network: Network<'a>,
    hypervisor: Hypervisor<'a>,
    image: Image<'a>,
    lb: Lb,
    cluster: Cluster<'a>,
    vip: Vip,
    peers: Vec<Peer<'a>>,
}

#[derive(Serialize)]
struct Api {
    listen: String,
}

#[derive(Serialize)]
struct Network<'a> {
    interface: &'a str,
    bridge: &'a str,
    pool: String,
}

#[derive(Serialize)]
struct Hypervisor<'a> {
    uri: &'a str,
    accel: &'a str,
}

#[derive(Serialize)]
struct Image<'a> {
    kernel: &'a Path,
    initramfs: &'a Path,
}

#[derive(Serialize)]
struct Lb {
    port: u16,
}

#[derive(Serialize)]
struct Cluster<'a> {
    name: &'a str,
    gossip_port: u16,
}

#[derive(Serialize)]
struct Vip {
    addr: std::net::Ipv4Addr,
}

#[derive(Serialize)]
struct Peer<'a> {
    node: &'a str,
    api: String,
    pool: String,
}

/// The manager's configuration of `host`.
pub(crate) fn manager_toml(plan: &Plan, host: &HostPlan, image_dir: &Path) -> Result<String> {
    let peer = |peer: &'_ HostPlan| (peer.api().to_string(), peer.pool.to_string());
    let peers = plan
        .hosts
        .iter()
        .filter(|other| other.name != host.name)
        .map(|other| {
            let (api, pool) = peer(other);
            Peer { node: &other.name, api, pool }
        })
        .collect();
    let config = Manager {
        node: &host.name,
        secret_file: "/etc/phalanx/secret",
        state_dir: "/var/lib/phalanx",
        runtime_dir: "/run/phalanx",
        api: Api { listen: host.api().to_string() },
        network: Network { interface: "eth0", bridge: "phx0", pool: host.pool.to_string() },
        hypervisor: Hypervisor { uri: "qemu:///system", accel: "auto" },
        image: Image { kernel: &image_dir.join("vmlinuz"), initramfs: &image_dir.join("initramfs") },
        lb: Lb { port: LB_PORT },
        cluster: Cluster { name: CLUSTER, gossip_port: GOSSIP_PORT },
        vip: Vip { addr: plan.vip },
        peers,
    };
    toml::to_string(&config).context("cannot write the manager's configuration")
}

/// Writes the files of every host; the secret is new and the same on all.
pub(crate) fn write(state: &State) -> Result<()> {
    let secret = new_secret()?;
    for host in &state.plan.hosts {
        let dir = host_dir(&host.name);
        let libvirt = dir.join("etc-libvirt");
        let phalanx = dir.join("etc-phalanx");
        for dir in [&libvirt.join("qemu"), &phalanx] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        put(&libvirt.join("libvirtd.conf"), LIBVIRTD_CONF, 0o644)?;
        put(&libvirt.join("qemu.conf"), QEMU_CONF, 0o644)?;
        put(&phalanx.join("manager.toml"), &manager_toml(&state.plan, host, &state.image_dir)?, 0o644)?;
        put(&phalanx.join("secret"), &secret, 0o600)?;
    }
    Ok(())
}

/// 32 random bytes in hexadecimal.
fn new_secret() -> Result<String> {
    let mut bytes = [0_u8; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
