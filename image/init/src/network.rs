//! Gives the VM its address: everything goes through the gateway, nobody is asked by ARP.

use std::fs;
use std::io;

use nix::net::if_::if_nametoindex;

use crate::identity::Plan;
use crate::netlink::{self, Kernel};

/// The VM's only network interface.
const INTERFACE: &str = "eth0";

/// What the kernel is told before it sees the first packet.
const SETTINGS: [(&str, &str); 4] = [
    ("ipv6/conf/eth0/disable_ipv6", "1"),
    ("ipv4/conf/eth0/accept_redirects", "0"),
    // All load balancers' VMs have the public address on `lo`, and by default the kernel answers ARP for any address of
    // its own on any interface, and asks in the name of the address that an answer is sent from. Both would tell
    // the bridge that the address is here. See arp_ignore and arp_announce in the kernel's
    // Documentation/networking/ip-sysctl.rst.
    ("ipv4/conf/eth0/arp_ignore", "1"),
    ("ipv4/conf/eth0/arp_announce", "2"),
];

/// Why the network could not be configured.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub(crate) struct NetworkError {
    step: &'static str,
    source: io::Error,
}

/// Configures `lo` and `eth0`: the VM's address on `eth0`, the public one, if there is one, on `lo`.
///
/// # Errors
/// The first step that the kernel refused.
pub(crate) fn configure(plan: &Plan) -> Result<(), NetworkError> {
    let Plan { addr, gateway, gateway_mac, vip, .. } = *plan;
    let failed = |step| move |source| NetworkError { step, source };
    let index = |name: &str| if_nametoindex(name).map_err(io::Error::from);
    let lo = index("lo").map_err(failed("find lo"))?;
    let eth = index(INTERFACE).map_err(failed("find the network interface"))?;
    for (setting, value) in SETTINGS {
        set(setting, value).map_err(failed("set sysctls"))?;
    }
    let mut kernel = Kernel::connect().map_err(failed("open a netlink socket"))?;
    // The address first: the kernel announces on link-up, not on a new address.
    let mut steps = vec![("set lo up", netlink::link_up(lo))];
    steps.extend(vip.map(|vip| ("add the public address", netlink::add_address(lo, vip))));
    steps.extend([
        ("add the address", netlink::add_address(eth, addr)),
        ("set the link up", netlink::link_up(eth)),
    ]);
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
