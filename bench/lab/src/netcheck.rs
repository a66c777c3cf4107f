//! Finds a /16 that nothing on this machine uses.
//!
//! It refuses to guess: a network that the user named and that is in use is an error, never replaced.

use anyhow::{Context as _, Result, bail};
use ipnet::Ipv4Net;
use serde::Deserialize;

use crate::ip::ip;

#[cfg(test)]
mod tests;

/// A network this machine already uses, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InUse {
    /// The network.
    pub net: Ipv4Net,
    /// For example `route via eth0`.
    pub by: String,
}

/// What was chosen, and why not the default.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The network to use.
    pub net: Ipv4Net,
    /// Why the default was not used.
    pub instead: Option<InUse>,
}

/// The network asked for, or the first free one; reads the machine's addresses and routes.
pub(crate) fn choose(asked: Option<Ipv4Net>) -> Result<Choice> {
    let mut used = routes_in_use(&ip(&["-j", "-4", "route", "show", "table", "all"])?)?;
    used.extend(addresses_in_use(&ip(&["-j", "-4", "addr", "show"])?)?);
    decide(asked, &used)
}

/// The decision, given what is in use.
pub(crate) fn decide(asked: Option<Ipv4Net>, used: &[InUse]) -> Result<Choice> {
    let clash = |net: &Ipv4Net| used.iter().find(|use_| overlap(net, &use_.net)).cloned();
    if let Some(net) = asked {
        if let Some(InUse { net: other, by }) = clash(&net) {
            bail!("--net {net}: {other} is in use on this machine ({by})");
        }
        return Ok(Choice { net, instead: None });
    }
    let default = candidates().next().context("there is a first candidate")?;
    let instead = clash(&default);
    match candidates().find(|net| clash(net).is_none()) {
        Some(net) => Ok(Choice { net, instead }),
        None => {
            bail!("every private /16 overlaps an address or a route of this machine: choose one with --net")
        }
    }
}

/// 10.77.0.0/16 first, which is used when it is free and the user named none.
fn candidates() -> impl Iterator<Item = Ipv4Net> {
    let net = |a, b| Ipv4Net::new_assert(std::net::Ipv4Addr::new(a, b, 0, 0), 16);
    (77..=254).map(move |b| net(10, b)).chain((16..=31).map(move |b| net(172, b)))
}

fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

/// The destinations of `ip -j -4 route`, without the default route, which overlaps everything and means nothing.
fn routes_in_use(json: &str) -> Result<Vec<InUse>> {
    #[derive(Deserialize)]
    struct Route {
        dst: String,
        dev: Option<String>,
    }
    let routes: Vec<Route> = serde_json::from_str(json).context("cannot read the output of `ip route`")?;
    let in_use = |route: Route| {
        let net = parse_net(&route.dst)?;
        let by = format!("route via {}", route.dev.as_deref().unwrap_or("no device"));
        (net.prefix_len() > 0).then_some(InUse { net, by })
    };
    Ok(routes.into_iter().filter_map(in_use).collect())
}

/// The networks of `ip -j -4 addr`.
fn addresses_in_use(json: &str) -> Result<Vec<InUse>> {
    #[derive(Deserialize)]
    struct Link {
        ifname: Option<String>,
        #[serde(default)]
        addr_info: Vec<Address>,
    }
    #[derive(Deserialize)]
    struct Address {
        local: std::net::Ipv4Addr,
        prefixlen: u8,
    }
    // Interfaces without an IPv4 address appear as empty objects in some versions.
    let links: Vec<Link> = serde_json::from_str(json).context("cannot read the output of `ip addr`")?;
    let mut found = Vec::new();
    for link in links {
        let by = format!("address of {}", link.ifname.as_deref().unwrap_or("an interface"));
        for addr in link.addr_info {
            if let Ok(net) = Ipv4Net::new(addr.local, addr.prefixlen) {
                found.push(InUse { net: net.trunc(), by: by.clone() });
            }
        }
    }
    Ok(found)
}

/// `default`, `10.0.0.0/8` or `10.0.0.1`.
fn parse_net(text: &str) -> Option<Ipv4Net> {
    if text.contains('/') {
        return text.parse().ok();
    }
    text.parse().ok().map(|addr| Ipv4Net::new_assert(addr, 32))
}
