use std::process::{Command, Stdio};

use super::*;

#[test]
fn names_with_blanks_and_parentheses_do_not_confuse() {
    let text =
        "42 (a) b (c) R 1 42 42 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 7777 1000 10 18446744073709551615";
    let stat = parse_stat(text).expect("a line of /proc/PID/stat");
    assert_eq!(stat.start_ticks, 7777);
    assert!(!stat.ended);
    assert!(parse_stat("42 (x) Z").is_none());
}

#[test]
fn a_zombie_has_ended_when_its_last_thread_has() {
    let stat =
        |threads: u32| format!("42 (x) Z 1 42 42 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 {threads} 0 7777 0 0");
    assert!(parse_stat(&stat(1)).expect("a line").ended);
    assert!(!parse_stat(&stat(2)).expect("a line").ended);
}

#[test]
fn a_child_that_nobody_has_collected_is_gone() {
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("sleep");
    let process = Process::of(child.id().cast_signed()).expect("a process");
    child.kill().expect("killed");
    let deadline = Instant::now() + Duration::from_secs(60);
    while process.is_alive() && Instant::now() < deadline {
        sleep(Duration::from_millis(1));
    }
    assert!(!process.is_alive());
    assert_eq!(Process::of(process.pid), Some(process), "its entry is still there");
    child.wait().expect("ended");
}

#[test]
fn the_mark_is_a_whole_variable_name() {
    assert!(has_mark(b"A=1\0PHALANX_LAB=host1\0"));
    assert!(!has_mark(b"NOT_PHALANX_LAB=host1\0PHALANX_LABEL=x\0X=PHALANX_LAB=\0"));
}

#[test]
fn this_process_is_alive_and_its_pid_alone_is_not_enough() {
    let me = Process::current();
    assert!(me.is_alive());
    assert!(!Process { start_ticks: me.start_ticks + 1, ..me }.is_alive());
}

#[test]
fn a_signal_reaches_only_the_process_that_was_meant() {
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("sleep");
    let process = Process::of(child.id().cast_signed()).expect("a process");
    let other = Process { start_ticks: process.start_ticks + 1, ..process };
    assert!(!send(other, Signal::KILL).expect("no error"));
    assert!(process.is_alive());
    assert!(send(process, Signal::KILL).expect("no error"));
    child.wait().expect("ended");
    assert!(!process.is_alive());
    assert!(!send(process, Signal::KILL).expect("no error"));
}

#[test]
fn signals_have_their_usual_names() {
    assert_eq!(signal_by_name("KILL"), Some(Signal::KILL));
    assert_eq!(signal_by_name("sigstop"), Some(Signal::STOP));
    assert_eq!(signal_by_name("9"), None);
}
