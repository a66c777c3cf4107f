//! The background process that owns a cluster: it runs libvirtd and the manager of each host, and removes
//! everything when it is told to end.
//!
//! It is the reaper of whatever they leave behind (QEMU is not libvirtd's child), so a dead process is gone at
//! once, as under a real init. It makes no namespaces: `up` has made them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::Signal;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep_until, timeout};
use tracing::{error, info, warn};

use crate::control::{Answer, REQUEST_WITHIN, Request, read_line, write_line};
use crate::procs::{MARK, Process, send};
use crate::state::{State, control_socket, host_dir};
use crate::units::{Kind, Unit, UnitView};
use crate::{ns, teardown};

/// Runs until it is told to end.
pub(crate) fn run(state: State) -> Result<()> {
    // Its own session: a closed terminal or a Ctrl-C must not reach it.
    rustix::process::setsid().context("cannot make a session")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become a reaper")?;
    tracing_subscriber::fmt().with_ansi(false).with_target(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Supervisor::new(state).serve())
}

struct Supervisor {
    state: State,
    units: BTreeMap<(String, Kind), Unit>,
}

impl Supervisor {
    fn new(state: State) -> Self {
        let mut units = BTreeMap::new();
        for host in &state.plan.hosts {
            for kind in [Kind::Anchor, Kind::Libvirtd, Kind::Manager] {
                units.insert((host.name.clone(), kind), Unit::new(kind));
            }
        }
        Self { state, units }
    }

    async fn serve(mut self) -> Result<()> {
        let listener = UnixListener::bind(control_socket()).context("cannot listen on the control socket")?;
        std::fs::set_permissions(control_socket(), Permissions::from_mode(0o600))?;
        let mut child = signal(SignalKind::child())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        info!(hosts = self.state.plan.hosts.len(), "the supervisor runs");
        let down = loop {
            self.start_due();
            let next = self.units.values().filter_map(Unit::next_start).min();
            let idle = Instant::now() + std::time::Duration::from_secs(3600);
            tokio::select! {
                _ = child.recv() => self.reap(),
                () = sleep_until(next.unwrap_or(idle).into()) => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => if let Some(stream) = self.answer(stream).await { break Some(stream) },
                    Err(error) => warn!(%error, "cannot accept"),
                },
                _ = terminate.recv() => break None,
                _ = hangup.recv() => break None,
                _ = interrupt.recv() => break None,
            }
        };
        info!("taking the lab down");
        let result = teardown::sweep(&self.state, reap_unknown);
        if let Some(mut stream) = down {
            let answer = match &result {
                Ok(_) => Answer::Units(Vec::new()),
                Err(error) => Answer::Error(format!("{error:#}")),
            };
            // Whoever asked may be gone; what was asked for is done all the same.
            let _ = write_line(&mut stream, &answer).await;
        }
        result.map(|_| ())
    }

    /// Serves one request; the connection comes back when the request is to end.
    async fn answer(&mut self, mut stream: UnixStream) -> Option<UnixStream> {
        let request = match timeout(REQUEST_WITHIN, read_line(&mut stream)).await {
            Ok(Ok(request)) => request,
            Ok(Err(error)) => {
                let _ = write_line(&mut stream, &Answer::Error(format!("{error:#}"))).await;
                return None;
            }
            Err(_) => return None,
        };
        if request == Request::Down {
            return Some(stream);
        }
        let answer = match self.obey(&request) {
            Ok(()) => Answer::Units(self.view()),
            Err(error) => Answer::Error(format!("{error:#}")),
        };
        if let Err(error) = write_line(&mut stream, &answer).await {
            warn!(%error, "cannot answer");
        }
        None
    }

    fn obey(&mut self, request: &Request) -> Result<()> {
        match request {
            Request::Status | Request::Down => Ok(()),
            Request::Start { host, kind } => {
                self.unit(host, *kind)?.want(Instant::now());
                self.start_due();
                Ok(())
            }
            Request::Stop { host, kind } => {
                let pid = self.unit(host, *kind)?.unwant();
                match pid.and_then(Process::of) {
                    Some(process) => send(process, Signal::TERM).map(|_| ()),
                    None => Ok(()),
                }
            }
        }
    }

    fn unit(&mut self, host: &str, kind: Kind) -> Result<&mut Unit> {
        self.units.get_mut(&(host.to_owned(), kind)).with_context(|| format!("there is no host `{host}`"))
    }

    fn view(&self) -> Vec<UnitView> {
        self.units.iter().map(|((host, _), unit)| unit.view(host)).collect()
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for ((host, kind), unit) in &mut self.units {
            if !unit.is_due(now) {
                continue;
            }
            match spawn(&self.state, host, *kind) {
                Ok(pid) => {
                    info!(%host, unit = kind.as_str(), pid, "started");
                    unit.started(pid);
                }
                Err(error) => {
                    error!(%host, unit = kind.as_str(), "cannot start: {error:#}");
                    unit.ended(now, format!("{error:#}"));
                }
            }
        }
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = reap_one() {
            let unit = self.units.iter_mut().find(|(_, unit)| unit.pid() == Some(pid));
            if let Some(((host, kind), unit)) = unit {
                warn!(%host, unit = kind.as_str(), pid, %status, "ended");
                unit.ended(Instant::now(), status);
            }
        }
    }
}

/// Collects one child that has ended, ours or adopted.
fn reap_one() -> Option<(i32, String)> {
    loop {
        return match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => Some((pid.as_raw(), format!("exit status {code}"))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                Some((pid.as_raw(), format!("signal {}", signal as i32)))
            }
            Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) | Err(_) => None,
        };
    }
}

fn reap_unknown() {
    while reap_one().is_some() {}
}

/// Starts a unit's process; nobody waits for it but [`reap_one`].
fn spawn(state: &State, host: &str, kind: Kind) -> Result<i32> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let log = host_dir(host).join(format!("{}.log", kind.as_str()));
    let log = OpenOptions::new().create(true).append(true).open(&log)?;
    let mut command = Command::new(own);
    command.stdin(Stdio::null()).stderr(log.try_clone()?).env(MARK, host);
    match kind {
        Kind::Anchor => return spawn_anchor(command, host),
        Kind::Libvirtd => command.args(["enter", host, "--", "libvirtd"]),
        Kind::Manager => {
            let manager = state.bin_dir.join("manager");
            command.args(["enter", host, "--"]).arg(manager).args(["--config", "/etc/phalanx/manager.toml"])
        }
    };
    let child = command.stdout(log).spawn().context("cannot start")?;
    Ok(child.id().cast_signed())
}

/// Starts an anchor and waits until the host's mounts are made: a matter of milliseconds.
fn spawn_anchor(mut command: Command, host: &str) -> Result<i32> {
    let mut child = command.args(["anchor", host]).stdout(Stdio::piped()).spawn().context("cannot start")?;
    let pid = child.id().cast_signed();
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if line != "ready\n" {
        let status = child.wait()?;
        bail!("the host's mounts cannot be made ({status}): see anchor.log");
    }
    let process = Process::of(pid).context("the anchor is gone")?;
    ns::record_anchor(host, process)?;
    Ok(pid)
}

/// Starts the supervisor of the lab just described in the state file.
pub(crate) fn launch() -> Result<std::process::Child> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let path = std::path::Path::new(crate::state::ROOT).join("supervisor.log");
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Command::new(own)
        .arg("supervisor")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .env(MARK, "supervisor")
        .spawn()
        .context("cannot start the supervisor")
}
