//! A loop for tests of what is around it: a real machine, a disk and a kernel that always do as they are told, and a
//! clock that stands still until the test moves it. Peers are there: they answer probes, and nominations as the test
//! says; and somebody always answers ARP for the address, so that nothing is ever taken over.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use manager_core::Time;
use manager_core::vip::{
    Action, Adopted, Config, Event, Handed, HandoverError, Mac, Outcome, Record, Station, Vip,
};
use tokio::sync::{mpsc, oneshot};
use wire::{VipNominationAnswer, VipReport};

use super::{Handle, Message, Reply, nomination};

/// What a peer answers to a nomination; none is no answer at all.
type Nominee = fn(&str) -> Option<Outcome>;

/// The other side of the handle.
pub(crate) struct World {
    handle: Handle,
    clock: mpsc::Sender<(Duration, oneshot::Sender<()>)>,
}

impl World {
    /// The own load balancer is found healthy, or broken.
    pub(crate) async fn lb(&self, healthy: bool) {
        self.handle.event(Event::Lb { healthy, reason: "a test says so".to_owned() }).await;
    }

    /// A peer's beat.
    pub(crate) async fn hears(&self, node: &str, report: VipReport) {
        self.handle.event(Event::Report { node: node.to_owned(), report }).await;
    }

    /// Lets time pass, deadline by deadline.
    pub(crate) async fn pass(&self, time: Duration) {
        let (done, passed) = oneshot::channel();
        self.clock.send((time, done)).await.unwrap();
        passed.await.unwrap();
    }
}

/// Runs a machine until the last handle is gone; peers answer nominations as `nominee` says.
pub(crate) fn spawn(config: Config, nominee: Nominee) -> (Handle, World) {
    let (sender, mut messages) = mpsc::channel(16);
    let (clock, mut times) = mpsc::channel::<(Duration, oneshot::Sender<()>)>(1);
    let mut fake = Fake {
        vip: Vip::new(Time::default(), config, Record::default(), Adopted::default()),
        now: Time::default(),
        installed: 0,
        nominee,
        questions: 0,
        nominations: BTreeMap::new(),
        handovers: BTreeMap::new(),
    };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                // What was said before the clock was moved counts before it.
                biased;
                message = messages.recv() => match message {
                    Some(message) => fake.take(message),
                    None => return,
                },
                Some((time, done)) = times.recv() => {
                    fake.pass(time);
                    let _ = done.send(());
                }
            }
        }
    });
    let handle = Handle::new(sender);
    (handle.clone(), World { handle, clock })
}

struct Fake {
    vip: Vip,
    now: Time,
    installed: u64,
    nominee: Nominee,
    questions: u64,
    nominations: BTreeMap<u64, Reply<VipNominationAnswer>>,
    handovers: BTreeMap<u64, Reply<Result<Handed, HandoverError>>>,
}

impl Fake {
    fn take(&mut self, message: Message) {
        self.questions += 1;
        let id = self.questions;
        match message {
            Message::Event(event) => self.feed(event),
            Message::Checked { .. } => {}
            Message::Nominated(from, nomination, reply) => {
                let highest = self.vip.report().ballot.map_or(0, |ballot| ballot.epoch);
                if let Some(reason) = nomination::far_fetched(&nomination, highest) {
                    let outcome = Outcome::Refused { reason, highest };
                    let _ = reply.send(nomination::answer(outcome, highest));
                    return;
                }
                self.nominations.insert(id, reply);
                let wire::VipNomination { epoch, drain } = nomination;
                self.feed(Event::Nominated { id, from, epoch, drain });
            }
            Message::Handover(to, reply) => {
                self.handovers.insert(id, reply);
                self.feed(Event::Handover { id, to });
            }
            Message::Leave(reply) => {
                self.handovers.insert(id, reply);
                self.feed(Event::Leave { id });
            }
            Message::Peers(peers, done) => {
                self.feed(Event::Peers(peers.into_keys().collect()));
                let _ = done.send(());
            }
            Message::Status(reply) => drop(reply.send(self.vip.status())),
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.vip.next_deadline() <= end {
            self.now = self.vip.next_deadline();
            self.feed(Event::Tick);
        }
        self.now = end;
    }

    /// Takes `event` and all that the world answers to it at once.
    fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut actions = Vec::new();
            self.vip.step(self.now, event, &mut actions);
            for action in actions {
                events.extend(self.answer(action));
            }
            let revision = self.vip.desired().revision;
            if std::mem::replace(&mut self.installed, revision) != revision {
                events.push_back(Event::Installed { revision });
            }
        }
    }

    fn answer(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Persist(record) => Some(Event::Persisted { epoch: record.epoch() }),
            Action::ProbePeer { round, .. } => Some(Event::PeerProbed { round, reachable: true }),
            Action::ProbeAddress { round } => {
                let station = Station { mac: Mac([2, 0, 0, 0, 0, 1]), node: None };
                Some(Event::AddressProbed { round, answer: Some(station) })
            }
            Action::Nominate { node, epoch, .. } => {
                (self.nominee)(&node).map(|outcome| Event::NominationAnswered { node, epoch, outcome })
            }
            Action::AnswerNomination { id, outcome } => {
                let highest = self.vip.report().ballot.map_or(0, |ballot| ballot.epoch);
                let _ = self.nominations.remove(&id)?.send(nomination::answer(outcome, highest));
                None
            }
            Action::AnswerHandover { id, result } => {
                let _ = self.handovers.remove(&id)?.send(result);
                None
            }
            Action::Announce
            | Action::StopAnnouncing
            | Action::Beat
            | Action::Log { .. }
            | Action::Note(_) => None,
        }
    }
}
