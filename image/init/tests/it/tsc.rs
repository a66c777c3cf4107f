//! The rate of the host's time stamp counter, which an emulated guest reads and a microvm cannot measure.
#![allow(unsafe_code)] // RDTSC has no safe wrapper.

use std::thread::sleep;
use std::time::{Duration, Instant};

fn read() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and it only writes registers.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// In kHz, measured over 50 ms.
pub(crate) fn khz() -> u64 {
    let (began, first) = (Instant::now(), read());
    sleep(Duration::from_millis(50));
    let ticks = read() - first;
    u64::try_from(u128::from(ticks) * 1_000_000 / began.elapsed().as_nanos()).unwrap()
}
