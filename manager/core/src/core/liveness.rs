//! What is heard of the VMs, and what their silence means.

use wire::Status;

use super::{Action, Core, log};
use crate::heartbeat::{self, Reason};
use crate::slot::Phase;
use crate::time::Time;

impl Core {
    pub(super) fn beat(
        &mut self,
        now: Time,
        id: &str,
        incarnation: u64,
        status: Status,
        out: &mut Vec<Action>,
    ) {
        let Some(slot) = self.present(id, incarnation).and_then(|addr| self.slots.get_mut(&addr)) else {
            return;
        };
        let from = slot.state();
        let Phase::Running { heartbeat, up_since, .. } = &mut slot.phase else { return };
        if matches!(heartbeat.state(), heartbeat::State::Dead) {
            return;
        }
        if !matches!(heartbeat.state(), heartbeat::State::Alive { .. }) {
            *up_since = Some(now);
        }
        heartbeat.step(now, heartbeat::Event::Beat, &self.config.heartbeat);
        slot.draining = status == Status::Draining;
        if slot.state() != from {
            slot.last_error = None;
            out.push(log(slot, Some(from), "heartbeat".to_owned()));
        }
    }

    pub(super) fn heartbeats(&mut self, now: Time, event: heartbeat::Event, out: &mut Vec<Action>) {
        let lives: Vec<_> = self.slots.values().map(|slot| (slot.id.clone(), slot.incarnation)).collect();
        for (id, incarnation) in lives {
            self.heartbeat(now, &id, incarnation, event, out);
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        now: Time,
        id: &str,
        incarnation: u64,
        event: heartbeat::Event,
        out: &mut Vec<Action>,
    ) {
        let Some(addr) = self.present(id, incarnation) else { return };
        let Some(slot) = self.slots.get_mut(&addr) else { return };
        let from = slot.state();
        let Phase::Running { heartbeat, .. } = &mut slot.phase else { return };
        let action = heartbeat.step(now, event, &self.config.heartbeat);
        match action {
            Some(heartbeat::Action::Connect) => {
                out.push(Action::Connect { id: id.to_owned(), incarnation, role: slot.role, addr });
            }
            Some(heartbeat::Action::Dead(Reason::BootTimeout)) => {
                let reason =
                    format!("no heartbeat within {:?} of its creation", self.config.heartbeat.boot_timeout);
                self.replace(now, addr, reason, out);
                return;
            }
            Some(heartbeat::Action::Dead(Reason::Silence)) => {
                let config = &self.config.heartbeat;
                let reason = format!("silent for {:?} and {} reconnects", config.timeout, config.retries);
                self.replace(now, addr, reason, out);
                return;
            }
            None => {}
        }
        if slot.state() != from {
            let reason = match event {
                heartbeat::Event::Lost => "heartbeat connection lost",
                heartbeat::Event::Gap(_) => "the manager itself had stopped",
                heartbeat::Event::Started | heartbeat::Event::Beat | heartbeat::Event::Tick => {
                    "heartbeat is late"
                }
            };
            out.push(log(slot, Some(from), reason.to_owned()));
        }
    }
}
