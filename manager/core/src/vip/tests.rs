//! The transition table, histories of single rules, and what must hold for any history.

mod peers;
mod properties;
mod restart;
mod rules;
mod table;

use super::{Action, Adopted, Config, Event, Mac, Outcome, Record, Route, Station, Timing, Vip};
use crate::time::Time;
use wire::{Ballot, VipReport, VipState};

fn ballot(epoch: u64, node: &str) -> Ballot {
    Ballot { epoch, node: node.to_owned() }
}

fn config(peers: &[&str]) -> Config {
    Config {
        node: "host2".to_owned(),
        peers: peers.iter().map(|&peer| peer.to_owned()).collect(),
        addr: "10.77.0.100".parse().unwrap(),
        timing: Timing::default(),
    }
}

/// The machine of host2 among host1 and host3, and a clock.
struct World {
    vip: Vip,
    now: u64,
    out: Vec<Action>,
    writing: Option<u64>,
}

impl World {
    fn new(record: Record, answer: bool) -> Self {
        let route = if answer { Route::OwnLb } else { Route::None };
        Self::found(record, Adopted { answer, route, second_chance: None })
    }

    fn found(record: Record, adopted: Adopted) -> Self {
        let vip = Vip::new(Time::default(), config(&["host1", "host3"]), record, adopted);
        Self { vip, now: 0, out: Vec::new(), writing: None }
    }

    /// Started up, with a healthy load balancer; host1 owns the address with epoch 4.
    fn standby() -> Self {
        let mut world = Self::new(Record::default(), false);
        world.lb(true);
        world.hears("host1", VipState::Active, Some(ballot(4, "host1")));
        world.hears("host3", VipState::Standby, Some(ballot(4, "host1")));
        world.disk();
        world.out.clear();
        world
    }

    fn hold_down() -> Self {
        let mut world = Self::active();
        world.lb(false);
        world.kernel();
        world.answered("host1", 6, Outcome::Accepted);
        world.disk();
        world.hears("host1", VipState::Active, Some(ballot(6, "host1")));
        world.lb(true);
        world.out.clear();
        world
    }

    /// Claims epoch 5 by host1's nomination; the disk has not answered.
    fn claiming() -> Self {
        let mut world = Self::standby();
        world.hears("host1", VipState::Releasing, Some(ballot(4, "host1")));
        world.event(Event::Nominated { id: 1, from: "host1".to_owned(), epoch: 5, drain: true });
        world.out.clear();
        world
    }

    fn installing() -> Self {
        let mut world = Self::claiming();
        world.disk();
        world.out.clear();
        world
    }

    /// Owns the address with epoch 5; host1 and host3 are eligible.
    fn active() -> Self {
        let mut world = Self::installing();
        world.kernel();
        world.hears("host1", VipState::Standby, Some(ballot(5, "host2")));
        world.out.clear();
        world
    }

    fn withdrawing() -> Self {
        let mut world = Self::active();
        world.event(Event::Handover { id: 2, to: None });
        world.out.clear();
        world
    }

    fn nominating() -> Self {
        let mut world = Self::withdrawing();
        world.kernel();
        world.out.clear();
        world
    }

    fn event(&mut self, event: Event) {
        if matches!(event, Event::Persisted { .. } | Event::PersistFailed { .. }) {
            self.writing = None;
        }
        let before = self.out.len();
        self.vip.step(Time::from_millis(self.now), event, &mut self.out);
        for action in &self.out[before..] {
            if let Action::Persist(record) = action {
                self.writing = Some(record.epoch());
            }
        }
        assert!(self.vip.next_deadline() > Time::from_millis(self.now));
    }

    fn lb(&mut self, healthy: bool) {
        self.event(Event::Lb { healthy, reason: "heartbeat".to_owned() });
    }

    fn hears(&mut self, node: &str, state: VipState, ballot: Option<Ballot>) {
        let eligible = state == VipState::Standby;
        let report = VipReport { state, ballot, hears_owner: false, eligible, lb_healthy: true };
        self.event(Event::Report { node: node.to_owned(), report });
    }

    fn answered(&mut self, node: &str, epoch: u64, outcome: Outcome) {
        self.event(Event::NominationAnswered { node: node.to_owned(), epoch, outcome });
    }

    /// The disk does what it was asked for.
    fn disk(&mut self) {
        while let Some(epoch) = self.writing {
            self.event(Event::Persisted { epoch });
        }
    }

    fn kernel(&mut self) {
        let revision = self.vip.desired().revision;
        self.event(Event::Installed { revision });
    }

    /// Lets time pass by the machine's own deadlines.
    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.vip.next_deadline().as_millis() <= end {
            self.now = self.vip.next_deadline().as_millis();
            self.event(Event::Tick);
        }
        self.now = end;
        self.event(Event::Tick);
    }

    /// What was asked for since the last look, in short words, without log lines.
    fn asked(&mut self) -> String {
        let words = |action| match action {
            Action::Persist(record) => {
                format!("persist {}{}", record.epoch(), if record.owned { "!" } else { "" })
            }
            Action::ProbePeer { node, .. } => format!("probe {node}"),
            Action::ProbeAddress { .. } => "arp".to_owned(),
            Action::Nominate { node, epoch, drain } => format!("nominate {node} {epoch} {drain}"),
            Action::AnswerNomination { id, outcome: Outcome::Accepted } => format!("accept {id}"),
            Action::AnswerNomination { id, .. } => format!("refuse {id}"),
            Action::AnswerHandover { id, result: Ok(_) } => format!("done {id}"),
            Action::AnswerHandover { id, result: Err(_) } => format!("failed {id}"),
            Action::Announce => "announce".to_owned(),
            Action::StopAnnouncing => "hush".to_owned(),
            Action::Beat => "beat".to_owned(),
            Action::Log { .. } | Action::Note(_) => String::new(),
        };
        let words: Vec<_> =
            std::mem::take(&mut self.out).into_iter().map(words).filter(|it| !it.is_empty()).collect();
        words.join(", ")
    }
}

fn station() -> Station {
    Station { mac: Mac([2, 0, 0, 0, 0, 9]), node: None }
}
