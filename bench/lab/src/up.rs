//! Puts a lab up, step by step. A step that fails, or a signal, removes all that the earlier ones made.

use std::collections::BTreeSet;
use std::env;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;
use wire::{Role, VmState};

use crate::cli::UpArgs;
use crate::control::{self, Request};
use crate::interrupt::Interrupt;
use crate::plan::{HostPlan, LB_PORT, Plan};
use crate::procs::Process;
use crate::state::State;
use crate::status::{Status, cluster_view};
use crate::steps::{Hopeless, say, step, wait_for};
use crate::units::{Kind, UnitView};
use crate::{api, files, logs, netcheck, network, ns, supervisor, teardown};

/// Limits of the single waits: several times what a slow machine without KVM needs.
const LIBVIRTD_WITHIN: Duration = Duration::from_secs(60);
const MANAGER_WITHIN: Duration = Duration::from_secs(30);
const VMS_WITHIN: Duration = Duration::from_secs(120);
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// A manager that was started this often has ended one time less: it will not do better.
const HOPELESS_STARTS: u64 = 3;
/// How long a manager's command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);

/// Puts a lab up and returns its state.
pub(crate) async fn up(args: &UpArgs, interrupt: &mut Interrupt) -> Result<State> {
    let (bin_dir, image_dir) = preflight()?;
    let lock = teardown::make_room().await?;
    let plan = match choose_plan(args) {
        Ok(plan) => plan,
        Err(error) => {
            teardown::remove(lock).await?;
            return Err(error);
        }
    };
    let mut state =
        State { plan, bin_dir, image_dir, made_dirs: Vec::new(), made_netns_dir: false, supervisor: None };
    let built = interrupt.or(build(&mut state, args.services)).await;
    if let Err(error) = built {
        logs::print_tails(&state.plan);
        say("removing what was made so far");
        if let Err(also) = teardown::remove(lock).await {
            return Err(error.context(format!("and it could not be removed again ({also:#})")));
        }
        return Err(error.context("the lab could not be put up"));
    }
    Ok(state)
}

fn choose_plan(args: &UpArgs) -> Result<Plan> {
    let choice = netcheck::choose(args.net)?;
    if let Some(used) = choice.instead {
        say(format!("using {} because {} is in use ({})", choice.net, used.net, used.by));
    }
    Ok(Plan::new(choice.net, args.hosts, args.last_pool_prefix)?)
}

/// Finds what a lab needs; all that is missing is named at once. The directories of programs and image.
fn preflight() -> Result<(PathBuf, PathBuf)> {
    ensure!(rustix::process::geteuid().is_root(), "namespaces and VMs need root: use `./demo` or sudo");
    let own = env::current_exe().context("cannot find this program")?;
    let bin_dir = own.parent().context("this program is nowhere")?.to_owned();
    let image_dir = match env::var_os("PHALANX_IMAGE") {
        Some(dir) => std::path::absolute(PathBuf::from(dir))?,
        // target/release/lab → target/image
        None => bin_dir.parent().context("this program is not in a target directory")?.join("image"),
    };
    let programs = ["ip", "libvirtd", "qemu-system-x86_64"];
    let mut missing: Vec<_> = programs
        .iter()
        .filter(|name| !is_installed(name))
        .map(|name| format!("the program `{name}`"))
        .collect();
    let files = [
        bin_dir.join("manager"),
        bin_dir.join("bench"),
        image_dir.join("vmlinuz"),
        image_dir.join("initramfs"),
    ];
    missing.extend(files.iter().filter(|path| !path.is_file()).map(|path| path.display().to_string()));
    ensure!(
        missing.is_empty(),
        "missing: {}; `./demo` installs and builds what is needed",
        missing.join(", ")
    );
    Ok((bin_dir, image_dir))
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(["/usr/sbin", "/usr/bin", "/sbin"].map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).any(|file| file.is_file())
}

async fn build(state: &mut State, services: u32) -> Result<()> {
    state.save()?;
    let plan = state.plan.clone();
    step("mount points and configuration", async {
        network::make_mount_points(state)?;
        files::write(state)
    })
    .await?;
    step(&format!("network {} with LAN and client", plan.net), async { network::build(&plan) }).await?;
    step("supervisor", start_supervisor(state)).await?;
    let names = plan.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ");
    step(&format!("libvirtd answers on {names}"), async {
        for host in &plan.hosts {
            start(host, Kind::Anchor).await?;
        }
        for host in &plan.hosts {
            start(host, Kind::Libvirtd).await?;
        }
        for host in &plan.hosts {
            wait_for(&host.name, LIBVIRTD_WITHIN, || libvirtd_answers(&host.name)).await?;
        }
        Ok(())
    })
    .await?;
    step(&format!("manager answers on {names}"), async {
        for host in &plan.hosts {
            start(host, Kind::Manager).await?;
        }
        for host in &plan.hosts {
            wait_for(&host.name, MANAGER_WITHIN, || manager_has_started(host)).await?;
        }
        Ok(())
    })
    .await?;
    step(&format!("load balancer's VM up on {names}"), wait_for("all", VMS_WITHIN, || vms_are_up(state, 0)))
        .await?;
    if services > 0 {
        step(&format!("{services} service VMs requested on each host"), async {
            for _ in 0..services {
                for host in &plan.hosts {
                    create_vm(state, host).await?;
                }
            }
            Ok(())
        })
        .await?;
        step("service VMs up", wait_for("all", VMS_WITHIN, || vms_are_up(state, services))).await?;
        step("every load balancer serves every VM", all_served(state)).await?;
    }
    Ok(())
}

