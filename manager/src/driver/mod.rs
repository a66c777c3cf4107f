//! The loop between the core and the world: wait, feed, compare, flush.
//!
//! One task owns the core, so decisions are made one after the other on one state. Everything that can take
//! time - libvirt, sockets, the disk - runs in tasks of its own that send their outcome back as events. The
//! loop itself never waits for any of them.

mod actions;
#[cfg(test)]
pub(crate) mod fake;
mod guest;
mod handle;
mod identity;
mod neighbours;
mod peers;
mod reads;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use manager_core::core::{Accepted, Resized, ServicesError};
use manager_core::{Action, Core, Desired, Event, Observed, Time};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;
use wire::{Capacity, Heartbeat, PeerAck, PeerScaled, PeerService, PeerServices, Role, ToGuest, Vm, VmState};

use self::actions::process;
pub use self::handle::{Handle, RequestError};
use crate::config::{Config, Peer};
use crate::disk::State;
use crate::hypervisor::{Hypervisor, ProcessId, priority};
use crate::identity::Secret;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::net::Net;
use crate::push::lb;
use crate::vip::{Fitness, LbStatus};

/// Messages that may wait for the loop. Each is handled in microseconds; a full queue means that the machine is
/// starved, and then senders wait.
const QUEUE: usize = 1_024;

/// After this many messages in a row the loop looks at the clock, so that a flood cannot delay a verdict.
const BATCH: usize = 64;

type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// Answers a request, once it is known whether the disk has taken it.
type Answer = Box<dyn FnOnce(bool) + Send>;

/// What the loop is told.
enum Message {
    /// libvirt has been reached: what runs, and what should.
    Ready {
        hypervisor: Hypervisor,
        running: Vec<Observed>,
        desired: Desired,
    },
    /// For the core.
    Event(Event),
    /// An event of a heartbeat stream.
    Beat {
        id: String,
        incarnation: u64,
        heartbeat: Heartbeat,
    },
    /// The program in a VM runs, or has ended and will be started again.
    Program {
        id: String,
        incarnation: u64,
        runs: bool,
    },
    /// What the load balancer routes to; answered once the core knows it.
    LbRoutes(Vec<PeerService>, oneshot::Sender<()>),
    /// A peer holds an account of this later boot.
    Outbid(u64),
    Create(wire::CreateVm, Reply<Vm>),
    Remove(String, Reply<Vm>),
    Account(String, PeerServices, Reply<PeerAck>),
    SetServices {
        services: u32,
        expect: u32,
        reply: Reply<PeerScaled>,
    },
    Capacity(Reply<Capacity>),
    /// The other nodes are these from now on; answered once the core knows it.
    Peers(Vec<Peer>, oneshot::Sender<()>),
    Vms(Reply<Vec<Vm>>),
    Cluster(Reply<wire::ClusterView>),
}

/// What the driver works with.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// The cluster's secret.
    pub secret: Secret,
    /// The host's network.
    pub net: Arc<Net>,
    /// The series to keep.
    pub metrics: Arc<Metrics>,
    /// This start's number.
    pub boot: u64,
    /// Where what happens is told.
    pub journal: Journal,
    /// The state to be written, with its revision; read by the task that writes.
    pub state: watch::Sender<(u64, State)>,
}

/// A life that has begun and was not heard yet.
struct Birth {
    incarnation: u64,
    decided: Instant,
    /// How long libvirt took.
    created: Option<Duration>,
    /// The VM's QEMU.
    process: Option<ProcessId>,
}

/// The loop's state beside the core.
pub struct Driver {
    core: Core,
    parts: Parts,
    started: Instant,
    messages: mpsc::Receiver<Message>,
    handle: Handle,
    hypervisor: Option<Hypervisor>,
    streams: HashMap<String, AbortOnDropHandle<()>>,
    /// The way to PID 1 of each domain that is watched.
    orders: HashMap<String, mpsc::Sender<ToGuest>>,
    /// Requests that are answered when their revision is on disk.
    pending: BTreeMap<u64, Vec<Answer>>,
    /// How far the present life of each id has come, until its first heartbeat.
    begun: HashMap<String, Birth>,
    lives: watch::Sender<BTreeMap<Ipv4Addr, u64>>,
    account: watch::Sender<Arc<PeerServices>>,
    capacity: watch::Sender<Capacity>,
    lb: watch::Sender<lb::Work>,
    lb_accepted: watch::Receiver<lb::Accepted>,
    /// The life of a load balancer whose program has ended.
    lb_ended: Option<(String, u64)>,
    lb_status: watch::Sender<LbStatus>,
    /// Those who tell the own load balancer, and keep its VMs' neighbour entries.
    pushers: Vec<AbortOnDropHandle<()>>,
    /// Those who tell the peers.
    tellers: peers::Tellers,
    /// Something may have changed that others must know.
    dirty: bool,
}

