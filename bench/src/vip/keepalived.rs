//! The yardstick: keepalived and HAProxy on two hosts, as the project's cluster is built: every host has two services and
//! a load balancer that knows all services, and one host has the address.
//!
//! It is tuned as well as we can: HAProxy as in `upstream-loss`, a check that asks HAProxy itself, no preemption, one
//! failed check is enough. keepalived checks by script once a second at most; with short adverts a loop of
//! our own checks five times as often and writes what it finds into a tracked file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::fault::Fault;
use super::observe::Stage;
use super::system::System;
use super::watch::Lan;
use crate::balancer::Site;
use crate::rig::network::Network;
use crate::rig::process::{Invocation, Program};
use crate::rig::tools::{HAPROXY, KEEPALIVED};
use crate::rig::wait;

pub(super) mod config;

/// The hosts, by their place in the network.
const HOSTS: [&str; 3] = ["host1", "host2", "client"];
const SERVERS: usize = 2;
const CLIENT: usize = 2;
/// What each host serves at, behind its load balancer.
const SERVICES: [u16; 2] = [8080, 8081];
/// The public address and the one in whose name is asked, in the network's LAN.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);
const ASKER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 199);
/// How long a broken part stays broken; longer than the slowest takeover.
const HOLD: Duration = Duration::from_secs(6);
/// The pause before a program that ended is started again, as the lab's supervisor makes it.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Where keepalived notes its processes.
const PID: &str = "keepalived.pid";
const VRRP_PID: &str = "vrrp.pid";

/// How often a host says that it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pace {
    /// Adverts every second, which is the default, and a check by script every second.
    Second,
    /// Adverts every 100 ms, and a check every 200 ms.
    Tenth,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "keepalived + HAProxy, adverts 1 s, check 1 s",
            Self::Tenth => "keepalived + HAProxy, adverts 0.1 s, check 0.2 s",
        })
    }
}

/// One host's programs. The order is that of the end.
#[derive(Debug)]
struct Server {
    dir: PathBuf,
    keepalived: Option<Program>,
    _checker: Option<Program>,
    haproxy: Option<Program>,
    _services: Vec<Program>,
}

/// Two hosts and a client. The order is that of the end.
#[derive(Debug)]
pub(super) struct Keepalived {
    servers: Vec<Server>,
    network: Network,
    stage: Stage,
    dir: TempDir,
}

impl Keepalived {
    /// Builds hosts and programs, and waits until the services answer.
    pub(super) fn build(pace: Pace, rng_service: &Path) -> Result<Self> {
        let dir = tempfile::tempdir().context("no directory for files")?;
        let network = Network::new(&HOSTS)?;
        let mut names = BTreeMap::new();
        for (place, name) in HOSTS.iter().enumerate().take(SERVERS) {
            let mac = network.host(place).mac.parse().map_err(|error: String| anyhow!(error))?;
            names.insert(mac, (*name).to_owned());
        }
        let (switch, bridge) = network.switch();
        let lan = Lan { namespace: switch.to_owned(), bridge: bridge.to_owned(), vip: VIP, asker: ASKER };
        let stage = Stage { client: network.host(CLIENT).namespace.name().to_owned(), lan, names };
        let mut system = Self { servers: Vec::new(), network, stage, dir };
        for (place, name) in HOSTS.iter().enumerate().take(SERVERS) {
            let dir = system.dir.path().join(name);
            fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            let services = system.start_services(place, &dir, rng_service)?;
            system.servers.push(Server {
                dir,
                keepalived: None,
                _checker: None,
                haproxy: None,
                _services: services,
            });
        }
        for place in 0..SERVERS {
            system.write_files(place, pace)?;
            system.start_haproxy(place)?;
            if pace == Pace::Tenth {
                let dir = &system.servers[place].dir;
                let loop_ = Invocation::new(dir.join(config::LOOP), [] as [&str; 0]);
                let checker =
                    Program::start(&system.network.host(place).namespace, dir, "checker", None, &loop_)?;
                system.servers[place]._checker = Some(checker);
            }
            system.start_keepalived(place)?;
        }
        Ok(system)
    }

    fn start_services(&self, place: usize, dir: &Path, program: &Path) -> Result<Vec<Program>> {
        let host = self.network.host(place);
        let mut services = Vec::new();
        for port in SERVICES {
            let name = format!("{}-{port}", HOSTS[place]);
            let addr = SocketAddr::new(host.addr, port);
            let file = dir.join(format!("{name}.toml"));
            fs::write(&file, format!("listen = \"{addr}\"\n[limits]\nmax_connections = 65536\n"))?;
            let args = ["--instance".as_ref(), name.as_ref(), "--config".as_ref(), file.as_os_str()];
            let invocation = Invocation::new(program, args);
            let mut service = Program::start(&host.namespace, dir, &name, None, &invocation)?;
            wait::until_ready(&host.namespace, addr, "/int", &mut service)?;
            services.push(service);
        }
        Ok(services)
    }

