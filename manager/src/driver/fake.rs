//! A loop for tests of what is around it: a real core, and a disk that does as it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use manager_core::core::{Accepted, Resized, ServicesError};
use manager_core::peers::PeerConfig;
use manager_core::{Core, Event, Time};
use tokio::sync::mpsc;
use wire::{ClusterView, PeerScaled, PeerService, PeerServiceView, PeerServices, PeerView};

use super::{Handle, Message, RequestError};

/// Serves `core` until the last handle is gone; the disk refuses while `disk_full` is set.
pub(crate) fn spawn(mut core: Core, disk_full: Arc<AtomicBool>) -> Handle {
    let (sender, mut messages) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            let settle = |core: &mut Core, revision| {
                let full = disk_full.load(Ordering::SeqCst);
                let event =
                    if full { Event::PersistFailed { revision } } else { Event::Persisted { revision } };
                core.step(Time::default(), event, &mut Vec::new());
                if full { Err(RequestError::Disk) } else { Ok(()) }
            };
            match message {
                Message::Create(request, reply) => {
                    let accepted = core.create(request.addr).map_err(RequestError::from);
                    let answer = accepted
                        .and_then(|Accepted { revision, vm }| settle(&mut core, revision).map(|()| vm));
                    drop(reply.send(answer));
                }
                Message::Remove(id, reply) => {
                    let accepted = core.remove(&id).map_err(RequestError::from);
                    let answer = accepted
                        .and_then(|Accepted { revision, vm }| settle(&mut core, revision).map(|()| vm));
                    drop(reply.send(answer));
                }
                Message::SetServices { services, expect, reply } => {
                    let resized = core.set_services(services, expect).map_err(RequestError::from);
                    let answer = resized.and_then(|Resized { revision, from, to }| {
                        revision.map_or(Ok(()), |revision| settle(&mut core, revision))?;
                        Ok(PeerScaled { from, to })
                    });
                    drop(reply.send(answer));
                }
                Message::Capacity(reply) => drop(reply.send(if core.ready() {
                    Ok(core.capacity())
                } else {
                    Err(ServicesError::NotReady.into())
                })),
                Message::Account(node, account, reply) => {
                    let merged = core.account_of(Time::default(), &node, account);
                    drop(reply.send(merged.map(manager_core::peers::Merge::ack).map_err(Into::into)));
                }
                Message::Vms(reply) => drop(reply.send(Ok(core.vms()))),
                Message::Cluster(reply) => drop(reply.send(Ok(ClusterView {
                    node: "host1".to_owned(),
                    boot: 1,
                    accel: "tcg".to_owned(),
                    lb: core.account().lb,
                    lb_generation: 0,
                    vms: core.vms(),
                    peers: core.peers(Time::default()).map(peer).collect(),
                    vip: None,
                }))),
                Message::LbRoutes(services, done) => {
                    core.step(Time::default(), Event::LbRoutes(services), &mut Vec::new());
                    let _ = done.send(());
                }
                Message::Peers(peers, done) => {
                    let peers = peers.into_iter().map(|peer| PeerConfig { node: peer.node, pool: peer.pool });
                    core.step(Time::default(), Event::Peers(peers.collect()), &mut Vec::new());
                    let _ = done.send(());
                }
                Message::Event(event) => core.step(Time::default(), event, &mut Vec::new()),
                Message::Ready { .. }
                | Message::Beat { .. }
                | Message::Program { .. }
                | Message::Outbid(_) => {}
            }
        }
    });
    Handle::new(sender)
}

fn peer((node, account, heard): (&str, &PeerServices, Option<Duration>)) -> PeerView {
    let service = |service: &PeerService| PeerServiceView {
        id: service.id.clone(),
        addr: service.addr,
        incarnation: service.incarnation,
        state: service.state,
    };
    PeerView {
        node: node.to_owned(),
        api: SocketAddr::from(([127, 0, 0, 1], 1)),
        heard_ms_ago: heard.map(|_| 0),
        boot: account.boot,
        revision: account.revision,
        lb: account.lb,
        services: account.services.iter().map(service).collect(),
    }
}