/// A driver, and the handle by which it is spoken to.
///
/// # Errors
/// If the configuration's pool is no pool.
pub fn new(parts: Parts) -> Result<(Driver, Handle), crate::config::Error> {
    let (sender, messages) = mpsc::channel(QUEUE);
    let handle = Handle::new(sender);
    let core = Core::new(Time::default(), parts.config.core()?);
    let empty = PeerServices { boot: parts.boot, revision: 0, lb: None, services: Vec::new() };
    let driver = Driver {
        core,
        parts,
        started: Instant::now(),
        messages,
        handle: handle.clone(),
        hypervisor: None,
        streams: HashMap::new(),
        orders: HashMap::new(),
        pending: BTreeMap::new(),
        begun: HashMap::new(),
        lives: watch::channel(BTreeMap::new()).0,
        account: watch::channel(Arc::new(empty)).0,
        capacity: watch::channel(Capacity::default()).0,
        lb: watch::channel(lb::Work::default()).0,
        lb_accepted: watch::channel(lb::Accepted::default()).1,
        lb_ended: None,
        lb_status: watch::channel(LbStatus::default()).0,
        pushers: Vec::new(),
        tellers: peers::Tellers::new(),
        dirty: false,
    };
    Ok((driver, handle))
}

impl Driver {
    /// What is known of the own load balancer, from now on.
    pub fn lb_status(&self) -> watch::Receiver<LbStatus> {
        self.lb_status.subscribe()
    }

    /// This node's account of its services, from now on.
    pub fn account(&self) -> watch::Receiver<Arc<PeerServices>> {
        self.account.subscribe()
    }

    /// What this node can bear, from now on.
    pub fn capacity(&self) -> watch::Receiver<Capacity> {
        self.capacity.subscribe()
    }

