//! How many service VMs each node shall have, given how many there shall be in all.
//!
//! No VM is moved that could stay: nodes only add or only remove. The exception is a node that has more than it may
//! have; what is too much there is removed, and made up for elsewhere as far as there is room. The node with the
//! fewest adds, the one with the most removes. It refuses to touch a silent node: its VMs count as there, because
//! silence says nothing of them. For the same reason nothing is removed elsewhere meanwhile: it may be all that serves.

use std::cmp::Reverse;
use std::fmt;

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub node: String,
    /// Service VMs it has, those on their way out not counted.
    pub services: u32,
    /// How many it can add now; of a silent one, without meaning.
    pub room: u32,
    /// The most it may have; of a silent one, without meaning.
    pub max: u32,
    /// Its manager answers.
    pub live: bool,
}

/// What one node shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which one.
    pub node: String,
    /// Service VMs it has.
    pub from: u32,
    /// Service VMs it shall have; the same for most.
    pub to: u32,
}

/// Why there cannot be so many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// They do not fit.
    #[error("{asked} do not fit: {fits} are the most there can be now ({})", list(.hosts))]
    NoRoom {
        /// How many there shall be.
        asked: u32,
        /// How many there can be.
        fits: u64,
        /// What each host can have, by name.
        hosts: Vec<Share>,
    },
    /// They are fewer than there are, and nobody knows which of a silent manager's VMs serve: what is removed now may be
    /// all that does.
    #[error(
        "{asked} are fewer than there are, and whether the {kept} of managers that do not answer serve is not known ({}); \
         nothing is removed before they answer, or are forgotten",
        list(.hosts)
    )]
    Kept {
        /// How many there shall be.
        asked: u32,
        /// How many there are of silent managers.
        kept: u64,
        /// How many each of them has.
        hosts: Vec<Share>,
    },
}

/// A node and a number of service VMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Which one.
    pub node: String,
    /// How many.
    pub services: u64,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.services)
    }
}

fn list(shares: &[Share]) -> String {
    shares.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A live node while its number is being found.
struct Part<'a> {
    host: &'a Host,
    to: u32,
    room: u32,
}

/// How many each of `hosts` shall have so that there are `replicas` in all: one change for each, by name.
///
/// A pure function of its arguments; takes time in proportion to the VMs that are added or removed and the hosts.
///
/// # Errors
/// If the live hosts have no room for so many, or there shall be fewer while silent ones have some.
pub fn plan(hosts: &[Host], replicas: u32) -> Result<Vec<Change>, ScaleError> {
    let silent = hosts.iter().filter(|host| !host.live);
    let kept = silent.clone().map(|host| u64::from(host.services)).sum::<u64>();
    let all = hosts.iter().map(|host| u64::from(host.services)).sum::<u64>();
    if kept > 0 && u64::from(replicas) < all {
        let hosts = silent.filter(|host| host.services > 0).map(|host| share(host, host.services.into()));
        return Err(ScaleError::Kept { asked: replicas, kept, hosts: sorted(hosts) });
    }
    let wanted = u64::from(replicas).saturating_sub(kept);
    let live = hosts.iter().filter(|host| host.live);
    let mut parts: Vec<_> = live
        .map(|host| Part {
            host,
            to: host.services,
            room: host.room.min(host.max.saturating_sub(host.services)),
        })
        .collect();
    let now = parts.iter().map(|part| u64::from(part.to)).sum::<u64>();
    let room = parts.iter().map(|part| u64::from(part.room)).sum::<u64>();
    let missing = wanted.saturating_sub(now);
    if missing > room {
        let most = |host: &Host| match parts.iter().find(|part| part.host.node == host.node) {
            Some(part) => u64::from(part.to) + u64::from(part.room),
            None => u64::from(host.services),
        };
        let shares = sorted(hosts.iter().map(|host| share(host, most(host))));
        return Err(ScaleError::NoRoom { asked: replicas, fits: kept + now + room, hosts: shares });
    }
    // What is too much on one node is the first to go, and comes back elsewhere if it is still wanted.
    let surplus = now.saturating_sub(wanted);
    let excess = parts.iter().map(|part| u64::from(beyond(part))).sum::<u64>();
    let moved = excess.saturating_sub(surplus).min(room - missing);
    for _ in 0..surplus.min(excess) + moved {
        take(parts.iter_mut().filter(|part| beyond(part) > 0));
    }
    for _ in 0..surplus.saturating_sub(excess) {
        take(parts.iter_mut().filter(|part| part.to > 0));
    }
    for _ in 0..missing + moved {
        let fewest = parts.iter_mut().filter(|part| part.room > 0);
        if let Some(part) = fewest.min_by_key(|part| (part.to, Reverse(part.room), &part.host.node)) {
            part.to += 1;
            part.room -= 1;
        }
    }
    let mut changes: Vec<_> = hosts
        .iter()
        .map(|host| {
            let to =
                parts.iter().find(|part| part.host.node == host.node).map_or(host.services, |part| part.to);
            Change { node: host.node.clone(), from: host.services, to }
        })
        .collect();
    changes.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(changes)
}

/// Takes one from the part with the most.
fn take<'a: 'b, 'b>(parts: impl Iterator<Item = &'b mut Part<'a>>) {
    if let Some(part) = parts.max_by_key(|part| (part.to, Reverse(part.room), &part.host.node)) {
        part.to -= 1;
    }
}

/// What it has beyond what it may have.
fn beyond(part: &Part<'_>) -> u32 {
    part.to.saturating_sub(part.host.max)
}

fn share(host: &Host, services: u64) -> Share {
    Share { node: host.node.clone(), services }
}

fn sorted(shares: impl Iterator<Item = Share>) -> Vec<Share> {
    let mut shares: Vec<_> = shares.collect();
    shares.sort_by(|a, b| a.node.cmp(&b.node));
    shares
}

#[cfg(test)]
mod tests;
