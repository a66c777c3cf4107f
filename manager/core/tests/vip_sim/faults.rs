//! What goes wrong, and how it ends.

use manager_core::vip::{Event, Record};

use crate::world::{DiskMode, Ev, World};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The load balancer dies (known soon) or hangs (known late), and is rebuilt.
    Lb { host: usize, hangs: bool },
    /// A host is cut off from everybody.
    Cut(usize),
    /// Two hosts do not hear each other; everybody else hears both.
    Pair(usize, usize),
    /// `from` is not heard by `to`.
    OneWay { from: usize, to: usize },
    /// A host hears and is not heard, by clients neither.
    Mute(usize),
    /// A manager dies; its host goes on.
    Crash(usize),
    /// A host dies with all that runs there.
    Power(usize),
    /// A manager is stopped and goes on.
    Pause(usize),
    /// A disk refuses.
    DiskRefuses(usize),
    /// A disk does not answer.
    DiskHangs(usize),
    /// A manager dies, and finds an older record at its next start.
    Rollback(usize),
    /// The kernel refuses changes.
    KernelRefuses(usize),
    /// Beats are lost, on all links.
    Loss(u64),
    /// An admin moves the address.
    Handover(usize),
    /// A manager leaves and comes back.
    Leave(usize),
    /// A host is taken out of the cluster: its manager leaves and ends, and the others are told one by one that it is no
    /// peer any more. Later it joins again in the same way, with its record or, `fresh`, as a new host of that name.
    Member { host: usize, fresh: bool },
}

impl World {
    pub(crate) fn plan_faults(&mut self) {
        let count = self.random.range(2, 7);
        let mut at = self.random.range(3_000, 6_000);
        for _ in 0..count {
            let fault = self.draw_fault();
            let span = match fault {
                Fault::Lb { .. } => {
                    if self.random.percent(20) {
                        10_000
                    } else {
                        3_000
                    }
                }
                Fault::Power(_) | Fault::Member { .. } => self.random.range(4_000, 9_000),
                _ => self.random.range(200, 7_000),
            };
            self.schedule(at, Ev::Begin(fault.clone()));
            self.schedule(at + span, Ev::End(fault));
            // Some meet, some stand alone.
            at += if self.random.percent(50) {
                self.random.range(0, 1_500)
            } else {
                self.random.range(1_500, 12_000)
            };
            if at > 40_000 {
                break;
            }
        }
    }

    fn draw_fault(&mut self) -> Fault {
        let n = self.hosts.len();
        let host = self.random.below(n);
        let other = (host + 1 + self.random.below(n - 1)) % n;
        match self.random.below(19) {
            0 => Fault::Lb { host, hangs: false },
            1 => Fault::Lb { host, hangs: true },
            2 | 3 => Fault::Cut(host),
            4 => Fault::Pair(host, other),
            5 => Fault::OneWay { from: host, to: other },
            6 => Fault::Mute(host),
            7 => Fault::Crash(host),
            8 => Fault::Power(host),
            9 | 10 => Fault::Pause(host),
            11 => Fault::DiskRefuses(host),
            12 => Fault::DiskHangs(host),
            13 => Fault::Rollback(host),
            14 => {
                if self.random.percent(50) {
                    Fault::Loss(self.random.range(5, 25))
                } else {
                    Fault::KernelRefuses(host)
                }
            }
            15 => Fault::Handover(host),
            16 | 17 => Fault::Member { host, fresh: self.random.percent(30) },
            _ => Fault::Leave(host),
        }
    }

    fn cut(&mut self, from: usize, to: usize, on: bool) {
        let count = &mut self.cuts[from][to];
        *count = if on { *count + 1 } else { *count - 1 };
    }

    /// The administrator changes the file on one host after the other, and has each manager read it again.
    fn tell_members(&mut self) {
        for host in 0..self.hosts.len() {
            let at = self.now + self.random.range(0, 2_000);
            self.schedule(at, Ev::Reload(host));
        }
    }

