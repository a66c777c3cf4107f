//! Who gets which name and address: everything about a lab that follows from its network and its size.
//!
//! Pure: it looks at nothing on the machine. Whether the network is free is `netcheck`'s question.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[cfg(test)]
mod tests;

/// Most hosts of a lab: a host's number is part of its addresses, and one machine carries no more VMs.
pub(crate) const MAX_HOSTS: u8 = 20;
/// Most service VMs that `up` makes on each host.
pub(crate) const MAX_SERVICES: u32 = 50;
/// The namespace of the LAN's bridge.
pub(crate) const LAN_NETNS: &str = "phx-lan";
/// The namespace of the client.
pub(crate) const CLIENT_NETNS: &str = "phx-client";
/// The namespace of a station that is no part of the cluster; only checks make it.
pub(crate) const STRANGER_NETNS: &str = "phx-stranger";
/// Its bridge port.
pub(crate) const STRANGER: &str = "stranger";
/// The bridge in [`LAN_NETNS`].
pub(crate) const LAN_BRIDGE: &str = "lan0";
/// The calling machine's link into the LAN.
pub(crate) const CALLER_LINK: &str = "phx-lan0";
/// The bridge port of the calling machine.
pub(crate) const CALLER_PORT: &str = "caller";
/// The name of the client, as an argument of `exec` and as a bridge port.
pub(crate) const CLIENT: &str = "client";
/// The TCP port of every manager's API.
pub(crate) const API_PORT: u16 = 7700;
/// The UDP port on which managers talk to each other.
pub(crate) const GOSSIP_PORT: u16 = 7701;
/// The name of every lab's cluster.
pub(crate) const CLUSTER: &str = "lab";
/// The TCP port on which every load balancer takes traffic.
pub(crate) const LB_PORT: u16 = 80;

/// Why there is no such lab.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum PlanError {
    #[error("--net {0}: a lab needs a /16 such as 10.77.0.0/16")]
    NotSixteen(Ipv4Net),
    #[error("--hosts {0}: must be between 1 and {MAX_HOSTS}")]
    Hosts(u8),
    #[error("--last-pool-prefix {0}: must be between 24 and 29")]
    PoolPrefix(u8),
}

/// The names and addresses of one lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// All of the lab's addresses.
    pub net: Ipv4Net,
    /// The LAN that hosts, client and calling machine share.
    pub lan: Ipv4Net,
    /// The calling machine's address in the LAN.
    pub caller: Ipv4Addr,
    /// The client's address in the LAN.
    pub client: Ipv4Addr,
    /// The public address, which one of the hosts has at any time.
    pub vip: Ipv4Addr,
    /// The hosts, in the order of their numbers.
    pub hosts: Vec<HostPlan>,
}

/// The names and addresses of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostPlan {
    /// `host1`, …: also the cluster's name of it and its bridge port.
    pub name: String,
    /// Its network namespace.
    pub netns: String,
    /// Its address in the LAN.
    pub lan_addr: Ipv4Addr,
    /// The addresses of its VMs.
    pub pool: Ipv4Net,
}

impl HostPlan {
    /// Where its manager's API listens.
    pub(crate) fn api(&self) -> std::net::SocketAddr {
        (self.lan_addr, API_PORT).into()
    }
}

impl Plan {
    /// The lab of `hosts` hosts in `net`. The pools are /24, but the last host's has `last_pool_prefix`.
    pub(crate) fn new(net: Ipv4Net, hosts: u8, last_pool_prefix: u8) -> Result<Self, PlanError> {
        if net.prefix_len() != 16 || net.addr() != net.network() {
            return Err(PlanError::NotSixteen(net));
        }
        if hosts == 0 || hosts > MAX_HOSTS {
            return Err(PlanError::Hosts(hosts));
        }
        if !(24..=29).contains(&last_pool_prefix) {
            return Err(PlanError::PoolPrefix(last_pool_prefix));
        }
        let [a, b, _, _] = net.network().octets();
        let hosts = (1..=hosts)
            .map(|number| {
                let prefix = if number == hosts { last_pool_prefix } else { 24 };
                HostPlan {
                    name: format!("host{number}"),
                    netns: format!("phx-host{number}"),
                    lan_addr: Ipv4Addr::new(a, b, 0, 10 + number),
                    pool: Ipv4Net::new_assert(Ipv4Addr::new(a, b, 10 + number, 0), prefix),
                }
            })
            .collect();
        Ok(Self {
            net,
            lan: Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), 24),
            caller: Ipv4Addr::new(a, b, 0, 1),
            client: Ipv4Addr::new(a, b, 0, 200),
            vip: Ipv4Addr::new(a, b, 0, 100),
            hosts,
        })
    }

    /// An address of the LAN that nobody has, by its last number.
    pub(crate) fn nobodys(&self, last: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.lan.network().octets();
        Ipv4Addr::new(a, b, c, last)
    }

    /// The host called `name`.
    pub(crate) fn host(&self, name: &str) -> Option<&HostPlan> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// The host that a VM's id (`<host>/<name>`) belongs to.
    pub(crate) fn host_of_vm(&self, id: &str) -> Option<&HostPlan> {
        self.host(id.split_once('/')?.0)
    }

    /// Every network namespace of the lab.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &str> {
        [LAN_NETNS, CLIENT_NETNS].into_iter().chain(self.hosts.iter().map(|host| host.netns.as_str()))
    }
}

/// Whether a network namespace of this name belongs to a lab, of whatever size.
pub(crate) fn is_lab_namespace(name: &str) -> bool {
    let number = |text: &str| text.parse::<u8>().is_ok_and(|n| (1..=MAX_HOSTS).contains(&n));
    [LAN_NETNS, CLIENT_NETNS, STRANGER_NETNS].contains(&name)
        || name.strip_prefix("phx-host").is_some_and(number)
}
