//! What programs use, in the kernel's own words: processor time and memory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Pid;

#[cfg(test)]
mod tests;

/// Processor time of all processes of a process group, so far. Exact to nanoseconds (`schedstat`), where
/// `/proc/PID/stat` counts in ticks of 10 ms; threads that have ended are not in it.
///
/// # Errors
/// When there is no such group, or the kernel keeps no such statistics.
pub fn processor_time(group: Pid) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for process in members(group)? {
        let tasks = format!("/proc/{process}/task");
        for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
            let path = task?.path().join("schedstat");
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            sum += parse_schedstat(&text).with_context(|| format!("{}: {text:?}", path.display()))?;
        }
    }
    Ok(sum)
}

/// Resident memory of all processes of a process group, in bytes. What they share is counted more than once.
///
/// # Errors
/// When there is no such group.
pub fn resident_bytes(group: Pid) -> Result<u64> {
    let mut sum = 0;
    for process in members(group)? {
        let path = format!("/proc/{process}/status");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        sum += parse_resident(&text).with_context(|| format!("{path} has no VmRSS"))?;
    }
    Ok(sum)
}

fn members(group: Pid) -> Result<Vec<u32>> {
    let group = group.as_raw_nonzero().get();
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that has ended meanwhile is no member.
        let Ok(stat) = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")) else {
            continue;
        };
        if parse_group(&stat) == Some(group) {
            members.push(pid);
        }
    }
    ensure!(!members.is_empty(), "process group {group} has no processes");
    Ok(members)
}

/// The first field of `/proc/PID/task/TID/schedstat`: time spent on a processor, in nanoseconds.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The process group in `/proc/PID/stat`; the command's name in it may contain blanks and parentheses.
fn parse_group(stat: &str) -> Option<i32> {
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(2)?.parse().ok()
}

fn parse_resident(status: &str) -> Option<u64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kibibytes.trim().strip_suffix(" kB")?.parse().ok().map(|kibibytes: u64| kibibytes << 10)
}
