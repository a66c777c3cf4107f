//! A second initramfs that the kernel unpacks over the image's own: puts a script in the program's place.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

/// A newc archive with one executable file.
pub(crate) fn executable(path: &str, contents: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, path, 0o100_755, contents.as_bytes());
    entry(&mut archive, "TRAILER!!!", 0, b"");
    archive
}

/// Puts the shell script `body` in the place of the service.
pub(crate) fn service(body: &str) -> Vec<u8> {
    executable("usr/bin/service", &format!("#!/bin/sh\n{body}\n"))
}

/// Puts the shell script `body` in the place of the load balancer.
pub(crate) fn load_balancer(body: &str) -> Vec<u8> {
    executable("usr/bin/lb", &format!("#!/bin/sh\n{body}\n"))
}

/// Appends `overlay` to `initramfs`.
pub(crate) fn append(initramfs: &mut Vec<u8>, overlay: &[u8]) {
    // Nothing may follow lz4's old format: it has no end, and the kernel takes all that comes for its own.
    if initramfs.starts_with(&[0x02, 0x21, 0x4c, 0x18]) {
        *initramfs = unpack_lz4(initramfs);
    }
    // The kernel looks for a next archive at multiples of four only.
    initramfs.resize(initramfs.len().next_multiple_of(4), 0);
    initramfs.extend_from_slice(overlay);
}

fn unpack_lz4(packed: &[u8]) -> Vec<u8> {
    let mut command = Command::new("lz4");
    command.args(["-d", "-q", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("lz4 (apt install lz4)");
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(packed).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "lz4: {}", output.status);
    output.stdout
}

fn entry(archive: &mut Vec<u8>, path: &str, mode: usize, contents: &[u8]) {
    let mut header = "070701".to_owned();
    for field in [1, mode, 0, 0, 1, 0, contents.len(), 0, 0, 0, 0, path.len() + 1, 0] {
        write!(header, "{field:08x}").unwrap();
    }
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(contents);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
