//! From PID 1's first line to a VM that can be told who it is: file systems, modules, limits.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::time::{ClockId, clock_gettime};

/// In the order in which they need each other.
const NETWORK_MODULES: [&str; 3] = ["failover", "net_failover", "virtio_net"];
/// Turns the ACPI power button into a signal to PID 1. Not every source of the image has it.
const BUTTON_MODULE: &str = "tiny-power-button";
/// Open files of a program at most: the load balancer needs two per connection.
const MAX_FILES: u64 = 65_536;

/// Why the VM could not be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// A file system could not be mounted.
    #[error("cannot mount {target}: {source}")]
    Mount {
        /// Where.
        target: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A kernel module could not be loaded.
    #[error("cannot load module {name}: {source}")]
    Module {
        /// Which.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A limit or kernel setting could not be set.
    #[error("cannot set {name}: {source}")]
    Setting {
        /// Which.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The VM's uptime.
pub(crate) fn uptime() -> Duration {
    // The clock exists in every kernel this image has; PID 1 without a clock may well panic.
    clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME").into()
}

/// Mounts file systems, makes kernel faults fatal, loads the network modules.
///
/// # Errors
/// The first thing that failed; the VM is useless then.
pub(crate) fn boot() -> Result<(), BootError> {
    mount_all()?;
    // Also without `panic=-1` on the command line a fault ends the VM at once.
    set("/proc/sys/kernel/panic", "-1")?;
    set("/proc/sys/kernel/panic_on_oops", "1")?;
    // On a microvm the kernel's own choice (EFI, which is not there) ends in a jump to nowhere that now and then
    // does not end the VM.
    set("/sys/kernel/reboot/type", "triple")?;
    crate::sys::raise_file_limit(MAX_FILES)
        .map_err(|source| BootError::Setting { name: "RLIMIT_NOFILE", source })?;
    for name in NETWORK_MODULES {
        load(name, c"").map_err(|source| BootError::Module { name, source })?;
    }
    Ok(())
}

/// Makes the power button send SIGTERM to PID 1. It is not needed to serve, so this comes late and may fail.
///
/// # Errors
/// Not found when the image has no such module; else what the kernel says.
pub(crate) fn load_power_button() -> io::Result<()> {
    load(BUTTON_MODULE, c"power_signal=15")
}

fn mount_all() -> Result<(), BootError> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let tmp = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for (kind, target, flags, options) in [
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "mode=0755"),
        ("proc", "/proc", safe, ""),
        ("sysfs", "/sys", safe, ""),
        ("tmpfs", "/run", tmp, "mode=0755,size=10%"),
        ("tmpfs", "/tmp", tmp, "mode=1777,size=10%"),
    ] {
        mount(Some(kind), target, Some(kind), flags, Some(options))
            .map_err(|errno| BootError::Mount { target, source: errno.into() })?;
    }
    Ok(())
}

fn set(name: &'static str, value: &str) -> Result<(), BootError> {
    fs::write(name, value).map_err(|source| BootError::Setting { name, source })
}

fn load(name: &str, parameters: &std::ffi::CStr) -> io::Result<()> {
    let file = File::open(Path::new("/lib/modules").join(name).with_extension("ko"))?;
    Ok(finit_module(file, parameters, ModuleInitFlags::empty())?)
}
