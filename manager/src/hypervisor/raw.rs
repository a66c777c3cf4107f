//! What safe code cannot do: read the processor's cycle counter, ask for KVM's version, and have tokio watch a
//! descriptor.
#![allow(unsafe_code, reason = "one instruction, one ioctl and one promise, each in a function of its own")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

mod ioctl {
    #![allow(missing_docs, reason = "the macro writes the function")]
    // KVM_GET_API_VERSION of <linux/kvm.h>: _IO(0xAE, 0x00).
    nix::ioctl_none!(kvm_get_api_version, 0xAE, 0x00);
}

/// The API version of an open `/dev/kvm`; 12 on every kernel since 2007.
pub(super) fn kvm_api_version(kvm: BorrowedFd<'_>) -> nix::Result<i32> {
    // SAFETY: the descriptor is open as long as it is borrowed; this ioctl takes no argument, and on a device
    // that does not know its number it answers ENOTTY.
    unsafe { ioctl::kvm_get_api_version(kvm.as_raw_fd()) }
}

/// The time-stamp counter of this processor; none where there is no such instruction.
pub(super) fn time_stamp_counter() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has RDTSC, and it reads a register and nothing else.
        Some(unsafe { core::arch::x86_64::_rdtsc() })
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        None
    }
}

/// Has the runtime watch a pidfd, which becomes readable when the process has ended.
pub(super) fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned, so it is open, is always the same, and stays so until the `AsyncFd` that
    // owns it is dropped.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(Into::into)
}
