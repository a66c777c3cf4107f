//! The programs that comparisons need, and a clear word when one is missing.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// Where Debian keeps what administrators run, which is not in everyone's search path.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// A program of the system, and its Debian package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The program.
    pub name: &'static str,
    /// The package it is in.
    pub package: &'static str,
}

/// Enters namespaces.
pub const IP: Tool = Tool { name: "ip", package: "iproute2" };
/// Sets what becomes of children.
pub const SETPRIV: Tool = Tool { name: "setpriv", package: "util-linux" };
/// Binds to processors.
pub const TASKSET: Tool = Tool { name: "taskset", package: "util-linux" };
/// A reverse proxy, and the light upstream.
pub const NGINX: Tool = Tool { name: "nginx", package: "nginx-light" };
/// A reverse proxy.
pub const HAPROXY: Tool = Tool { name: "haproxy", package: "haproxy" };
/// Moves an address between hosts.
pub const KEEPALIVED: Tool = Tool { name: "keepalived", package: "keepalived" };
/// Puts load on.
pub const WRK: Tool = Tool { name: "wrk", package: "wrk" };
/// Says where time goes.
pub const PERF: Tool = Tool { name: "perf", package: "linux-perf" };

impl Tool {
    /// Where it is; none if it is not installed.
    pub fn find(self) -> Option<PathBuf> {
        let inherited = env::var_os("PATH").unwrap_or_default();
        let dirs = env::split_paths(&inherited).chain(SYSTEM.map(PathBuf::from));
        dirs.map(|dir| dir.join(self.name)).find(|path| path.is_file())
    }
}

/// That all of these are there, and that this is root.
///
/// # Errors
/// Names what is missing, and the command that installs it.
pub fn need(tools: &[Tool]) -> Result<()> {
    let mut missing: Vec<_> =
        tools.iter().filter(|tool| tool.find().is_none()).map(|tool| tool.package).collect();
    missing.dedup();
    if !missing.is_empty() {
        let packages = missing.join(" ");
        bail!("missing: {packages}; install with: apt-get install --no-install-recommends {packages}");
    }
    ensure!(rustix::process::geteuid().is_root(), "network namespaces need root");
    Ok(())
}

/// One of the project's own programs: `given`, or the one beside this program.
///
/// # Errors
/// Names the option that would say where it is.
pub fn own(given: Option<&Path>, name: &str) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => env::current_exe().context("where is this program?")?.with_file_name(name),
    };
    let built = format!("build it (cargo build --release -p {name}) or say --{name} PATH");
    ensure!(path.is_file(), "there is no program {}: {built}", path.display());
    // It is started from other directories.
    path.canonicalize().with_context(|| path.display().to_string())
}
