//! Entering a part of the lab, and the mounts that make a host out of a namespace.
//!
//! A host is a network namespace and a mount namespace. The mount namespace lives as long as the host's anchor, a
//! process that does nothing else; everything mounted for the host vanishes with it, so there is nothing to
//! unmount, whatever ended and in which order.

use std::env;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::plan::{CLIENT, CLIENT_NETNS};
use crate::procs::{MARK, NETNS_DIR, Process};
use crate::state::{State, host_dir};

/// All that a host keeps below `/var`, in bytes: small, so that it can be filled without harm.
const VAR_BYTES: u64 = 16 << 20;
/// Directories of a host's own configuration: where they are mounted, and their name in the host's directory.
pub(crate) const CONFIG_MOUNTS: [(&str, &str); 2] =
    [("/etc/libvirt", "etc-libvirt"), ("/etc/phalanx", "etc-phalanx")];
/// Directories of a host's own small `/var`: where they are mounted, and their name in it.
pub(crate) const VAR_MOUNTS: [(&str, &str); 4] = [
    ("/var/lib/libvirt", "lib-libvirt"),
    ("/var/cache/libvirt", "cache-libvirt"),
    ("/var/log/libvirt", "log-libvirt"),
    ("/var/lib/phalanx", "lib-phalanx"),
];

/// Replaces this process by `command`, run in `part` (`host1`, `client`).
///
/// Must be called before any thread is started: a mount namespace belongs to the whole process.
pub(crate) fn enter(state: &State, part: &str, command: &[String]) -> Result<()> {
    let Some((program, args)) = command.split_first() else { bail!("there is no command to run") };
    let cwd = env::current_dir().ok();
    if part == CLIENT {
        join_network(CLIENT_NETNS)?;
    } else {
        let Some(host) = state.plan.host(part) else {
            let names: Vec<_> = state.plan.hosts.iter().map(|host| host.name.as_str()).collect();
            bail!("there is no `{part}` in the lab: it has {CLIENT}, {}", names.join(", "));
        };
        let anchor = anchor_of(&host.name)?;
        let mounts =
            File::open(format!("/proc/{}/ns/mnt", anchor.pid)).context("cannot open the host's mounts")?;
        join_network(&host.netns)?;
        setns(&mounts, CloneFlags::CLONE_NEWNS).context("cannot enter the host's mounts")?;
        // Back to where the caller was, as far as the host can see it.
        if cwd.is_none_or(|cwd| env::set_current_dir(cwd).is_err()) {
            env::set_current_dir("/").context("cannot enter /")?;
        }
    }
    let error =
        Command::new(program).args(args).env(MARK, part).env("PATH", path_with(&state.bin_dir)?).exec();
    Err(error).with_context(|| format!("cannot run `{program}`"))
}

/// The search path with the project's own programs in front.
fn path_with(bin_dir: &Path) -> Result<std::ffi::OsString> {
    let inherited = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let dirs = std::iter::once(bin_dir.to_owned()).chain(env::split_paths(&inherited)).chain(system);
    env::join_paths(dirs).context("the search path cannot be built")
}

fn join_network(netns: &str) -> Result<()> {
    let path = Path::new(NETNS_DIR).join(netns);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {netns}"))
}

fn anchor_file(host: &str) -> PathBuf {
    host_dir(host).join("anchor.json")
}

/// Records which process holds a host's mounts.
pub(crate) fn record_anchor(host: &str, process: Process) -> Result<()> {
    crate::state::write_atomically(&anchor_file(host), &serde_json::to_vec(&process)?)
}

/// The process that holds a host's mounts.
pub(crate) fn anchor_of(host: &str) -> Result<Process> {
    let path = anchor_file(host);
    let bytes =
        fs::read(&path).with_context(|| format!("{host} is not set up: cannot read {}", path.display()))?;
    let process: Process = serde_json::from_slice(&bytes)?;
    if !process.is_alive() {
        bail!("{host} is gone: the process that holds its mounts has ended");
    }
    Ok(process)
}

/// A path as the host sees it, for a reader outside of the host.
pub(crate) fn path_in_host(host: &str, path: &str) -> Result<PathBuf> {
    let anchor = anchor_of(host)?;
    Ok(PathBuf::from(format!("/proc/{}/root{path}", anchor.pid)))
}

/// Becomes a host's anchor: makes its mounts, says `ready` on standard output, and waits to be killed.
pub(crate) fn anchor(state: &State, name: &str) -> Result<()> {
    let host = state.plan.host(name).with_context(|| format!("there is no host `{name}`"))?;
    join_network(&host.netns)?;
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    make_mounts(&host_dir(name))?;
    println!("ready");
    loop {
        nix::unistd::pause();
    }
}

fn make_mounts(dir: &Path) -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none).context("cannot detach the mounts")?;
    for (target, name) in CONFIG_MOUNTS {
        bind(&dir.join(name), target)?;
    }
    let var = dir.join("var");
    fs::create_dir_all(&var).with_context(|| format!("cannot make {}", var.display()))?;
    tmpfs(&var, &format!("size={VAR_BYTES},mode=755"))?;
    for (target, name) in VAR_MOUNTS {
        let source = var.join(name);
        fs::create_dir(&source).with_context(|| format!("cannot make {}", source.display()))?;
        bind(&source, target)?;
    }
    // Of /sys, the part about interfaces must be the one of this network namespace.
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).context("cannot mount /sys")?;
    // Last, because it hides the lab's own directory. A fresh /run also hides the machine's D-Bus, where libvirtd
    // would register VMs, and its udev and systemd sockets.
    tmpfs(Path::new("/run"), "mode=755")?;
    fs::create_dir("/run/lock").context("cannot make /run/lock")?;
    fs::set_permissions("/run/lock", Permissions::from_mode(0o1777)).context("cannot open /run/lock to all")
}

fn bind(source: &Path, target: &str) -> Result<()> {
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cannot mount {} on {target}", source.display()))
}

fn tmpfs(target: &Path, options: &str) -> Result<()> {
    mount(Some("phalanx-lab"), target, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .with_context(|| format!("cannot mount a tmpfs on {}", target.display()))
}
