//! A hold on the socket of an upstream's connection that outlives pingora's.
#![allow(unsafe_code)] // pingora tells of its connections by the number of their descriptor only.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// A descriptor of our own for the connection that pingora has just reported in `connected_to_upstream`, and
/// must still hold: call it there and nowhere else. A number alone would not do, because it means another
/// connection as soon as this one is closed.
///
/// # Errors
/// When the process has as many open files as it may.
pub(super) fn hold(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: pingora awaits `connected_to_upstream` while it owns the connection, so the descriptor is open
    // during this call, and the borrow ends with it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned()
}