    fn write_files(&self, place: usize, pace: Pace) -> Result<()> {
        let dir = &self.servers[place].dir;
        let addrs = (0..SERVERS).flat_map(|place| SERVICES.map(|port| (self.network.host(place).addr, port)));
        let site = Site {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)),
            threads: 1,
            upstreams: addrs.map(SocketAddr::from).collect(),
        };
        put(dir, config::HAPROXY, &config::haproxy(&site), 0o644)?;
        put(dir, config::CHECK, config::CHECK_SCRIPT, 0o755)?;
        put(dir, config::LOOP, &config::loop_script(dir), 0o755)?;
        put(dir, config::NOTIFY, &config::notify_script(dir), 0o755)?;
        put(dir, config::KEEPALIVED, &config::keepalived(pace, place, VIP, dir), 0o644)
    }

    fn start_haproxy(&mut self, place: usize) -> Result<()> {
        let server = &mut self.servers[place];
        let namespace = &self.network.host(place).namespace;
        let program = HAPROXY.find().context("HAProxy is not installed")?;
        let file = server.dir.join(config::HAPROXY);
        let invocation = Invocation::new(program, ["-db".as_ref(), "-f".as_ref(), file.as_os_str()]);
        let mut haproxy = Program::start(namespace, &server.dir, "haproxy", None, &invocation)?;
        wait::until_listening(namespace, SocketAddr::from((Ipv4Addr::LOCALHOST, 80)), &mut haproxy)?;
        server.haproxy = Some(haproxy);
        Ok(())
    }

    fn start_keepalived(&mut self, place: usize) -> Result<()> {
        let server = &mut self.servers[place];
        let program = KEEPALIVED.find().context("keepalived is not installed")?;
        // A process that has ended and that nobody has collected counts as running for keepalived.
        server.keepalived = None;
        for left in [config::STATE, PID, VRRP_PID] {
            match fs::remove_file(server.dir.join(left)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        let in_dir = |option: &str, name: &str| format!("--{option}={}", server.dir.join(name).display());
        let args = [
            "--dont-fork".to_owned(),
            "--log-console".to_owned(),
            "--vrrp".to_owned(),
            in_dir("use-file", config::KEEPALIVED),
            in_dir("pid", PID),
            in_dir("vrrp_pid", VRRP_PID),
        ];
        let invocation = Invocation::new(program, args);
        let namespace = &self.network.host(place).namespace;
        let keepalived = Program::start(namespace, &server.dir, "keepalived", None, &invocation)?;
        server.keepalived = Some(keepalived);
        Ok(())
    }

    /// Sends a signal to keepalived and to the process of it that does the work.
    fn signal_keepalived(&self, place: usize, signal: Signal) -> Result<()> {
        let program = self.servers[place].keepalived.as_ref().context("keepalived does not run")?;
        kill_process_group(program.pid(), signal).context("cannot signal keepalived")
    }

    fn has_vip(&self, place: usize) -> Result<bool> {
        let shown = self.network.host(place).namespace.ip(&["-4", "-o", "addr", "show", "dev", "eth0"])?;
        Ok(shown.contains(&format!("inet {VIP}/")))
    }
}

impl System for Keepalived {
    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn faults(&self) -> &[Fault] {
        &[
            Fault::Nothing,
            Fault::Handover,
            Fault::LbKilled,
            Fault::LbFrozen,
            Fault::ManagerKilled,
            Fault::ManagerStopped,
            Fault::HostCut,
        ]
    }

    fn settled(&self) -> Result<String> {
        let mut owners = Vec::new();
        for (place, server) in self.servers.iter().enumerate() {
            let name = HOSTS[place];
            let state = fs::read_to_string(server.dir.join(config::STATE)).unwrap_or_default();
            match (state.trim(), self.has_vip(place)?) {
                ("MASTER", true) => owners.push(name),
                ("BACKUP", false) => {}
                (state, has) => bail!("{name} is in state {state:?}, has the address: {has}"),
            }
        }
        ensure!(owners.len() == 1, "the address is at {owners:?}");
        Ok(owners.concat())
    }

    fn strike(&mut self, fault: Fault, owner: &str) -> Result<()> {
        let place = place_of(owner)?;
        let server = &mut self.servers[place];
        match fault {
            Fault::Nothing => Ok(()),
            Fault::Handover => fs::write(server.dir.join(config::HAND), "-254\n").context("cannot write"),
            Fault::LbKilled => {
                // Its end is the drop's work.
                server.haproxy = None;
                Ok(())
            }
            Fault::LbFrozen => server.haproxy.as_ref().context("no HAProxy")?.signal(Signal::STOP),
            Fault::ManagerKilled => self.signal_keepalived(place, Signal::KILL),
            Fault::ManagerStopped => self.signal_keepalived(place, Signal::STOP),
            Fault::HostCut => self.network.cutter(place).cut(),
            Fault::LbVmKilled | Fault::HostBack => bail!("there is no such thing here"),
        }
    }

    fn hold(&self, fault: Fault) -> Duration {
        if fault == Fault::ManagerKilled { RESTART_AFTER } else { HOLD }
    }

    fn undo(&mut self, fault: Fault, owner: &str) -> Result<()> {
        let place = place_of(owner)?;
        let server = &self.servers[place];
        match fault {
            Fault::Handover => fs::write(server.dir.join(config::HAND), "0\n").context("cannot write"),
            Fault::LbKilled => self.start_haproxy(place),
            Fault::LbFrozen => server.haproxy.as_ref().context("no HAProxy")?.signal(Signal::CONT),
            Fault::ManagerKilled => self.start_keepalived(place),
            Fault::ManagerStopped => self.signal_keepalived(place, Signal::CONT),
            Fault::HostCut => self.network.cutter(place).mend(),
            Fault::Nothing | Fault::LbVmKilled | Fault::HostBack => Ok(()),
        }
    }
}

fn place_of(owner: &str) -> Result<usize> {
    HOSTS.iter().take(SERVERS).position(|name| *name == owner).with_context(|| format!("there is no {owner}"))
}

fn put(dir: &Path, name: &str, text: &str, mode: u32) -> Result<()> {
    let path = dir.join(name);
    let write = || {
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Prints each configuration once.
pub(super) fn show_config(pace: Pace) {
    let dir = Path::new("/tmp/bench");
    println!("# {pace}\n{}", config::keepalived(pace, 0, VIP, dir));
    println!("# its check\n{}", config::CHECK_SCRIPT);
    if pace == Pace::Tenth {
        println!("# its loop\n{}", config::loop_script(dir));
    }
}