async fn start_supervisor(state: &mut State) -> Result<()> {
    let mut child = supervisor::launch()?;
    state.supervisor = Process::of(child.id().cast_signed());
    state.save()?;
    wait_for("its socket", Duration::from_secs(10), || {
        let ended = child.try_wait();
        async move {
            if let Ok(Some(status)) = ended {
                bail!(Hopeless(format!("it ended: {status}")));
            }
            control::ask(&Request::Status).await.map(|_| ())
        }
    })
    .await
}

async fn start(host: &HostPlan, kind: Kind) -> Result<()> {
    let units = control::ask(&Request::Start { host: host.name.clone(), kind }).await?;
    let unit = units.iter().find(|unit| unit.host == host.name && unit.kind == kind);
    match unit.and_then(|unit| unit.last_exit.as_ref().filter(|_| unit.pid.is_none())) {
        Some(reason) => bail!("{}: {} does not start: {reason}", host.name, kind.as_str()),
        None => Ok(()),
    }
}

/// Whether a host's libvirtd takes connections.
pub(crate) async fn libvirtd_answers(host: &str) -> Result<()> {
    let units = control::ask(&Request::Status).await?;
    let unit = units.iter().find(|unit| unit.host == host && unit.kind == Kind::Libvirtd);
    if let Some(UnitView { pid: None, last_exit: Some(exit), .. }) = unit {
        bail!(Hopeless(format!("libvirtd has ended: {exit}")));
    }
    let socket = ns::path_in_host(host, "/run/libvirt/libvirt-sock")?;
    UnixStream::connect(&socket).map(|_| ()).context("libvirtd does not answer yet")
}

/// Whether a new host's manager is healthy; hopeless if it ends whenever it is started.
async fn manager_has_started(host: &HostPlan) -> Result<()> {
    let units = control::ask(&Request::Status).await?;
    let unit = units.iter().find(|unit| unit.host == host.name && unit.kind == Kind::Manager);
    if let Some(UnitView { starts: HOPELESS_STARTS.., last_exit: Some(exit), .. }) = unit {
        bail!(Hopeless(format!("its manager ends whenever it is started: {exit}")));
    }
    manager_is_healthy(host).await
}

/// Whether a host's manager says it is healthy.
pub(crate) async fn manager_is_healthy(host: &HostPlan) -> Result<()> {
    let response = api::send(host.api(), http::Method::GET, "/healthz", None, None, api::READ_WITHIN).await?;
    ensure!(response.status.is_success(), "/healthz: {}: {}", response.status, response.text());
    Ok(())
}

/// Whether each host has a load balancer and at least `services` service VMs, and all its VMs are up.
pub(crate) async fn vms_are_up(state: &State, services: u32) -> Result<()> {
    for host in &state.plan.hosts {
        let view = cluster_view(host).await?;
        ensure!(view.lb.is_some(), "{} has no healthy load balancer yet", host.name);
        let count = view.vms.iter().filter(|vm| vm.role == Role::Service).count();
        ensure!(count >= services as usize, "{} has {count} service VMs", host.name);
        if let Some(vm) = view.vms.iter().find(|vm| vm.state != VmState::Up) {
            let why = vm.last_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
            bail!("{} is {}{why}", vm.id, crate::status::state_word(vm.state));
        }
    }
    Ok(())
}

/// Has a host's manager make a service VM.
async fn create_vm(state: &State, host: &HostPlan) -> Result<()> {
    manager_command(state, host, &["vm", "create"]).await.map(|_| ())
}

/// Runs a command of a host's manager there, and returns what it prints.
pub(crate) async fn manager_command(state: &State, host: &HostPlan, args: &[&str]) -> Result<String> {
    let manager = state.bin_dir.join("manager");
    let own = env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(own);
    command
        .args(["enter", &host.name, "--"])
        .arg(manager)
        .args(args)
        .args(["--config", "/etc/phalanx/manager.toml"]);
    let output = timeout(COMMAND_WITHIN, command.stdin(Stdio::null()).kill_on_drop(true).output())
        .await
        .map_err(|_| anyhow!("no end within {} s", COMMAND_WITHIN.as_secs()))
        .and_then(|output| Ok(output?))
        .with_context(|| format!("{}: manager {}", host.name, args.join(" ")))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: manager {}: {}: {}", host.name, args.join(" "), output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until every load balancer sends requests to every service VM there is.
pub(crate) async fn all_served(state: &State) -> Result<()> {
    let status = Status::collect(state).await;
    let all: BTreeSet<String> = status.services().map(|vm| vm.id.clone()).collect();
    for host in &status.hosts {
        let lb: SocketAddr = (host.lb_addr.context("a host has no load balancer")?, LB_PORT).into();
        wait_for(&format!("through {lb}"), SERVED_WITHIN, || async {
            let seen = instances(lb, 4 * all.len().max(4)).await?;
            ensure!(seen == all, "answers came from {seen:?} instead of {all:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Which VMs answer `count` requests through a load balancer.
pub(crate) async fn instances(lb: SocketAddr, count: usize) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Answer {
        instance: String,
    }
    let mut seen = BTreeSet::new();
    for _ in 0..count {
        seen.insert(api::get::<Answer>(lb, "/bool").await?.instance);
    }
    Ok(seen)
}
