//! How VMs run: by the processor (KVM) or by translation (TCG).
//!
//! KVM is chosen only when it truly works: there are machines whose `/dev/kvm` opens, and creates VMs, and on
//! which no guest ever boots, because the processor's virtualization is not there.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::raw;

/// What the administrator wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccelChoice {
    /// KVM when it works, TCG otherwise.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// TCG even if KVM works.
    Tcg,
}

/// How VMs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// On the processor.
    Kvm,
    /// Translated by QEMU: works anywhere, at perhaps a tenth of the speed.
    Tcg,
}

impl Accel {
    /// The word used in JSON and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What was found out about KVM on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    /// The API version of `/dev/kvm`, or why there is none.
    pub(super) api_version: Result<i32, String>,
    /// Whether `/proc/cpuinfo` lists `vmx` or `svm`.
    pub(super) processor: bool,
}

/// The only version of KVM's API there has been since 2007.
const KVM_API_VERSION: i32 = 12;

/// The acceleration to use, and why; or why the demanded one cannot be used.
pub(super) fn choose(choice: AccelChoice, probe: &Probe) -> Result<(Accel, String), String> {
    let unusable = match &probe.api_version {
        Err(reason) => Some(reason.clone()),
        Ok(version) if *version != KVM_API_VERSION => {
            Some(format!("/dev/kvm has API version {version}, not {KVM_API_VERSION}"))
        }
        Ok(_) if !probe.processor => {
            Some("the processor offers no virtualization (neither vmx nor svm in /proc/cpuinfo)".to_owned())
        }
        Ok(_) => None,
    };
    match (choice, unusable) {
        (AccelChoice::Tcg, _) => Ok((Accel::Tcg, "as configured".to_owned())),
        (AccelChoice::Kvm, Some(reason)) => Err(reason),
        (AccelChoice::Kvm, None) => Ok((Accel::Kvm, "as configured".to_owned())),
        (AccelChoice::Auto, Some(reason)) => Ok((Accel::Tcg, reason)),
        (AccelChoice::Auto, None) => Ok((Accel::Kvm, "/dev/kvm works".to_owned())),
    }
}

/// Asks the machine about KVM.
pub(super) fn probe() -> Probe {
    let api_version = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(|e| format!("/dev/kvm cannot be opened: {e}"))
        .and_then(|kvm| {
            raw::kvm_api_version(kvm.as_fd()).map_err(|e| format!("/dev/kvm does not tell its version: {e}"))
        });
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Probe { api_version, processor: has_virtualization(&cpuinfo) }
}

fn has_virtualization(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
}

/// How long one of the two measurements takes.
const TSC_WINDOW: Duration = Duration::from_millis(25);
/// How often to measure again when two measurements disagree.
const TSC_TRIES: usize = 4;
/// What the counter of a processor can be, in kHz. Anything else is a mistake in measuring.
const TSC_RANGE_KHZ: std::ops::RangeInclusive<u64> = 100_000..=10_000_000;

/// The rate of the time-stamp counter in kHz, or none if it cannot be told. Takes 50 ms and more, blocking.
///
/// A guest under TCG sees the host's counter, and cannot measure it itself when several boot at once: it has to
/// be told. The `cpu MHz` of `/proc/cpuinfo` is another thing, it moves with the load.
pub(super) fn measure_tsc_khz() -> Option<u64> {
    let mut last = None;
    for _ in 0..=TSC_TRIES {
        let (start, end) = (sample()?, {
            thread::sleep(TSC_WINDOW);
            sample()?
        });
        let khz = tsc_khz(start, end);
        if let (Some(before), Some(now)) = (last, khz)
            && agree(before, now)
        {
            return khz;
        }
        last = khz;
    }
    None
}

/// One reading of both clocks at (almost) the same instant.
#[derive(Debug, Clone, Copy)]
struct Sample {
    ticks: u64,
    nanos: u64,
}

/// The tightest of some readings: being interrupted between the two clocks would falsify the result.
fn sample() -> Option<Sample> {
    let once = || {
        let before = monotonic_nanos()?;
        let ticks = raw::time_stamp_counter()?;
        let after = monotonic_nanos()?;
        Some((after.checked_sub(before)?, Sample { ticks, nanos: before.midpoint(after) }))
    };
    (0..20).filter_map(|_| once()).min_by_key(|(width, _)| *width).map(|(_, sample)| sample)
}

fn monotonic_nanos() -> Option<u64> {
    let now = clock_gettime(ClockId::MonotonicRaw);
    let seconds = u64::try_from(now.tv_sec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(now.tv_nsec).ok()?)
}

fn tsc_khz(start: Sample, end: Sample) -> Option<u64> {
    let ticks = u128::from(end.ticks.checked_sub(start.ticks)?);
    let nanos = u128::from(end.nanos.checked_sub(start.nanos)?);
    let khz = u64::try_from((ticks * 1_000_000).checked_div(nanos)?).ok()?;
    TSC_RANGE_KHZ.contains(&khz).then_some(khz)
}

/// Whether two measurements differ by no more than a thousandth.
fn agree(a: u64, b: u64) -> bool {
    a.abs_diff(b) <= a.max(b) / 1000
}

#[cfg(test)]
mod tests;
