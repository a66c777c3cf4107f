use std::fs::{self, OpenOptions};
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use http::Version;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{AccessLog, Record};
use crate::config;

/// Far more than anything here takes; it only keeps a broken test from hanging.
const LONG: Duration = Duration::from_secs(60);

fn config(path: &Path, more: &str) -> config::AccessLog {
    toml::from_str(&format!("path = {:?}\nformat = \"json\"\n{more}", path.to_str().unwrap())).unwrap()
}

fn log(log: &AccessLog, target: &str) {
    log.log(&Record {
        time: UNIX_EPOCH,
        client: Ipv4Addr::LOCALHOST.into(),
        method: b"GET",
        target: target.as_bytes(),
        version: Version::HTTP_11,
        host: None,
        referer: None,
        user_agent: None,
        status: 200,
        bytes: 0,
        duration: Duration::ZERO,
        attempts: &[],
        request_id: b"",
        tls: None,
        end: "complete",
    });
}

/// The targets in a file.
fn targets(path: &Path) -> Vec<String> {
    targets_of(&fs::read_to_string(path).unwrap_or_default())
}

fn targets_of(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|line| line["target"].as_str().unwrap().to_owned()).collect()
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn all_is_written_at_the_end_of_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let all: Vec<String> = (0..5000).map(|i| format!("/{i}")).collect();
    for part in all.chunks(2500) {
        let access = AccessLog::start(&config(&path, "queue = 5000")).unwrap();
        part.iter().for_each(|target| log(&access, target));
        assert!(access.close(LONG));
        assert_eq!(access.lost(), 0);
        log(&access, "/late");
        assert_eq!(access.lost(), 1, "what comes after the end is lost");
    }
    assert_eq!(targets(&path), all);
}

#[test]
fn lines_do_not_wait_for_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let access = AccessLog::start(&config(&path, "")).unwrap();
    log(&access, "/1");
    wait_for("the line", || targets(&path) == ["/1"]);
}

#[test]
fn one_in_so_many_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let access = AccessLog::start(&config(&path, "sample = 4")).unwrap();
    (0..10).for_each(|i| log(&access, &format!("/{i}")));
    assert!(access.close(LONG));
    assert_eq!(targets(&path), ["/0", "/4", "/8"]);
    assert_eq!(access.lost(), 0);
}

#[test]
fn a_file_that_was_moved_away_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let [path, moved] = ["log", "log.1"].map(|name| dir.path().join(name));
    let access = AccessLog::start(&config(&path, "")).unwrap();
    log(&access, "/1");
    wait_for("the first line", || targets(&path) == ["/1"]);
    fs::rename(&path, &moved).unwrap();
    log(&access, "/2");
    wait_for("the second line", || targets(&moved) == ["/1", "/2"]);
    access.reopen();
    wait_for("the new file", || path.exists());
    log(&access, "/3");
    wait_for("the third line", || targets(&path) == ["/3"]);

    // One that cannot be opened leaves the one that is open.
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    access.reopen();
    log(&access, "/4");
    assert!(access.close(LONG));
    assert_eq!(targets(&moved), ["/3", "/4"]);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(AccessLog::start(&config(dir.path(), "")).is_err());
    assert!(AccessLog::start(&config(&dir.path().join("no/such/place"), "")).is_err());
    let fifo = dir.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert!(AccessLog::start(&config(&fifo, "")).is_err(), "a FIFO that nobody reads");
}

#[test]
fn a_full_disk_costs_lines_only() {
    let access = AccessLog::start(&config("/dev/full".as_ref(), "")).unwrap();
    log(&access, "/1");
    wait_for("the loss of the first line", || access.lost() == 1);
    log(&access, "/2");
    assert!(access.close(LONG));
    assert_eq!(access.lost(), 2);
}

#[test]
fn a_reader_that_stops_costs_lines_only_and_they_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut reader = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let access = AccessLog::start(&config(&fifo, "queue = 64")).unwrap();
    let long = format!("/{}", "a".repeat(4000));
    let mut sent = 0_u64;
    // A FIFO holds 64 KiB: with 32 of these lines taken, not all can be in it.
    let begin = Instant::now();
    while access.lost() < 100 || sent - access.lost() < 32 {
        log(&access, &long);
        sent += 1;
        assert!(begin.elapsed() < LONG, "{} of {sent} lost", access.lost());
    }
    assert!(!access.close(Duration::from_millis(1)), "it is not written");
    // The FIFO is read until the writer has ended.
    let lost = access.lost();
    let (access, text) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut text = Vec::new();
            let mut buffer = vec![0; 65_536];
            let newlines = |text: &[u8]| text.iter().filter(|&&byte| byte == b'\n').count() as u64;
            while newlines(&text) < sent - lost {
                let n = reader.read(&mut buffer).unwrap();
                text.extend_from_slice(&buffer[..n]);
            }
            text
        });
        assert!(access.close(LONG));
        (&access, reading.join().unwrap())
    });
    assert_eq!(access.lost(), lost);
    let written = targets_of(std::str::from_utf8(&text).unwrap());
    assert_eq!(written.len() as u64, sent - lost, "each line is either written or counted");
    assert!(written.iter().all(|target| *target == long));
}
