//! A loop for tests of what is around it: a real core, and a disk that does as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use manager_core::core::Accepted;
use manager_core::{Core, Event, Time};
use tokio::sync::mpsc;
use wire::ClusterView;

use super::{Handle, Message, RequestError};

/// Serves `core` until the last handle is gone; the disk refuses while `disk_full` is set.
pub(crate) fn spawn(mut core: Core, disk_full: Arc<AtomicBool>) -> Handle {
    let (sender, mut messages) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            let settle = |core: &mut Core, accepted: Result<Accepted, RequestError>| {
                let Accepted { revision, vm } = accepted?;
                let full = disk_full.load(Ordering::SeqCst);
                let event =
                    if full { Event::PersistFailed { revision } } else { Event::Persisted { revision } };
                core.step(Time::default(), event, &mut Vec::new());
                if full { Err(RequestError::Disk) } else { Ok(vm) }
            };
            match message {
                Message::Create(request, reply) => {
                    let accepted = core.create(request.addr).map_err(RequestError::from);
                    drop(reply.send(settle(&mut core, accepted)));
                }
                Message::Remove(id, reply) => {
                    let accepted = core.remove(&id).map_err(RequestError::from);
                    drop(reply.send(settle(&mut core, accepted)));
                }
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
                    peers: vec![],
                    vip: None,
                }))),
                Message::LbRoutes(services, done) => {
                    core.step(Time::default(), Event::LbRoutes(services), &mut Vec::new());
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
