//! Does what the core asks for, each thing in a task of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use manager_core::slot::DomainRef;
use manager_core::{Action, Event, Transition};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};
use wire::{Heartbeat, Role, ToGuest, VmState};

use super::{Birth, Driver, guest, neighbours};
use crate::hypervisor::{DomainMeta, DomainSpec, ProcessId, RunningDomain};
use crate::identity::Purpose;
use crate::net::vm_mac;
use crate::push::lb;
use crate::stream::Stream;

impl Driver {
    pub(super) fn execute(&mut self, action: Action) {
        match action {
            Action::Create { id, role, addr, incarnation } => self.create(id, role, addr, incarnation),
            Action::Destroy { domain, reason } => self.destroy(domain, reason),
            Action::Stop { domain, timeout } => self.stop(&domain, timeout),
            Action::Watch { domain, id, incarnation, fresh } => self.watch(domain, id, incarnation, fresh),
            Action::Connect { id, incarnation, role, addr } => self.connect(id, incarnation, role, addr),
            Action::Disconnect { id } => drop(self.streams.remove(&id)),
            Action::Log(transition) => self.log(&transition),
        }
    }

    fn create(&mut self, id: String, role: Role, addr: Ipv4Addr, incarnation: u64) {
        let birth = Birth { incarnation, decided: Instant::now(), created: None, process: None };
        self.begun.insert(id.clone(), birth);
        self.parts.metrics.creations.with_label_values(&[role.as_str()]).inc();
        let Some(hypervisor) = self.hypervisor.clone() else { return };
        let (metrics, handle) = (Arc::clone(&self.parts.metrics), self.handle.clone());
        let node = self.parts.config.node.clone();
        tokio::spawn(async move {
            let mac = vm_mac(addr, incarnation);
            let meta = DomainMeta { node, id: id.clone(), role, addr, incarnation };
            let spec = DomainSpec { name: domain_name(&id, incarnation), meta, mac };
            let outcome = hypervisor.create(spec).await;
            let event = match outcome {
                Ok(running) => Event::Created { id, incarnation, domain: running.into() },
                Err(error) => {
                    metrics.creation_failures.with_label_values(&[role.as_str()]).inc();
                    Event::CreateFailed { id, incarnation, error: error.to_string() }
                }
            };
            handle.event(event).await;
        });
    }

