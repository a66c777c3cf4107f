//! A descriptor that came with the process, as one that is owned.
#![allow(unsafe_code, reason = "a number in the environment becomes a descriptor")]

use std::collections::BTreeSet;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use rustix::fs::OFlags;
use rustix::io::{FdFlags, fcntl_setfd};

/// Those that have an owner by now.
static ADOPTED: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Takes a descriptor over. It is closed on exec from now on, as all others are. The one caller calls it with
/// numbers that the parent chose.
pub(super) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    if fd <= 2 || !came_through_exec(fd)? {
        return Err(io::Error::other("the descriptor was not inherited"));
    }
    if !ADOPTED.lock().unwrap_or_else(PoisonError::into_inner).insert(fd) {
        return Err(io::Error::other("the descriptor is named twice"));
    }
    // SAFETY: the descriptor is open, it is not the standard input, output or error, and it is not closed on exec.
    // What this process opens is, so it was there from the start, left by the parent for this purpose, and nothing
    // else in this process knows its number. The set above hands it out once.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// Whether it is open and would also stay open across exec (proc_pid_fdinfo(5)).
fn came_through_exec(fd: RawFd) -> io::Result<bool> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    let flags = flags.ok_or_else(|| io::Error::other("fdinfo has no flags"))?;
    Ok(!OFlags::from_bits_retain(flags).contains(OFlags::CLOEXEC))
}
