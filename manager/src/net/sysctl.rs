//! The kernel switches a routing host needs, below `/proc/sys/net/ipv4`.
//!
//! They are set, and never set back: what they were before is not ours to know after a restart.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A switch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sysctl {
    /// `net.ipv4.ip_forward`: whether this machine routes at all.
    IpForward,
    /// `forwarding` of one interface, for administrators who switched it off there.
    Forwarding(String),
    /// `send_redirects` of one interface, or of `all`; the kernel sends them if either says so. A redirect would
    /// teach a VM to bypass its gateway.
    SendRedirects(String),
    /// `proxy_delay` of one interface, in hundredths of a second: how long the kernel waits at most before it answers an
    /// ARP question for somebody else. It is there for networks with several who answer; ours has one.
    ProxyDelay(String),
}

impl Sysctl {
    /// The value it shall have.
    pub const fn wanted(&self) -> &'static str {
        match self {
            Self::IpForward | Self::Forwarding(_) => "1",
            Self::SendRedirects(_) | Self::ProxyDelay(_) => "0",
        }
    }

    /// The interface it belongs to (which may be `all`), if any.
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::IpForward => None,
            Self::Forwarding(name) | Self::SendRedirects(name) | Self::ProxyDelay(name) => Some(name),
        }
    }

    fn path(&self) -> PathBuf {
        let base = PathBuf::from("/proc/sys/net/ipv4");
        match self {
            Self::IpForward => base.join("ip_forward"),
            Self::Forwarding(interface) => base.join("conf").join(interface).join("forwarding"),
            Self::SendRedirects(interface) => base.join("conf").join(interface).join("send_redirects"),
            Self::ProxyDelay(interface) => base.join("neigh").join(interface).join("proxy_delay"),
        }
    }

    /// Its value now; none if its interface does not exist.
    pub(super) fn read(&self) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.path()) {
            Ok(text) => Ok(Some(text.trim_end().to_owned())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Gives it the wanted value.
    pub(super) fn write(&self) -> io::Result<()> {
        std::fs::write(self.path(), self.wanted())
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IpForward => f.write_str("net.ipv4.ip_forward"),
            Self::Forwarding(interface) => write!(f, "net.ipv4.conf.{interface}.forwarding"),
            Self::SendRedirects(interface) => write!(f, "net.ipv4.conf.{interface}.send_redirects"),
            Self::ProxyDelay(interface) => write!(f, "net.ipv4.neigh.{interface}.proxy_delay"),
        }
    }
}
