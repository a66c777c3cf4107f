//! How much of what was written to a socket its peer has not taken yet.
#![allow(unsafe_code)] // The request is one that rustix has no function for.

use std::ffi::c_int;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ` of tcp(7), which has the number of `TIOCOUTQ`.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes in the socket's send queue, acknowledged ones not counted. None for what is no connected TCP socket.
pub(crate) fn unsent(socket: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: the request writes one `int`, and that is what the getter has room for.
    let queued = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }.ok()?;
    u64::try_from(queued).ok()
}
