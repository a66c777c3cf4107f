//! The system calls for which there is no safe wrapper.
#![allow(unsafe_code)] // Each block is one call into the kernel with memory that outlives it.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use nix::sys::signal::SigSet;

/// `_IOW('R', 0x03, int[2])` of `linux/random.h`.
const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;

/// Adds `seed` to the kernel's random pool and counts all of its bits.
///
/// # Errors
/// What opening `/dev/random` or the ioctl says.
pub(crate) fn credit_entropy(seed: &[u8]) -> io::Result<()> {
    let random = std::fs::OpenOptions::new().write(true).open("/dev/random")?;
    let size = i32::try_from(seed.len()).map_err(io::Error::other)?;
    // struct rand_pool_info: the bits to count, the bytes that follow, the bytes.
    let mut info = Vec::with_capacity(8 + seed.len());
    info.extend_from_slice(&(size * 8).to_ne_bytes());
    info.extend_from_slice(&size.to_ne_bytes());
    info.extend_from_slice(seed);
    // SAFETY: `info` holds a whole rand_pool_info with as many bytes as it says; the kernel only reads it.
    let result = unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY, info.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets this process and its children have up to `files` open files.
///
/// # Errors
/// What `setrlimit` says.
pub(crate) fn raise_file_limit(files: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
    // SAFETY: the kernel only reads `limit`.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the end of any child without waiting; none when there is none to take.
pub(crate) fn wait_any() -> Option<(u32, ExitStatus)> {
    // nix knows no real-time signals, and would take and lose the end of a process that died of one.
    let mut status = 0;
    // SAFETY: the kernel writes one int into `status`.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    let pid = u32::try_from(pid).ok().filter(|pid| *pid != 0)?;
    Some((pid, ExitStatus::from_raw(status)))
}

/// Makes the child start with no signal blocked: PID 1 blocks those it reads, and children inherit that.
pub(crate) fn unblock_signals(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec; sigprocmask is async-signal-safe and nothing allocates.
    unsafe {
        command.pre_exec(|| SigSet::empty().thread_set_mask().map_err(io::Error::from));
    }
}