    fn member(&mut self, host: usize, on: bool, fresh: bool) {
        if on {
            self.tally.removals += 1;
            self.tally.owners_removed += u64::from(self.hosts[host].answers);
            let id = self.question(host);
            self.feed(host, Event::Leave { id });
            self.hosts[host].gone += 1;
            self.schedule(self.now + 1_000, Ev::Retire(host));
            return self.tell_members();
        }
        if fresh {
            self.disk_faults = true;
            self.hosts[host].past.clear();
            self.hosts[host].record = Record::default();
        }
        self.hosts[host].gone -= 1;
        self.tell_members();
        self.down(host, false, false);
    }

    pub(crate) fn turn(&mut self, fault: &Fault, on: bool) {
        self.say(|| format!("{} {fault:?}", if on { "=== begins:" } else { "=== ends:" }));
        self.disturbed = self.now;
        let client = self.hosts.len();
        match *fault {
            Fault::Lb { host, hangs } => {
                let delay = match (on, hangs) {
                    (true, true) => 600,
                    (true, false) => self.random.range(3, 20),
                    (false, _) => 100,
                };
                let faults = &mut self.hosts[host].lb_faults;
                *faults = if on { *faults + 1 } else { *faults - 1 };
                self.schedule(self.now + delay, Ev::LbSeen(host));
            }
            Fault::Cut(host) => {
                for other in (0..=client).filter(|other| *other != host) {
                    self.cut(host, other, on);
                    self.cut(other, host, on);
                }
            }
            Fault::Pair(a, b) => {
                self.cut(a, b, on);
                self.cut(b, a, on);
            }
            Fault::OneWay { from, to } => {
                self.cut(from, to, on);
                self.crooked = if on { self.crooked + 1 } else { self.crooked - 1 };
            }
            Fault::Mute(host) => {
                for other in (0..=client).filter(|other| *other != host) {
                    self.cut(host, other, on);
                }
                self.crooked = if on { self.crooked + 1 } else { self.crooked - 1 };
            }
            Fault::Crash(host) => self.down(host, on, false),
            Fault::Power(host) => self.down(host, on, true),
            Fault::Pause(host) => {
                let pauses = &mut self.hosts[host].pauses;
                *pauses = if on { *pauses + 1 } else { *pauses - 1 };
                if self.hosts[host].pauses == 0 {
                    self.resume(host);
                }
            }
            Fault::DiskRefuses(host) => {
                self.disk_faults = true;
                self.hosts[host].disk = if on { DiskMode::Refuses } else { DiskMode::Good };
                self.free_disk(host);
            }
            Fault::DiskHangs(host) => {
                self.hosts[host].disk = if on { DiskMode::Hangs } else { DiskMode::Good };
                self.free_disk(host);
            }
            Fault::Rollback(host) => {
                self.down(host, on, false);
                if on {
                    self.disk_faults = true;
                    let past = &self.hosts[host].past;
                    let choice = self.random.below(past.len() + 1);
                    let record = self.hosts[host].past.get(choice).cloned().unwrap_or_else(Record::default);
                    self.say(|| format!("host{host} finds {record:?}"));
                    self.hosts[host].past.clear();
                    self.hosts[host].record = record;
                }
            }
            Fault::KernelRefuses(host) => {
                let refuses = &mut self.hosts[host].kernel_refuses;
                *refuses = if on { *refuses + 1 } else { *refuses - 1 };
            }
            Fault::Loss(percent) => self.loss = if on { percent } else { 0 },
            Fault::Member { host, fresh } => self.member(host, on, fresh),
            Fault::Handover(host) => {
                if on {
                    let id = self.question(host);
                    self.feed(host, Event::Handover { id, to: None });
                }
            }
            Fault::Leave(host) => {
                if on {
                    let id = self.question(host);
                    self.feed(host, Event::Leave { id });
                    self.tally.leaves += 1;
                } else {
                    self.down(host, true, false);
                    self.down(host, false, false);
                }
            }
        }
    }
}
