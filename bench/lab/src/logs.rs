//! The ends of the logs that may say why something failed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ns::path_in_host;
use crate::plan::Plan;
use crate::state::{ROOT, host_dir};
use crate::steps::say;

/// Lines shown of each log.
const TAIL_LINES: usize = 25;
/// At most this much of a log's end is read, in bytes.
const TAIL_BYTES: usize = 64 << 10;
/// Directories below which logs of VMs are looked for, as the host sees them.
const VM_LOG_DIRS: [&str; 3] = ["/run/phalanx", "/var/lib/phalanx", "/var/log/libvirt/qemu"];

/// Prints the ends of all logs of the lab.
pub(crate) fn print_tails(plan: &Plan) {
    print_tail("supervisor", &Path::new(ROOT).join("supervisor.log"));
    for host in &plan.hosts {
        for name in ["anchor", "libvirtd", "manager"] {
            print_tail(&format!("{}: {name}", host.name), &host_dir(&host.name).join(format!("{name}.log")));
        }
        for dir in VM_LOG_DIRS {
            for path in path_in_host(&host.name, dir).map(|dir| logs_below(&dir, 3)).unwrap_or_default() {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                print_tail(&format!("{}: {dir}/…/{file}", host.name), &path);
            }
        }
    }
}

fn print_tail(title: &str, path: &Path) {
    let Ok(bytes) = fs::read(path) else { return };
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]).into_owned();
    let lines: Vec<_> = text.lines().collect();
    if lines.is_empty() {
        return;
    }
    say(format!("--- {title}"));
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        say(format!("    {line}"));
    }
}

fn logs_below(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            found.extend(logs_below(&path, depth - 1));
        } else if kind.is_file() && path.extension().is_some_and(|ext| ext == "log" || ext == "console") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests;
