//! A VM that boots gives way to those that serve.
//!
//! A boot is seconds of work for a processor, most of all under emulation, and requests would wait behind it on a host
//! with few of them. With nothing else to do the host, it costs the boot nothing. A manager that may not change
//! priorities goes on without.

use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CapabilitySet, capabilities};

use super::process::{ProcessId, start_time};

/// The nice value of a QEMU whose VM boots: a third of the processor time of one that serves, when both want it
/// (`sched(7)`). Not less: healing must get on, whatever the load.
const BOOTS: i32 = 5;

/// The VM has just been started.
pub fn boots(process: ProcessId) {
    // Who may lower a priority may not always raise it again.
    if capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_NICE)) {
        set(process, BOOTS);
    }
}

/// The VM serves.
pub fn serves(process: ProcessId) {
    set(process, 0);
}

/// Every thread has a priority of its own; new ones get their creator's. Errors mean that the process ends, or that
/// this one may not; both are none of the caller's concern.
fn set(process: ProcessId, nice: i32) {
    if !matches!(start_time(process.pid), Ok(Some(started)) if started == process.start_time) {
        return;
    }
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", process.pid)) else { return };
    for thread in threads.flatten() {
        let id = thread.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let Some(id) = id
            && let Err(error) = setpriority_process(Some(id), nice)
        {
            tracing::debug!(pid = process.pid, nice, %error, "cannot change a VM's priority");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, getpriority_process};

    use super::{BOOTS, ProcessId, boots, serves, start_time};

    #[test]
    fn a_boot_gives_way_and_then_no_more() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let own = getpriority_process(None).unwrap();
        let start_time = start_time(child.id()).unwrap().unwrap();
        let process = ProcessId { pid: child.id(), start_time };
        let nice = || getpriority_process(Pid::from_raw(child.id().cast_signed())).unwrap();
        boots(ProcessId { start_time: start_time + 1, ..process });
        assert_eq!(nice(), own, "another process with the same number");
        boots(process);
        if nice() == BOOTS {
            serves(process);
            assert_eq!(nice(), 0);
        } else {
            assert_eq!(nice(), own, "who may not raise it again does not lower it");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
