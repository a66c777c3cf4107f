//! Gives the VM its address: everything goes through the gateway, nobody is asked by ARP.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use nix::net::if_::if_nametoindex;

use crate::netlink::{self, Kernel};

/// The VM's only network interface.
const INTERFACE: &str = "eth0";

/// Why the network could not be configured.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub(crate) struct NetworkError {
    step: &'static str,
    source: io::Error,
}

/// Configures `lo` and `eth0`.
///
/// # Errors
/// The first step that the kernel refused.
pub(crate) fn configure(
    addr: Ipv4Addr,
    gateway: Ipv4Addr,
    gateway_mac: Option<[u8; 6]>,
) -> Result<(), NetworkError> {
    let failed = |step| move |source| NetworkError { step, source };
    let index = |name: &str| if_nametoindex(name).map_err(io::Error::from);
    let lo = index("lo").map_err(failed("find lo"))?;
    let eth = index(INTERFACE).map_err(failed("find the network interface"))?;
    for (setting, value) in [("ipv6/conf/eth0/disable_ipv6", "1"), ("ipv4/conf/eth0/accept_redirects", "0")] {
        set(setting, value).map_err(failed("set sysctls"))?;
    }
    let mut kernel = Kernel::connect().map_err(failed("open a netlink socket"))?;
    // The address first: the kernel announces on link-up, not on a new address.
    let mut steps = vec![
        ("set lo up", netlink::link_up(lo)),
        ("add the address", netlink::add_address(eth, addr)),
        ("set the link up", netlink::link_up(eth)),
    ];
    steps.extend(
        gateway_mac
            .map(|mac| ("add the gateway's neighbour entry", netlink::add_neighbour(eth, gateway, mac))),
    );
    steps.push(("add the route to the gateway", netlink::add_link_route(eth, gateway, addr)));
    steps.push(("add the default route", netlink::add_default_route(eth, gateway, addr)));
    for (step, request) in steps {
        kernel.ask(request).map_err(failed(step))?;
    }
    Ok(())
}

fn set(setting: &str, value: &str) -> io::Result<()> {
    match fs::write(format!("/proc/sys/net/{setting}"), value) {
        // A kernel without IPv6 has nothing to switch off.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
