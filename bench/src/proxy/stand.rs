//! Where proxies are compared: one namespace with a light upstream and every proxy, each at a port of its own.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::balancer::{Balancer, Binaries, Site, lb, nginx};
use crate::rig::admin::Admin;
use crate::rig::namespace::Namespace;
use crate::rig::process::Program;
use crate::rig::tools::NGINX;
use crate::rig::wait;

/// Upstreams, all of one light server.
const UPSTREAMS: u16 = 3;

/// What is asked for.
pub(super) const PATH: &str = "/int";

/// A proxy that runs.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) balancer: Balancer,
    pub(super) site: Site,
    pub(super) program: Program,
}

/// The namespace and what runs in it. The order is that of the end: programs before their files.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) threads: usize,
    pub(super) contenders: Vec<Contender>,
    /// Processors for everything but the proxies; none if they share.
    pub(super) others: Option<Processors>,
    pub(super) namespace: Namespace,
    pub(super) dir: TempDir,
    _upstream: Program,
}

/// A range of processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Processors {
    pub(super) first: usize,
    pub(super) last: usize,
}

impl Processors {
    fn list(self) -> String {
        format!("{}-{}", self.first, self.last)
    }
}

/// Processors for the proxies, and those for load and upstream; none where there are too few to part them.
pub(super) fn part(processors: usize, threads: usize) -> Option<(Processors, Processors)> {
    (threads < processors).then(|| {
        let proxies = Processors { first: 0, last: threads - 1 };
        (proxies, Processors { first: threads, last: processors - 1 })
    })
}

impl Stand {
    pub(super) fn build(balancers: &[Balancer], threads: usize, lb: &Path, bare: &Path) -> Result<Self> {
        let dir = tempfile::tempdir().context("no directory for files")?;
        let namespace = Namespace::new("proxy")?;
        let parted = part(std::thread::available_parallelism().map_or(1, usize::from), threads);
        let others = parted.map(|(_, others)| others.list());
        let upstream = start_upstream(&namespace, dir.path(), others.as_deref())?;
        let proxies = parted.map(|(proxies, _)| proxies.list());
        let binaries = Binaries { lb, bare: Some(bare) };
        let mut contenders = Vec::new();
        for (balancer, number) in balancers.iter().zip(0_u16..) {
            let site = site(number, threads);
            let files = dir.path().join(format!("proxy-{number}"));
            let mut program = balancer.start(&binaries, &namespace, &files, proxies.as_deref(), &site)?;
            if *balancer == Balancer::Lb {
                let all = lb::set(1, site.upstreams.iter().copied().enumerate());
                namespace.block_on(async || Admin::connect(site.admin).await?.put(&all).await)?;
            }
            wait::until_ready(&namespace, site.listen, PATH, &mut program)
                .with_context(|| balancer.name())?;
            contenders.push(Contender { balancer: *balancer, site, program });
        }
        let others = parted.map(|(_, others)| others);
        Ok(Self { threads, contenders, others, namespace, dir, _upstream: upstream })
    }
}

fn start_upstream(namespace: &Namespace, dir: &Path, processors: Option<&str>) -> Result<Program> {
    let program = NGINX.find().context("nginx is not installed")?;
    let dir = dir.join("upstream");
    std::fs::create_dir(&dir)?;
    let file = dir.join("config");
    let addrs = upstreams();
    std::fs::write(&file, nginx::upstream(&addrs, 1, &dir))?;
    let invocation = nginx::invocation(program, &file, &dir);
    let mut program = Program::start(namespace, &dir, "upstream", processors, &invocation)?;
    wait::until_ready(namespace, addrs[0], PATH, &mut program).context("the upstream")?;
    Ok(program)
}

fn upstreams() -> Vec<SocketAddr> {
    (0..UPSTREAMS).map(|number| local(7000 + number)).collect()
}

fn site(number: u16, threads: usize) -> Site {
    Site { listen: local(8000 + number), admin: local(9000 + number), threads, upstreams: upstreams() }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Prints each configuration, and the upstream's.
pub(super) fn show_configs(balancers: &[Balancer], threads: &[usize]) -> Result<()> {
    let dir = Path::new("/tmp/bench");
    println!("# the upstream (nginx)\n{}", nginx::upstream(&upstreams(), 1, dir));
    let threads = *threads.first().context("--threads must name a number")?;
    for (balancer, number) in balancers.iter().zip(0..) {
        if let Some(config) = balancer.config(&site(number, threads), dir) {
            println!("# {}\n{config}", balancer.name());
        }
    }
    Ok(())
}