    fn destroy(&self, domain: DomainRef, reason: &str) {
        info!(domain = %domain.name, pid = domain.pid, reason, "destroying");
        let Some(hypervisor) = self.hypervisor.clone() else { return };
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let process = process(&domain);
            let name = domain.name;
            let event = match hypervisor.destroy(&name, Some(process)).await {
                Ok(()) => Event::Destroyed { domain: name },
                Err(error) => {
                    warn!(domain = %name, %error, "cannot destroy; trying again");
                    Event::DestroyFailed { domain: name }
                }
            };
            handle.event(event).await;
        });
    }

    fn watch(&mut self, domain: DomainRef, id: String, incarnation: u64, fresh: bool) {
        debug!(domain = %domain.name, pid = domain.pid, fresh, "watching");
        let Some(hypervisor) = &self.hypervisor else { return };
        let socket = hypervisor.guest_socket(&domain.name);
        let Some(vm) = self.core.vms().into_iter().find(|vm| vm.id == id) else { return };
        let (secret, config) = (self.parts.secret.clone(), Arc::clone(&self.parts.config));
        let identity = move || super::identity::of(&config, &secret, &vm, incarnation);
        let handle = self.handle.clone();
        let (orders, to_give) = mpsc::channel(ORDERS);
        self.orders.insert(domain.name.clone(), orders);
        tokio::spawn(async move {
            let mut talk =
                std::pin::pin!(guest::talk(socket, id, incarnation, identity, handle.clone(), to_give));
            loop {
                let outcome = tokio::select! {
                    outcome = crate::hypervisor::exited(process(&domain)) => outcome,
                    never = &mut talk => match never {},
                };
                match outcome {
                    Ok(()) => break,
                    // Heartbeats still tell; only later.
                    Err(error) => error!(domain = %domain.name, %error, "cannot watch QEMU's process"),
                }
                tokio::select! {
                    () = tokio::time::sleep(REOPEN) => {}
                    never = &mut talk => match never {},
                }
            }
            handle.event(Event::Exited { domain: domain.name }).await;
        });
    }

    fn stop(&mut self, domain: &DomainRef, timeout: Duration) {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let told = self.orders.get(&domain.name).map(|orders| orders.try_send(ToGuest::Drain { timeout_ms }));
        if !matches!(told, Some(Ok(()))) {
            warn!(domain = %domain.name, "cannot tell the VM to stop; it will be destroyed");
        }
    }

    fn connect(&mut self, id: String, incarnation: u64, role: Role, addr: Ipv4Addr) {
        let port = match role {
            Role::Lb => self.parts.config.lb.admin_port,
            Role::Service => self.parts.config.service.port,
        };
        let limit = Duration::from_millis(self.parts.config.heartbeat.timeout_ms);
        let handle = self.handle.clone();
        let key = id.clone();
        let follow = async move {
            let end =
                match Stream::<Heartbeat>::open(SocketAddr::from((addr, port)), "/heartbeat", limit).await {
                    Ok(mut stream) => loop {
                        match stream.next().await {
                            Ok(heartbeat) => handle.beat(id.clone(), incarnation, heartbeat).await,
                            Err(error) => break error,
                        }
                    },
                    Err(error) => error,
                };
            debug!(id, incarnation, reason = %end, "heartbeat connection ended");
            handle.event(Event::StreamLost { id, incarnation }).await;
        };
        // Replacing the handle aborts the connection that was there.
        self.streams.insert(key, AbortOnDropHandle::new(tokio::spawn(follow)));
    }

    fn log(&self, transition: &Transition) {
        let Transition { id, incarnation, from, to, reason } = transition;
        let word = |state: &Option<VmState>| state.map_or("none", VmState::as_str);
        let (from, to) = (word(from), word(to));
        info!(id, incarnation, from, to, reason, "vm");
        self.parts.journal.write(id, &format!("life {incarnation}, {from} -> {to}: {reason}"));
    }

    pub(super) fn spawn_pushers(&mut self) -> Vec<AbortOnDropHandle<()>> {
        let config = &self.parts.config;
        let (accepted, lb_accepted) = watch::channel(lb::Accepted::default());
        self.lb_accepted = lb_accepted;
        let token = self.parts.secret.token(Purpose::LbAdmin { node: &config.node });
        let metrics = Arc::clone(&self.parts.metrics);
        let work = self.lb.subscribe();
        let lb = lb::run(work, accepted, config.lb.admin_port, token, self.handle.clone(), metrics);
        let neighbours = tokio::spawn(neighbours::run(Arc::clone(&self.parts.net), self.lives.subscribe()));
        [tokio::spawn(lb), neighbours].map(AbortOnDropHandle::new).into()
    }
}

/// A name libvirt takes, another one for each life.
fn domain_name(id: &str, incarnation: u64) -> String {
    format!("{}.{incarnation}", id.replace('/', "-"))
}

pub(super) const fn process(domain: &DomainRef) -> ProcessId {
    ProcessId { pid: domain.pid, start_time: domain.start_time }
}

impl From<RunningDomain> for DomainRef {
    fn from(running: RunningDomain) -> Self {
        let ProcessId { pid, start_time } = running.process;
        Self { name: running.name, pid, start_time }
    }
}

/// Orders that may wait for a VM's port.
const ORDERS: usize = 4;

/// How long a task that watches a guest waits before it opens the port again.
pub(super) const REOPEN: Duration = Duration::from_secs(1);
