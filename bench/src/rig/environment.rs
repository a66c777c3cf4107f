//! What a result was measured on and with. Figures without it cannot be compared with others.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::tools::{HAPROXY, KEEPALIVED, NGINX, Tool, WRK};

/// The machine and the programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// When, in seconds since 1970.
    pub unix_seconds: u64,
    /// Name and release of the kernel.
    pub kernel: String,
    /// The processor's model.
    pub processor: String,
    /// Processors there are for this program.
    pub processors: usize,
    /// The load average over the minute before: near 0 where nothing else runs.
    pub load_average: Option<f64>,
    /// The revision of the project's checkout that this was run in, with `+` if files differ from it.
    pub revision: Option<String>,
    /// The load balancer under test.
    pub lb: Option<String>,
    /// nginx, if installed.
    pub nginx: Option<String>,
    /// HAProxy, if installed.
    pub haproxy: Option<String>,
    /// keepalived, if installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalived: Option<String>,
    /// wrk, if installed.
    pub wrk: Option<String>,
}

/// Above this load average something else was running.
const IDLE: f64 = 0.5;

impl Environment {
    /// As it is now, with this load balancer.
    pub fn look(lb: &Path) -> Self {
        let system = rustix::system::uname();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            unix_seconds: now.as_secs(),
            kernel: format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load_average: load_average(&fs::read_to_string("/proc/loadavg").unwrap_or_default()),
            revision: revision(),
            lb: first_line(lb, &["--version"]),
            nginx: tool(NGINX, "-v"),
            haproxy: tool(HAPROXY, "-v"),
            keepalived: tool(KEEPALIVED, "-v"),
            wrk: tool(WRK, "-v"),
        }
    }
}

impl Environment {
    /// A sentence to put under a table, if the machine had other work.
    pub fn doubt(&self) -> Option<String> {
        let load = self.load_average.filter(|load| *load > IDLE)?;
        Some(format!(
            "This machine had other work (load average {load:.1}): times are too long, and ratios uncertain."
        ))
    }
}

fn load_average(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn processor(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

fn revision() -> Option<String> {
    let revision = first_line(Path::new("git"), &["rev-parse", "--short=12", "HEAD"])?;
    let dirty = first_line(Path::new("git"), &["status", "--porcelain"]).is_some();
    Some(if dirty { format!("{revision}+") } else { revision })
}

fn tool(tool: Tool, version: &str) -> Option<String> {
    first_line(&tool.find()?, &[version])
}

/// What a program says first, wherever it says it. Some say their version and fail.
fn first_line(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    if program == Path::new("git") && !output.status.success() {
        return None;
    }
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{load_average, processor};

    #[test]
    fn the_kernels_files() {
        assert_eq!(load_average("1.27 0.93 1.29 1/86 28017\n"), Some(1.27));
        assert_eq!(load_average(""), None);
        assert_eq!(processor("processor\t: 0\nmodel name\t: A: fast one\n"), "A: fast one");
        assert_eq!(processor("no model\n"), "unknown");
    }
}