    /// Runs until `stop` is cancelled. VMs, routes and neighbour entries stay as they are then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut actions = Vec::new();
        loop {
            let deadline = self.started + Duration::from_millis(self.core.next_deadline().as_millis());
            tokio::select! {
                () = stop.cancelled() => return,
                message = self.messages.recv() => match message {
                    Some(message) => self.take_batch(message, &mut actions),
                    None => return,
                },
                () = tokio::time::sleep_until(deadline) => {}
            }
            if self.core.next_deadline() <= self.now() {
                self.core.step(self.now(), Event::Tick, &mut actions);
            }
            // Nothing changes without a line in the log or a request, except what the load balancer accepted.
            self.dirty |= !actions.is_empty() || self.lb_accepted.has_changed().unwrap_or(false);
            for action in actions.drain(..) {
                self.execute(action);
            }
            if std::mem::take(&mut self.dirty) {
                self.tell_others();
            }
        }
    }

    fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn take_batch(&mut self, first: Message, out: &mut Vec<Action>) {
        self.take(first, out);
        for _ in 1..BATCH {
            match self.messages.try_recv() {
                Ok(message) => self.take(message, out),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, message: Message, out: &mut Vec<Action>) {
        let now = self.now();
        self.dirty |= !matches!(
            message,
            Message::Beat { .. } | Message::Vms(_) | Message::Cluster(_) | Message::Capacity(_)
        );
        match message {
            Message::Ready { hypervisor, running, desired } => {
                self.hypervisor = Some(hypervisor);
                // One that booted when the manager stopped has nobody else to say that it serves.
                for vm in &running {
                    priority::serves(process(&vm.domain));
                }
                self.core.step(now, Event::Inventory { running, desired }, out);
                self.start_pushing();
            }
            Message::Event(event) => self.event(now, event, out),
            Message::Beat { id, incarnation, heartbeat } => self.beat(now, id, incarnation, &heartbeat, out),
            Message::Program { id, incarnation, runs } => {
                let is_lb =
                    self.core.lb_target().is_some_and(|lb| lb.id == id && lb.incarnation == incarnation);
                let life = Some((id, incarnation));
                if !runs && is_lb {
                    self.lb_ended = life;
                } else if runs && self.lb_ended == life {
                    self.lb_ended = None;
                }
            }
            Message::LbRoutes(services, done) => {
                self.core.step(now, Event::LbRoutes(services), out);
                self.tell_others();
                let _ = done.send(());
            }
            Message::Outbid(boot) => self.outbid(boot),
            // Who has given up waiting must not be surprised later.
            Message::Create(_, reply) | Message::Remove(_, reply) if reply.is_closed() => {}
            Message::SetServices { reply, .. } if reply.is_closed() => {}
            Message::Create(request, reply) => match self.core.create(request.addr) {
                Ok(Accepted { revision, vm }) => self.answer_when_written(revision, vm, reply),
                Err(error) => drop(reply.send(Err(error.into()))),
            },
            Message::Remove(id, reply) => match self.core.remove(&id) {
                Ok(Accepted { revision, vm }) => self.answer_when_written(revision, vm, reply),
                Err(error) => drop(reply.send(Err(error.into()))),
            },
            Message::SetServices { services, expect, reply } => {
                match self.core.set_services(services, expect) {
                    Ok(Resized { revision: Some(revision), from, to }) => {
                        self.answer_when_written(revision, PeerScaled { from, to }, reply);
                    }
                    Ok(Resized { revision: None, from, to }) => drop(reply.send(Ok(PeerScaled { from, to }))),
                    Err(error) => drop(reply.send(Err(error.into()))),
                }
            }
            Message::Capacity(reply) => drop(reply.send(if self.core.ready() {
                Ok(self.core.capacity())
            } else {
                Err(ServicesError::NotReady.into())
            })),
            Message::Peers(peers, done) => {
                self.set_peers(now, peers, out);
                let _ = done.send(());
            }
            Message::Account(node, account, reply) => {
                let merged = self.core.account_of(now, &node, account);
                let _ = reply.send(merged.map(manager_core::peers::Merge::ack).map_err(Into::into));
            }
            Message::Vms(reply) => drop(reply.send(Ok(self.core.vms()))),
            Message::Cluster(reply) => drop(reply.send(Ok(self.cluster_view(now)))),
        }
    }

    fn answer_when_written<T: Send + 'static>(&mut self, revision: u64, answer: T, reply: Reply<T>) {
        let answer = |written| drop(reply.send(if written { Ok(answer) } else { Err(RequestError::Disk) }));
        self.pending.entry(revision).or_default().push(Box::new(answer));
    }

    fn event(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let settled = match &event {
            Event::Persisted { revision } => Some((*revision, true)),
            Event::PersistFailed { revision } => Some((*revision, false)),
            _ => None,
        };
        if let Event::Created { id, incarnation, domain } = &event
            && let Some(birth) = self.begun.get_mut(id).filter(|birth| birth.incarnation == *incarnation)
        {
            birth.created = Some(birth.decided.elapsed());
            birth.process = Some(process(domain));
            priority::boots(process(domain));
            self.parts.metrics.create_seconds.observe(birth.decided.elapsed().as_secs_f64());
        }
        if let Event::Exited { domain } = &event {
            self.orders.remove(domain);
        }
        self.core.step(now, event, out);
        if let Some((revision, written)) = settled {
            let later = self.pending.split_off(&(revision + 1));
            for answer in std::mem::replace(&mut self.pending, later).into_values().flatten() {
                answer(written);
            }
        }
    }

    fn beat(
        &mut self,
        now: Time,
        id: String,
        incarnation: u64,
        heartbeat: &Heartbeat,
        out: &mut Vec<Action>,
    ) {
        if let Some(birth) = self.begun.get(&id).filter(|birth| birth.incarnation == incarnation) {
            let heartbeat = birth.decided.elapsed();
            info!(id, incarnation, created = ?birth.created, ?heartbeat, "first heartbeat");
            self.parts.metrics.boot_seconds.observe(heartbeat.as_secs_f64());
            if let Some(process) = birth.process {
                priority::serves(process);
            }
            self.begun.remove(&id);
        }
        if self.core.lb_target().is_some_and(|lb| lb.id == id && lb.incarnation == incarnation) {
            self.lb.send_if_modified(|work| {
                std::mem::replace(&mut work.reported, heartbeat.generation) != heartbeat.generation
            });
        }
        self.core.step(now, Event::Beat { id, incarnation, status: heartbeat.status }, out);
    }

    /// Compares what others were told last with what is so now.
    fn tell_others(&mut self) {
        if !self.core.ready() {
            return;
        }
        self.parts.metrics.count_vms(&self.core.vms());
        let accepted = self.lb_accepted.borrow_and_update().clone();
        self.parts.metrics.lb_generation.set(i64::try_from(accepted.generation).unwrap_or(i64::MAX));

        let lives = self.core.lives();
        self.lives.send_if_modified(|told| {
            let changed = *told != lives;
            *told = lives;
            changed
        });

        let (target, upstreams) = (self.core.lb_target(), self.core.upstreams());
        self.lb.send_if_modified(|work| {
            if work.target == target && *work.upstreams == upstreams {
                return false;
            }
            if work.target != target {
                work.reported = None;
            }
            work.target = target;
            work.upstreams = Arc::new(upstreams);
            true
        });

        let capacity = self.core.capacity();
        self.capacity.send_if_modified(|told| std::mem::replace(told, capacity) != capacity);

        let status = self.own_lb(&accepted);
        let mut account = self.core.account();
        account.lb = account.lb.filter(|_| status.fitness == Fitness::Fit);
        self.lb_status.send_if_modified(|told| {
            let changed = *told != status;
            *told = status;
            changed
        });
        self.account.send_if_modified(|told| {
            // The first account of a boot is revision 1, even if it is empty.
            if told.revision > 0 && told.services == account.services && told.lb == account.lb {
                return false;
            }
            *told = Arc::new(PeerServices { boot: told.boot, revision: told.revision + 1, ..account });
            true
        });

        let revision = self.core.desired_revision();
        if self.parts.state.borrow().0 != revision {
            let (_, desired) = self.core.desired();
            self.parts.state.send_replace((revision, State { boot: self.parts.boot, desired }));
        }
    }

    /// What is known of the own load balancer now.
    fn own_lb(&self, accepted: &lb::Accepted) -> LbStatus {
        let target = self.core.lb_target();
        let vm = self.core.vms().into_iter().find(|vm| vm.role == Role::Lb);
        let suspect = vm.as_ref().is_some_and(|vm| vm.state == VmState::Suspect);
        let fitness = match vm {
            None => Fitness::Unfit("this node has none".to_owned()),
            Some(vm) => match vm.state {
                // Its heartbeat may be late for reasons of its own; whether it serves is for the checks to say.
                VmState::Up | VmState::Suspect => {
                    let ended = Some((vm.id, vm.incarnation));
                    if self.lb_ended == ended {
                        Fitness::Unfit("its program has ended".to_owned())
                    } else if accepted.target == target && accepted.generation > 0 {
                        Fitness::Fit
                    } else {
                        // One that was found running serves already; a new one has yet to get its upstreams.
                        Fitness::Unknown
                    }
                }
                // Found so by this manager: whether it serves by now is not known before it is heard.
                VmState::Starting if self.lb_status.borrow().fitness == Fitness::Unknown => Fitness::Unknown,
                VmState::Starting => Fitness::Unfit(match vm.last_error {
                    Some(why) => format!("it is being replaced: {why}"),
                    None => "it is being replaced".to_owned(),
                }),
                VmState::Draining | VmState::Down => {
                    let state = vm.state.as_str();
                    Fitness::Unfit(
                        vm.last_error.map_or_else(|| state.to_owned(), |why| format!("{state}: {why}")),
                    )
                }
            },
        };
        LbStatus { target, fitness, suspect }
    }

    fn start_pushing(&mut self) {
        self.tell_others();
        self.pushers = self.spawn_pushers();
        self.tell_peers();
    }

    /// Claims a later boot than a peer has heard of.
    fn outbid(&mut self, boot: u64) {
        if boot < self.parts.boot {
            return;
        }
        self.parts.boot = boot + 1;
        let boot = self.parts.boot;
        self.account
            .send_modify(|told| *told = Arc::new(PeerServices { boot, revision: 1, ..(**told).clone() }));
        self.parts.state.send_modify(|(_, state)| state.boot = boot);
    }
}
