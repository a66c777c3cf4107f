//! What to send and what to make of what comes in: the announcer without its socket. Pure.

use std::net::Ipv4Addr;
use std::time::Duration;

use manager_core::Time;

use super::schedule::Schedule;
use super::{ArpSeen, ProbeError};
use crate::net::arp::{Frame, Operation};
use crate::net::mac::MacAddr;

/// Questions of one probe, [`PROBE_GAP`] apart; after the last one an answer is awaited as long again.
pub(super) const PROBE_QUESTIONS: u32 = 3;

/// Between two questions. A kernel answers within a millisecond, and a LAN is that quick too; a wifi may need longer.
pub(super) const PROBE_GAP: Duration = Duration::from_millis(50);

/// How long nothing is announced after the cable was plugged in again: time for the peers to say who owns the
/// address by now.
pub(super) const LINK_SETTLE: Duration = Duration::from_millis(500);

/// The LAN interface as far as ARP goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lan {
    /// Its number, another one whenever it is made anew.
    pub(super) index: u32,
    /// Its MAC.
    pub(super) mac: MacAddr,
    /// Its address for questions, if it has one.
    pub(super) addr: Option<Ipv4Addr>,
    /// Whether it is up with a carrier.
    pub(super) carrier: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Time has passed.
    Tick,
    /// Announce from now on, from the schedule's beginning.
    Start,
    /// Announce no more.
    Stop,
    /// Ask who has the address. Only when no probe is under way.
    Probe,
    /// A frame came in.
    Frame(Frame),
    /// How the interface is now.
    Lan(Option<Lan>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Send this frame.
    Send(Frame),
    /// Announce to each of the stations that the kernel knows.
    AnnounceToNeighbours(Lan),
    /// The probe has ended.
    Probed(Result<Option<MacAddr>, ProbeError>),
    /// Somebody else's frame has the address as its sender's.
    Seen(ArpSeen),
}

pub(super) struct Core {
    interface: String,
    vip: Ipv4Addr,
    lan: Option<Lan>,
    schedule: Schedule,
    probe: Option<Probe>,
    /// Where the address was seen last, other than here.
    last_seen: Option<MacAddr>,
}

struct Probe {
    asked: u32,
    next: Time,
}

impl Core {
    pub(super) fn new(interface: String, vip: Ipv4Addr) -> Self {
        Self { interface, vip, lan: None, schedule: Schedule::default(), probe: None, last_seen: None }
    }

    pub(super) fn step(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Tick => {}
            Input::Start => self.schedule.start(now),
            Input::Stop => self.schedule.stop(),
            Input::Probe => self.probe = Some(Probe { asked: 0, next: now }),
            Input::Frame(frame) => self.frame(&frame, out),
            Input::Lan(lan) => self.lan_is(now, lan),
        }
        self.go_on_probing(now, out);
        if let Some(lan) = self.ready()
            && self.schedule.take_due(now)
        {
            for operation in [Operation::Request, Operation::Reply] {
                let frame = Frame::announcement(operation, MacAddr::BROADCAST, lan.mac, self.vip);
                out.push(Output::Send(frame));
            }
            out.push(Output::AnnounceToNeighbours(lan));
        }
    }

    /// When to come back with a [`Input::Tick`].
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let announcement = self.ready().and_then(|_| self.schedule.next_deadline());
        let probe = self.probe.as_ref().map(|probe| probe.next);
        announcement.into_iter().chain(probe).min()
    }

    pub(super) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    fn ready(&self) -> Option<Lan> {
        self.lan.filter(|lan| lan.carrier)
    }

    fn lan_is(&mut self, now: Time, lan: Option<Lan>) {
        let before = self.ready().map(|lan| (lan.index, lan.mac));
        self.lan = lan;
        let after = self.ready().map(|lan| (lan.index, lan.mac));
        if self.schedule.is_running() && after.is_some() && after != before {
            let was_away = before.is_none_or(|(index, _)| after.is_none_or(|(now, _)| now != index));
            // A new MAC on the same interface needs no peer's opinion, only to be known.
            self.schedule.start(if was_away { now + LINK_SETTLE } else { now });
        }
    }

    fn frame(&mut self, frame: &Frame, out: &mut Vec<Output>) {
        let mac = frame.sender_mac;
        // Access points send a station's own broadcasts back to it.
        let own = self.lan.is_some_and(|lan| [mac, frame.from].contains(&lan.mac));
        if frame.sender != self.vip || own || !mac.is_station() || self.lan.is_none() {
            return;
        }
        self.last_seen = Some(mac);
        out.push(Output::Seen(ArpSeen { mac, announcement: frame.is_announcement() }));
        if self.probe.take().is_some() {
            out.push(Output::Probed(Ok(Some(mac))));
        }
    }

    fn go_on_probing(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(probe) = &mut self.probe else { return };
        let way = match self.lan {
            None => Err(ProbeError::NoInterface(self.interface.clone())),
            Some(lan) if !lan.carrier => Err(ProbeError::NoCarrier(self.interface.clone())),
            Some(Lan { addr: None, .. }) => Err(ProbeError::NoAddress(self.interface.clone())),
            Some(Lan { addr: Some(addr), mac, .. }) => Ok((addr, mac)),
        };
        let (addr, mac) = match way {
            Ok(way) => way,
            Err(error) => {
                // Without a way to ask, silence proves nothing.
                self.probe = None;
                out.push(Output::Probed(Err(error)));
                return;
            }
        };
        if now < probe.next {
            return;
        }
        if probe.asked == PROBE_QUESTIONS {
            self.probe = None;
            out.push(Output::Probed(Ok(None)));
            return;
        }
        probe.asked += 1;
        // From now, not from when it was due: after a pause each question still gets its time.
        probe.next = now + PROBE_GAP;
        for to in [Some(MacAddr::BROADCAST), self.last_seen].into_iter().flatten() {
            out.push(Output::Send(Frame::question(to, mac, addr, self.vip)));
        }
    }
}

#[cfg(test)]
mod tests;
