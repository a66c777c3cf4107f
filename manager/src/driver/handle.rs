//! How everybody else speaks to the loop.

use std::time::Duration;

use manager_core::core::{CreateError, RemoveError, ServicesError};
use manager_core::peers::AccountError;
use manager_core::{Desired, Event, Observed};
use tokio::sync::{mpsc, oneshot};
use wire::{Capacity, ClusterView, CreateVm, Heartbeat, PeerAck, PeerScaled, PeerService, PeerServices, Vm};

use super::{Message, Reply};
use crate::config::Peer;
use crate::hypervisor::Hypervisor;

/// How long a request may wait for its answer; the disk is the slowest part of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request was not granted.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No VM can be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The VM cannot be removed.
    #[error(transparent)]
    Remove(#[from] RemoveError),
    /// The number of service VMs cannot be set.
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// The account is not the peer's to give.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The disk refused; nothing was changed.
    #[error("the request could not be written to disk (is state_dir full?); nothing was changed")]
    Disk,
    /// No answer in time, or the manager is stopping.
    #[error(
        "the manager is stopping or its disk does not answer; the request may still take effect: look again"
    )]
    Unavailable,
}

/// A way to speak to the loop. Sending waits while the queue is full.
#[derive(Clone, Debug)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
}

impl Handle {
    pub(super) const fn new(messages: mpsc::Sender<Message>) -> Self {
        Self { messages }
    }

    /// libvirt has been reached.
    pub async fn ready(&self, hypervisor: Hypervisor, running: Vec<Observed>, desired: Desired) {
        self.send(Message::Ready { hypervisor, running, desired }).await;
    }

    /// Something has happened.
    pub async fn event(&self, event: Event) {
        self.send(Message::Event(event)).await;
    }

    /// A VM has sent a heartbeat.
    pub async fn beat(&self, id: String, incarnation: u64, heartbeat: Heartbeat) {
        self.send(Message::Beat { id, incarnation, heartbeat }).await;
    }

    /// A peer holds an account of `boot`, of a later start than this one claims to be.
    pub async fn outbid(&self, boot: u64) {
        self.send(Message::Outbid(boot)).await;
    }

    /// The program in a VM runs, or has ended and will be started again.
    pub async fn program(&self, id: String, incarnation: u64, runs: bool) {
        self.send(Message::Program { id, incarnation, runs }).await;
    }

    /// A peer was given up: its services leave the upstream set.
    pub async fn forget(&self, node: String) {
        self.send(Message::Event(Event::Forgotten { node })).await;
    }

    /// The other nodes are these from now on. Returns when the loop knows it, or is gone.
    pub async fn set_peers(&self, peers: Vec<Peer>) {
        let (done, known) = oneshot::channel();
        self.send(Message::Peers(peers, done)).await;
        let _ = known.await;
    }

    /// A load balancer serves nobody although its heartbeat goes on.
    pub async fn lb_mute(&self, id: String, incarnation: u64, reason: String) {
        self.send(Message::Event(Event::LbMute { id, incarnation, reason })).await;
    }

    /// Whether the public address leaves this node when its load balancer dies.
    pub async fn lb_moves(&self, moves: bool) {
        self.send(Message::Event(Event::LbMoves(moves))).await;
    }

    /// What the load balancer routes to; `done` is told once that is known.
    pub async fn lb_routes(&self, services: Vec<PeerService>, done: oneshot::Sender<()>) {
        self.send(Message::LbRoutes(services, done)).await;
    }

    /// Creates a service VM.
    ///
    /// # Errors
    /// If it is refused; nothing is changed then, but after [`RequestError::Unavailable`] it may yet be.
    pub async fn create(&self, request: CreateVm) -> Result<Vm, RequestError> {
        self.ask(|reply| Message::Create(request, reply)).await
    }

    /// Begins to remove a service VM.
    ///
    /// # Errors
    /// If it is refused; nothing is changed then, but after [`RequestError::Unavailable`] it may yet be.
    pub async fn remove(&self, id: String) -> Result<Vm, RequestError> {
        self.ask(|reply| Message::Remove(id, reply)).await
    }

    /// Takes a peer's account.
    ///
    /// # Errors
    /// If it is refused; nothing is changed then.
    pub async fn account(&self, node: String, account: PeerServices) -> Result<PeerAck, RequestError> {
        self.ask(|reply| Message::Account(node, account, reply)).await
    }

    /// Sets the number of this node's service VMs, given that it is `expect` now.
    ///
    /// # Errors
    /// If it is refused; nothing is changed then, but after [`RequestError::Unavailable`] it may yet be.
    pub async fn set_services(&self, services: u32, expect: u32) -> Result<PeerScaled, RequestError> {
        self.ask(|reply| Message::SetServices { services, expect, reply }).await
    }

    /// What this node can bear.
    ///
    /// # Errors
    /// If stock has not been taken yet, or the loop does not answer.
    pub async fn capacity(&self) -> Result<Capacity, RequestError> {
        self.ask(Message::Capacity).await
    }

    /// This node's VMs.
    ///
    /// # Errors
    /// If the loop does not answer.
    pub async fn vms(&self) -> Result<Vec<Vm>, RequestError> {
        self.ask(Message::Vms).await
    }

    /// The cluster as this node sees it.
    ///
    /// # Errors
    /// If the loop does not answer.
    pub async fn cluster(&self) -> Result<ClusterView, RequestError> {
        self.ask(Message::Cluster).await
    }

    async fn send(&self, message: Message) {
        // A loop that is gone is stopping, and wants to know nothing more.
        let _ = self.messages.send(message).await;
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.send(message(reply)).await;
            answer.await.unwrap_or(Err(RequestError::Unavailable))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or(Err(RequestError::Unavailable))
    }
}
