//! What the administrator decides about VMs, and which of it can never work.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Error;
use super::accel::AccelChoice;
use super::domain_xml::Machine;

/// The longest name of a domain, in bytes.
pub const MAX_NAME: usize = 40;

/// What a `sockaddr_un` can hold, without the final zero.
const MAX_SOCKET_PATH: usize = 107;

/// The longer of the endings of a domain's files.
const LONGEST_ENDING: &str = ".console";

/// How VMs are made on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// libvirt's URI, such as `qemu:///system`.
    pub uri: String,
    /// KVM or TCG.
    pub accel: AccelChoice,
    /// The kind of machine.
    pub machine: Machine,
    /// A VM's memory, in MiB: 64 to 65536.
    pub memory_mib: u32,
    /// A VM's processors: 1 to 16.
    pub vcpus: u32,
    /// The kernel all VMs boot.
    pub kernel: PathBuf,
    /// The initramfs all VMs boot.
    pub initramfs: PathBuf,
    /// The bridge all VMs are plugged into.
    pub bridge: String,
    /// This node's name. Domains of other nodes are never touched.
    pub node: String,
    /// A directory of its own, in memory if possible: the VMs' sockets and console logs.
    pub runtime_dir: PathBuf,
    /// How long a call to libvirt may take. Under TCG on a busy machine a VM takes half a second to start.
    pub call_timeout: Duration,
}

impl Settings {
    /// Checks what can be checked without libvirt.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the setting.
    pub fn check(&self) -> Result<(), Error> {
        let fail = |field, message| Err(Error::Invalid { field, message });
        if self.uri.is_empty() || self.uri.chars().any(char::is_control) {
            return fail("hypervisor.uri", format!("{:?} is no URI", self.uri));
        }
        if !(64..=65536).contains(&self.memory_mib) {
            return fail("hypervisor.memory_mib", format!("{} is not within 64 to 65536", self.memory_mib));
        }
        if !(1..=16).contains(&self.vcpus) {
            return fail("hypervisor.vcpus", format!("{} is not within 1 to 16", self.vcpus));
        }
        if self.call_timeout.is_zero() {
            return fail("hypervisor.call_timeout_ms", "0 leaves no time for any call".to_owned());
        }
        for (field, text) in [("node", &self.node), ("network.bridge", &self.bridge)] {
            if text.is_empty() || text.chars().any(char::is_control) {
                return fail(field, format!("{text:?} is no name"));
            }
        }
        for (field, file) in [("image.kernel", &self.kernel), ("image.initramfs", &self.initramfs)] {
            check_path(field, file)?;
            let open = std::fs::File::open(file).and_then(|file| file.metadata());
            match open {
                Ok(meta) if meta.is_file() => {}
                Ok(_) => return fail(field, format!("{} is not a file", file.display())),
                Err(e) => return fail(field, format!("{} cannot be read: {e}", file.display())),
            }
        }
        check_path("runtime_dir", &self.runtime_dir)?;
        let longest = self.runtime_dir.as_os_str().len() + 1 + MAX_NAME + LONGEST_ENDING.len();
        if longest > MAX_SOCKET_PATH {
            return fail(
                "runtime_dir",
                format!(
                    "{} is too long: sockets below it would have paths of up to {longest} bytes, and \
                     {MAX_SOCKET_PATH} is the limit",
                    self.runtime_dir.display()
                ),
            );
        }
        Ok(())
    }
}

fn check_path(field: &'static str, path: &Path) -> Result<(), Error> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    if !path.is_absolute() || text.is_none() {
        let message = format!("{path:?} is not an absolute path in UTF-8 without control characters");
        return Err(Error::Invalid { field, message });
    }
    Ok(())
}

/// Domain names become file names and are typed by people.
///
/// # Errors
/// [`Error::Invalid`].
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && letters && name.len() <= MAX_NAME {
        return Ok(());
    }
    let message = format!(
        "{name:?} is no domain name: 1 to {MAX_NAME} letters, digits, dashes, underscores and dots, \
         beginning with a letter or digit"
    );
    Err(Error::Invalid { field: "name", message })
}

#[cfg(test)]
mod tests;
