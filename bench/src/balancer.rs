//! The load balancers that are compared, each with the configuration it gets.
//!
//! Limits on the number of connections are raised for all alike: they are not what is compared. All else is
//! in the configuration's text, which `--show-configs` prints.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};

use self::haproxy::Sessions;
use crate::rig::namespace::Namespace;
use crate::rig::process::{Invocation, Program};
use crate::rig::tools::{HAPROXY, NGINX, Tool};
use crate::rig::wait;

pub mod haproxy;
pub mod lb;
pub mod nginx;

#[cfg(test)]
mod tests;

/// Connections a balancer may have open. More than 10 s of requests that hang need.
pub(crate) const CONNECTIONS: usize = 8_192;

/// Idle connections to upstreams that are kept.
pub(crate) const KEEPALIVE: usize = 128;

/// Requests on one connection, where the default is so small that it would show in throughput.
pub(crate) const REQUESTS: usize = 10_000_000;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancer {
    /// The project's own.
    Lb,
    /// pingora-proxy with nothing in it.
    Bare,
    /// nginx.
    Nginx(Manner),
    /// `HAProxy`.
    Haproxy(Manner),
    /// `HAProxy`, tuned, but without `shutdown-sessions`.
    HaproxyKeeping,
}

/// How it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it comes.
    Default,
    /// To survive the loss of an upstream as well as it can.
    Tuned,
    /// For many requests: kept connections on both sides, nothing logged.
    Load,
}

/// Where it stands and what it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Where it takes traffic.
    pub listen: SocketAddr,
    /// Where the project's own one is controlled.
    pub admin: SocketAddr,
    /// Threads that carry traffic.
    pub threads: usize,
    /// Who answers.
    pub upstreams: Vec<SocketAddr>,
}

/// The project's own programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries<'a> {
    /// `lb`.
    pub lb: &'a Path,
    /// `bare-proxy`, where it is needed.
    pub bare: Option<&'a Path>,
}

impl Balancer {
    /// Its name in tables and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::Bare => "bare pingora-proxy",
            Self::Nginx(Manner::Load) => "nginx",
            Self::Nginx(Manner::Default) => "nginx, defaults",
            Self::Nginx(Manner::Tuned) => "nginx, tuned",
            Self::Haproxy(Manner::Load) => "HAProxy",
            Self::Haproxy(Manner::Default) => "HAProxy, defaults",
            Self::Haproxy(Manner::Tuned) => "HAProxy, tuned",
            Self::HaproxyKeeping => "HAProxy, tuned, sessions kept",
        }
    }

    /// The system's program that it needs.
    pub const fn tool(self) -> Option<Tool> {
        match self {
            Self::Lb | Self::Bare => None,
            Self::Nginx(_) => Some(NGINX),
            Self::Haproxy(_) | Self::HaproxyKeeping => Some(HAPROXY),
        }
    }

    /// Its configuration file; none if it is told everything on the command line.
    pub fn config(self, site: &Site, dir: &Path) -> Option<String> {
        match self {
            Self::Lb => Some(lb::config(site)),
            Self::Bare => None,
            Self::Nginx(manner) => Some(nginx::config(manner, site, dir)),
            Self::Haproxy(manner) => Some(haproxy::config(manner, Sessions::Shut, site)),
            Self::HaproxyKeeping => Some(haproxy::config(Manner::Tuned, Sessions::Kept, site)),
        }
    }

    /// Starts it in `namespace`, with its files in `dir`, and waits until it listens. The project's own one has no
    /// upstreams until they are pushed.
    ///
    /// # Errors
    /// When it is not installed, cannot be started, or ends; with its last words.
    pub fn start(
        self,
        binaries: &Binaries<'_>,
        namespace: &Namespace,
        dir: &Path,
        processors: Option<&str>,
        site: &Site,
    ) -> Result<Program> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let file = dir.join("config");
        if let Some(config) = self.config(site, dir) {
            fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let installed = || {
            let tool = self.tool().context("no tool")?;
            tool.find().with_context(|| format!("{} is not installed", tool.name))
        };
        let invocation = match self {
            Self::Lb => Invocation::new(binaries.lb, ["--config".as_ref(), file.as_os_str()]),
            Self::Bare => bare(binaries.bare.context("there is no bare-proxy")?, site),
            Self::Nginx(_) => nginx::invocation(installed()?, &file, dir),
            Self::Haproxy(_) | Self::HaproxyKeeping => {
                Invocation::new(installed()?, ["-db".as_ref(), "-f".as_ref(), file.as_os_str()])
            }
        };
        let mut program = Program::start(namespace, dir, "balancer", processors, &invocation)?;
        for addr in [Some(site.listen), (self == Self::Lb).then_some(site.admin)].into_iter().flatten() {
            wait::until_listening(namespace, addr, &mut program).with_context(|| self.name())?;
        }
        Ok(program)
    }
}

fn bare(program: &Path, site: &Site) -> Invocation {
    let mut args = vec![
        format!("--listen={}", site.listen),
        format!("--threads={}", site.threads),
        format!("--keepalive={KEEPALIVE}"),
    ];
    args.extend(site.upstreams.iter().map(|upstream| format!("--upstream={upstream}")));
    Invocation::new(program, args)
}
