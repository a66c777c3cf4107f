//! What is shown of the loop's state.

use std::net::SocketAddr;

use manager_core::Time;
use wire::{ClusterView, PeerService, PeerServiceView, PeerView};

use super::Driver;

impl Driver {
    pub(super) fn cluster_view(&self, now: Time) -> ClusterView {
        let api = |node: &str| {
            let peer = self.parts.config.peers.iter().find(|peer| peer.node == node);
            peer.map(|peer| SocketAddr::V4(peer.api))
        };
        let peers = self.core.peers(now).filter_map(|(node, account, heard)| {
            Some(PeerView {
                node: node.to_owned(),
                api: api(node)?,
                heard_ms_ago: heard.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
                boot: account.boot,
                revision: account.revision,
                lb: account.lb,
                services: account.services.iter().map(service).collect(),
            })
        });
        ClusterView {
            node: self.parts.config.node.clone(),
            boot: self.parts.boot,
            accel: self
                .hypervisor
                .as_ref()
                .map_or_else(|| "unknown".to_owned(), |it| it.accel().as_str().to_owned()),
            lb: self.account.borrow().lb,
            lb_generation: self.lb_accepted.borrow().generation,
            vms: self.core.vms(),
            peers: peers.collect(),
            vip: None,
        }
    }
}

fn service(service: &PeerService) -> PeerServiceView {
    PeerServiceView {
        id: service.id.clone(),
        addr: service.addr,
        incarnation: service.incarnation,
        state: service.state,
    }
}
