//! Turns a command line into work: the small commands are here, the large ones in modules of their own.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cli::{Action, Command};
use crate::control::{self, Request};
use crate::interrupt::Interrupt;
use crate::plan::{HostPlan, Plan};
use crate::procs::{MARK, NamespaceId, Process, send, signal_by_name};
use crate::state::{Lock, State};
use crate::status::{Status, cluster_view};
use crate::steps::{say, step, wait_for};
use crate::units::Kind;
use crate::{check, console, network, ns, run, status, supervisor, teardown, up};

/// Runs a command; the process's exit status.
pub(crate) fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        // These run inside the lab, or before any thread.
        Command::Supervisor => return supervisor::run(State::require()?).map(|()| ExitCode::SUCCESS),
        Command::Anchor { host } => return ns::anchor(&State::require()?, &host).map(|()| ExitCode::SUCCESS),
        Command::Enter { part, command } => {
            return ns::enter(&State::require()?, &part, &command).map(|()| ExitCode::SUCCESS);
        }
        _ => {}
    }
    if let Ok(part) = env::var(MARK) {
        bail!("this is inside of the lab ({part}): run it outside of `exec`");
    }
    ensure!(rustix::process::geteuid().is_root(), "a lab needs root: use `./demo` or sudo");
    if let Command::Exec { part, command } = command {
        return ns::enter(&State::require()?, &part, &command).map(|()| ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(command))
}

async fn serve(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => return Box::pin(run::run(&args)).await,
        Command::Check { faults, only } => return Box::pin(check::run(faults, only)).await,
        Command::Up(args) => {
            let state = Box::pin(up::up(&args, &mut Interrupt::catch()?)).await?;
            say(run::welcome(&Status::collect(&state).await));
        }
        Command::Status { json } => {
            let status = Status::collect(&State::require()?).await;
            say(if json { serde_json::to_string_pretty(&status)? } else { status.table() });
        }
        Command::Kill { target, signal } => kill(&State::require()?, &target, &signal).await?,
        Command::Cut { host } => network::set_cable(&State::require()?.plan, &host, false)?,
        Command::Mend { host } => network::set_cable(&State::require()?.plan, &host, true)?,
        Command::Libvirtd { action, host } => libvirtd(&State::require()?, &host, action).await?,
        Command::Down => down().await?,
        Command::Supervisor | Command::Anchor { .. } | Command::Enter { .. } | Command::Exec { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes the lab, and says so.
pub(crate) async fn down() -> Result<()> {
    if !teardown::anything_left() && State::load().is_ok_and(|state| state.is_none()) {
        // Also removes the directory, should it be left alone.
        teardown::remove(Lock::take()?).await?;
        say("there is no lab to remove");
        return Ok(());
    }
    let lock = Lock::take()?;
    // A lab half removed helps nobody: from here on a signal is not obeyed.
    let _caught = Interrupt::catch()?;
    step("processes, namespaces and files removed", teardown::remove(lock)).await?;
    Ok(())
}

/// What `kill` was asked to hit.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    Manager(&'a HostPlan),
    /// The QEMU process of a VM.
    Vm(&'a HostPlan, Which<'a>),
    /// The program in a VM.
    Program(&'a HostPlan, Which<'a>),
}

/// Which VM of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which<'a> {
    Lb,
    Id(&'a str),
}

impl Which<'_> {
    fn is(self, id: &str, role: wire::Role) -> bool {
        match self {
            Self::Lb => role == wire::Role::Lb,
            Self::Id(own) => own == id,
        }
    }
}

fn parse_target<'a>(plan: &'a Plan, text: &'a str) -> Result<Target<'a>> {
    let host = |name: &str| plan.host(name).with_context(|| format!("there is no host `{name}` in the lab"));
    if let Some(name) = text.strip_prefix("manager:") {
        return host(name).map(Target::Manager);
    }
    let program = text.strip_prefix("program:");
    let vm = program.unwrap_or(text);
    let (host, which) = match vm.strip_prefix("lb:") {
        Some(name) => (host(name)?, Which::Lb),
        None => match plan.host_of_vm(vm) {
            Some(host) => (host, Which::Id(vm)),
            None => bail!(
                "`{text}` is neither a VM's id (such as host1/svc-3) nor lb:HOST, with or without program: in front, nor \
                 manager:HOST"
            ),
        },
    };
    Ok(if program.is_some() { Target::Program(host, which) } else { Target::Vm(host, which) })
}

/// Sends a signal to a VM's QEMU process, to the program in it, or to a manager.
pub(crate) async fn kill(state: &State, target: &str, signal: &str) -> Result<()> {
    let number = signal_by_name(signal).with_context(|| format!("--signal {signal}: not a known signal"))?;
    let parsed = parse_target(&state.plan, target)?;
    if let Target::Program(host, which) = parsed {
        let view = cluster_view(host).await?;
        let vm = view.vms.iter().find(|vm| which.is(&vm.id, vm.role));
        let vm = vm.with_context(|| format!("there is no VM `{target}`"))?;
        let domain = vm.domain.as_deref().with_context(|| format!("{} does not run now", vm.id))?;
        return console::signal_programs(host, domain, number).await.with_context(|| target.to_owned());
    }
    let (host, pid) = match parsed {
        // Not asked of the managers: one that stands still would keep its own continuation waiting.
        Target::Manager(host) => {
            let units = control::ask(&Request::Status).await?;
            let unit = units.iter().find(|unit| unit.host == host.name && unit.kind == Kind::Manager);
            (host, unit.and_then(|unit| unit.pid))
        }
        Target::Vm(host, which) | Target::Program(host, which) => {
            let vms = status::vms_of(host).await;
            let vm = vms.iter().find(|vm| which.is(&vm.id, vm.role));
            let vm = vm.with_context(|| format!("there is no VM `{target}`"))?;
            (host, vm.qemu_pid.map(u32::cast_signed))
        }
    };
    let process = pid.and_then(Process::of).with_context(|| format!("{target} has no process now"))?;
    // The pid comes from a manager's account: it must be of that host before anything is sent to it.
    ensure!(
        NamespaceId::of_process(process.pid).is_some_and(|id| Some(id) == NamespaceId::named(&host.netns)),
        "process {} is not one of {}",
        process.pid,
        host.name
    );
    ensure!(send(process, number)?, "{target}: its process {} is gone", process.pid);
    Ok(())
}

/// Stops or starts a host's libvirtd, and waits until it has.
pub(crate) async fn libvirtd(state: &State, host: &str, action: Action) -> Result<()> {
    let plan = state.plan.host(host).with_context(|| format!("there is no host `{host}` in the lab"))?;
    let (host, kind) = (plan.name.clone(), Kind::Libvirtd);
    match action {
        Action::Start => {
            control::ask(&Request::Start { host: host.clone(), kind }).await?;
            wait_for("libvirtd", Duration::from_secs(60), || up::libvirtd_answers(&host)).await
        }
        Action::Stop => {
            control::ask(&Request::Stop { host: host.clone(), kind }).await?;
            wait_for("libvirtd's end", Duration::from_secs(30), || async {
                let units = control::ask(&Request::Status).await?;
                let running =
                    units.iter().any(|unit| unit.host == host && unit.kind == kind && unit.pid.is_some());
                ensure!(!running, "it still runs");
                Ok(())
            })
            .await
        }
    }
}

#[cfg(test)]
mod tests;
