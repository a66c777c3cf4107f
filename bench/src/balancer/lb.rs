//! The project's own load balancer: its defaults, and an admin API to push upstreams to.

use std::net::SocketAddr;

use wire::{PutUpstreams, Upstream, UpstreamState};

use super::Site;
use crate::rig::admin::TOKEN;

/// Its configuration. The upstreams are pushed.
pub fn config(site: &Site) -> String {
    let Site { listen, admin, threads, .. } = site;
    format!(
        "listen = [\"{listen}\"]\nthreads = {threads}\n\n[admin]\nlisten = \"{admin}\"\ntoken = \"{TOKEN}\"\n"
    )
}

/// A set of these upstreams, each named after its place in the list of all.
pub fn set(generation: u64, upstreams: impl IntoIterator<Item = (usize, SocketAddr)>) -> PutUpstreams {
    let upstreams = upstreams.into_iter().map(|(place, addr)| upstream(&format!("up-{place}"), 1, addr));
    PutUpstreams { generation, upstreams: upstreams.collect() }
}

/// One upstream like all others.
pub fn upstream(id: &str, incarnation: u64, addr: SocketAddr) -> Upstream {
    Upstream {
        id: format!("bench/{id}"),
        incarnation,
        addr,
        weight: 1,
        state: UpstreamState::Up,
        backup: false,
        max_conns: 0,
    }
}
