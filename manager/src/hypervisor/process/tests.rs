use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::*;

fn identify(child: &Child) -> ProcessId {
    let start_time = start_time(child.id()).unwrap().expect("it runs");
    ProcessId { pid: child.id(), start_time }
}

/// A process that lives until its standard input is closed.
fn child() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn the_start_time_is_found_behind_any_name() {
    let fields = "S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 100";
    for name in ["cat", "a b", "a) S 1 (b", ""] {
        assert_eq!(parse_start_time(&format!("12 ({name}) {fields}")), Some(4711), "{name:?}");
    }
    for bad in ["", "12 (cat) S 1", "12 cat S", "12 (cat) S 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 x"] {
        assert_eq!(parse_start_time(bad), None, "{bad:?}");
    }
}

#[test]
fn only_a_qemu_with_a_uuid_is_one() {
    let line = |args: &[&str]| args.join("\0").into_bytes();
    let qemu = line(&["/usr/bin/qemu-system-x86_64", "-name", "guest=a", "-uuid", "0A-b", "-S", ""]);
    assert_eq!(uuid_of(&qemu).as_deref(), Some("0a-b"));
    assert_eq!(uuid_of(&line(&["kvm", "-uuid", "x"])).as_deref(), Some("x"));
    for other in [
        line(&["/usr/bin/grep", "-uuid", "x"]),
        line(&["/usr/bin/qemu-img", "info"]),
        line(&["qemu-system-x86_64", "-uuid"]),
        vec![],
        vec![0xff, 0, b'x'],
    ] {
        assert_eq!(uuid_of(&other), None, "{other:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_process_is_seen() {
    let mut child = child();
    let process = identify(&child);
    let waiting = tokio::spawn(exited(process));
    let cancelled = tokio::spawn(exited(process));
    cancelled.abort();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    drop(child.stdin.take());
    waiting.await.unwrap().unwrap();
    assert!(child.wait().unwrap().success(), "it ended by itself");
    exited(process).await.expect("long gone: at once");
}

#[tokio::test]
async fn a_stopped_process_is_killed() {
    let mut child = child();
    let process = identify(&child);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    kill(process, Duration::from_secs(20)).await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
    kill(process, Duration::from_secs(20)).await.expect("gone is what was wanted");
}

#[tokio::test]
async fn another_process_with_the_same_id_is_not_touched() {
    let mut child = child();
    let process = identify(&child);
    let former = ProcessId { start_time: process.start_time - 1, ..process };
    exited(former).await.expect("the one that was meant is gone");
    kill(former, Duration::from_secs(20)).await.unwrap();
    assert_eq!(child.try_wait().unwrap(), None, "it still runs");
    kill(process, Duration::from_secs(20)).await.unwrap();
    child.wait().unwrap();
    for pid in [0, u32::MAX] {
        exited(ProcessId { pid, start_time: 1 }).await.expect("no such process");
    }
}

#[test]
fn a_running_qemu_is_found_by_its_uuid() {
    let uuid = "5f0c3a52-0000-4000-8000-0123456789ab";
    // Any program will do: it is the command line that counts.
    let mut child = Command::new("sh")
        .arg0("/usr/bin/qemu-system-x86_64")
        .args(["-c", "read line", "-uuid", uuid])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let process = identify(&child);
    // Its command line is there a moment after its program is.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !qemu_processes().unwrap().contains_key(uuid) && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(qemu_processes().unwrap().get(uuid), Some(&process));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(qemu_processes().unwrap().get(uuid), None);
}
