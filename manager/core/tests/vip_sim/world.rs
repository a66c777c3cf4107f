//! Hosts, links, disks, the clock, and what the driver does for a machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;

use manager_core::Time;
use manager_core::vip::{
    Action, Adopted, Config, Event, Handed, MAX_EPOCH, Mac, Outcome, Record, Route, Station, Timing, Vip,
};
use wire::{Ballot, VipReport, VipState};

use crate::checks::Checks;
use crate::faults::Fault;
use crate::random::Random;

/// How long a history goes on after its last fault has ended.
const CALM: u64 = 22_000;

/// The announcer's schedule, then every 15 s.
const SCHEDULE: [u64; 6] = [0, 200, 1_100, 2_200, 3_300, 4_400];

/// A nominator's client gives up: the longest effect, and the way.
const CLIENT: u64 = 1_200;

/// Linux takes no second update of a neighbour entry within a second.
const LOCKTIME: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskMode {
    Good,
    Refuses,
    Hangs,
}

#[derive(Debug, Clone)]
pub(crate) enum Ev {
    Begin(Fault),
    End(Fault),
    Start(usize),
    Feed {
        host: usize,
        life: u64,
        event: Event,
    },
    Tick {
        host: usize,
        life: u64,
        serial: u64,
    },
    Beat {
        host: usize,
        life: u64,
    },
    LbSeen(usize),
    Kernel {
        host: usize,
        life: u64,
        revision: u64,
    },
    Disk {
        host: usize,
        life: u64,
        record: Record,
    },
    Announce {
        host: usize,
        life: u64,
        serial: u64,
        index: usize,
    },
    /// The manager of this host reads its configuration again.
    Reload(usize),
    /// The manager of a host that is no member any more ends.
    Retire(usize),
    Nomination {
        from: usize,
        from_life: u64,
        to: usize,
        epoch: u64,
        drain: bool,
    },
    Check,
}

#[derive(Debug)]
struct Entry(u64, u64, Ev);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) vip: Option<Vip>,
    life: u64,
    downs: u32,
    /// It is no member of the cluster, by the administrator's will.
    pub(crate) gone: u32,
    /// Its peers, by the configuration it has read last.
    knows: BTreeSet<usize>,
    pub(crate) pauses: u32,
    inbox: Vec<Ev>,
    offset: u64,
    /// What the kernel does; it outlives the manager.
    pub(crate) answers: bool,
    pub(crate) route: Route,
    pub(crate) second_chance: Option<String>,
    kernel_asked: u64,
    kernel_busy_until: u64,
    pub(crate) kernel_refuses: u32,
    pub(crate) disk: DiskMode,
    pub(crate) record: Record,
    pub(crate) past: Vec<Record>,
    stuck: Vec<Ev>,
    pub(crate) lb_faults: u32,
    sent: Option<VipReport>,
    tick_serial: u64,
    announce_serial: u64,
    /// Nominations and admins' questions that wait for an answer.
    pub(crate) questions: BTreeSet<u64>,
    nominations: BTreeMap<u64, (usize, u64, u64)>,
}

/// What happened, to see that something did.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) claims: u64,
    pub(crate) handovers: u64,
    pub(crate) conflicts: u64,
    pub(crate) leaves: u64,
    /// Nodes that were taken out of the cluster, and the owner among them.
    pub(crate) removals: u64,
    pub(crate) owners_removed: u64,
    pub(crate) reloads: u64,
    pub(crate) renewals: u64,
    pub(crate) unwritten: u64,
    pub(crate) gave_way: u64,
    /// Claims with a second chance for old connections, and nominees that were waited for without an answer.
    pub(crate) second_chances: u64,
    pub(crate) waits: u64,
    pub(crate) longest_two: u64,
    pub(crate) longest_two_one_way: u64,
    pub(crate) longest_none: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.claims += other.claims;
        self.handovers += other.handovers;
        self.conflicts += other.conflicts;
        self.leaves += other.leaves;
        self.removals += other.removals;
        self.owners_removed += other.owners_removed;
        self.reloads += other.reloads;
        self.renewals += other.renewals;
        self.unwritten += other.unwritten;
        self.gave_way += other.gave_way;
        self.second_chances += other.second_chances;
        self.waits += other.waits;
        self.longest_two = self.longest_two.max(other.longest_two);
        self.longest_two_one_way = self.longest_two_one_way.max(other.longest_two_one_way);
        self.longest_none = self.longest_none.max(other.longest_none);
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) hosts: Vec<Host>,
    names: Vec<String>,
    queue: BinaryHeap<Reverse<Entry>>,
    serial: u64,
    /// `cuts[from][to]` faults stop packets that way; the last index is the clients'.
    pub(crate) cuts: Vec<Vec<u32>>,
    pub(crate) crooked: u32,
    pub(crate) loss: u64,
    most_delay: u64,
    pub(crate) disturbed: u64,
    pub(crate) disk_faults: bool,
    /// Whom the clients' ARP cache names, and since when.
    pub(crate) cache: Option<(usize, u64)>,
    /// The greatest epoch ever announced.
    pub(crate) announced: u64,
    pub(crate) tally: Tally,
    checks: Checks,
    failure: Option<String>,
    trace: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let n = 2 + random.below(4);
        let host = |random: &mut Random| Host {
            vip: None,
            life: 0,
            downs: 0,
            gone: 0,
            knows: BTreeSet::new(),
            pauses: 0,
            inbox: Vec::new(),
            offset: random.range(0, 1_000_000_000),
            answers: false,
            route: Route::None,
            second_chance: None,
            kernel_asked: 0,
            kernel_busy_until: 0,
            kernel_refuses: 0,
            disk: DiskMode::Good,
            record: Record::default(),
            past: Vec::new(),
            stuck: Vec::new(),
            lb_faults: 0,
            sent: None,
            tick_serial: 0,
            announce_serial: 0,
            questions: BTreeSet::new(),
            nominations: BTreeMap::new(),
        };
        let hosts: Vec<_> = (0..n).map(|_| host(&mut random)).collect();
        let most_delay = if random.percent(70) { 5 } else { 60 };
        let mut world = Self {
            now: 0,
            random,
            hosts,
            names: (0..n).map(|index| format!("host{index}")).collect(),
            queue: BinaryHeap::new(),
            serial: 0,
            cuts: vec![vec![0; n + 1]; n + 1],
            crooked: 0,
            loss: 0,
            most_delay,
            disturbed: 0,
            disk_faults: false,
            cache: None,
            announced: 0,
            tally: Tally::default(),
            checks: Checks::default(),
            failure: None,
            trace: trace.then(String::new),
        };
        for host in 0..n {
            let at = world.random.range(0, 1_000);
            world.schedule(at, Ev::Start(host));
        }
        world.schedule(50, Ev::Check);
        world.plan_faults();
        world
    }

    pub(crate) fn trace(&self) -> &str {
        self.trace.as_deref().unwrap_or_default()
    }

    pub(crate) fn say(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            writeln!(trace, "{:>7} {}", self.now, text()).expect("a string takes it");
        }
    }

    pub(crate) fn fail(&mut self, why: impl Into<String>) {
        let why = format!("at {} ms: {}", self.now, why.into());
        self.say(|| format!("FAILED: {why}"));
        self.failure.get_or_insert(why);
    }

    pub(crate) fn run(&mut self) -> Result<(), String> {
        let mut end = 0;
        for Reverse(Entry(at, _, event)) in &self.queue {
            if matches!(event, Ev::End(_)) {
                end = end.max(*at);
            }
        }
        while let Some(Reverse(Entry(at, _, event))) = self.queue.pop() {
            if at > end + CALM {
                break;
            }
            self.now = at;
            self.handle(event);
            if let Some(why) = self.failure.take() {
                return Err(why);
            }
        }
        self.check_end();
        self.failure.take().map_or(Ok(()), Err)
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Ev) {
        self.serial += 1;
        self.queue.push(Reverse(Entry(at, self.serial, event)));
    }

    /// The first packet of `from` reaches `to`.
    pub(crate) fn passes(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to] == 0
    }

    pub(crate) fn both_ways(&self, a: usize, b: usize) -> bool {
        self.passes(a, b) && self.passes(b, a)
    }

    pub(crate) const fn clients(&self) -> usize {
        self.hosts.len()
    }

    /// What `from` says is heard by `to`: the way is open, and each is among the other's peers.
    pub(crate) fn hears(&self, from: usize, to: usize) -> bool {
        let peers = self.hosts[from].knows.contains(&to) && self.hosts[to].knows.contains(&from);
        peers && self.passes(from, to)
    }

    pub(crate) fn hear_each_other(&self, a: usize, b: usize) -> bool {
        self.hears(a, b) && self.hears(b, a)
    }

    /// The other members, as a configuration file names them now.
    fn members_beside(&self, host: usize) -> BTreeSet<usize> {
        (0..self.hosts.len()).filter(|other| *other != host && self.hosts[*other].gone == 0).collect()
    }

    fn reload(&mut self, host: usize) {
        if self.hosts[host].vip.is_none() {
            return;
        }
        let peers = self.members_beside(host);
        if self.hosts[host].knows == peers {
            return;
        }
        self.say(|| format!("host{host} has the peers {peers:?} now"));
        let names = peers.iter().map(|peer| self.names[*peer].clone()).collect();
        self.hosts[host].knows = peers;
        self.tally.reloads += 1;
        self.disturbed = self.now;
        self.feed(host, Event::Peers(names));
    }

    pub(crate) fn runs(&self, host: usize) -> bool {
        self.hosts[host].vip.is_some() && self.hosts[host].pauses == 0
    }

    fn delay(&mut self) -> u64 {
        self.random.range(0, self.most_delay)
    }

    fn local(&self, host: usize) -> Time {
        Time::from_millis(self.now + self.hosts[host].offset)
    }

    fn handle(&mut self, event: Ev) {
        // A stopped process does nothing; what arrives for it waits.
        let of = match &event {
            Ev::Feed { host, life, .. }
            | Ev::Tick { host, life, .. }
            | Ev::Beat { host, life }
            | Ev::Announce { host, life, .. }
            | Ev::Kernel { host, life, .. } => Some((*host, Some(*life))),
            Ev::LbSeen(host) | Ev::Reload(host) | Ev::Nomination { to: host, .. } => Some((*host, None)),
            Ev::Begin(_) | Ev::End(_) | Ev::Start(_) | Ev::Retire(_) | Ev::Disk { .. } | Ev::Check => None,
        };
        if let Some((host, life)) = of {
            let it = &mut self.hosts[host];
            if life.is_some_and(|life| life != it.life) {
                return;
            }
            if it.pauses > 0 {
                it.inbox.push(event);
                return;
            }
        }
        match event {
            Ev::Begin(fault) => self.turn(&fault, true),
            Ev::End(fault) => self.turn(&fault, false),
            Ev::Start(host) => self.start(host),
            Ev::Feed { host, event: Event::Report { node, report }, .. } => {
                // The cluster's socket hands on nothing of a node that is no peer.
                let peer = self.index(&node);
                if self.hosts[host].knows.contains(&peer) {
                    self.feed(host, Event::Report { node, report });
                }
            }
            Ev::Feed { host, event, .. } => self.feed(host, event),
            Ev::Tick { host, serial, .. } => {
                if self.hosts[host].tick_serial == serial {
                    self.feed(host, Event::Tick);
                }
            }
            Ev::Beat { host, life } => {
                self.send_beats(host);
                self.schedule(self.now + 100, Ev::Beat { host, life });
            }
            Ev::LbSeen(host) => {
                let healthy = self.hosts[host].lb_faults == 0;
                self.feed(host, Event::Lb { healthy, reason: "heartbeat".to_owned() });
            }
            Ev::Kernel { host, revision, .. } => self.kernel(host, revision),
            Ev::Reload(host) => self.reload(host),
            Ev::Retire(host) => self.down(host, true, false),
            Ev::Disk { host, life, record } => self.disk(host, life, record),
            Ev::Announce { host, life, serial, index } => self.announcement(host, life, serial, index),
            Ev::Nomination { from, from_life, to, epoch, drain } => {
                if self.hosts[to].vip.is_none() {
                    return;
                }
                let id = self.question(to);
                self.hosts[to].nominations.insert(id, (from, from_life, epoch));
                let from = self.names[from].clone();
                self.feed(to, Event::Nominated { id, from, epoch, drain });
            }
            Ev::Check => {
                self.check();
                self.schedule(self.now + 50, Ev::Check);
            }
        }
    }

    fn start(&mut self, host: usize) {
        if self.hosts[host].downs > 0 || self.hosts[host].vip.is_some() {
            return;
        }
        let peers = self.members_beside(host);
        let config = Config {
            node: self.names[host].clone(),
            peers: peers.iter().map(|peer| self.names[*peer].clone()).collect(),
            addr: "10.77.0.100".parse().expect("an address"),
            timing: Timing::default(),
        };
        let now = self.local(host);
        let it = &mut self.hosts[host];
        let here = |node: &String| config.peers.contains(node);
        let route = match &it.route {
            Route::Via(node) if !here(node) => Route::None,
            route => route.clone(),
        };
        let second_chance = it.second_chance.clone().filter(here);
        let adopted = Adopted { answer: it.answers, route, second_chance };
        let record = it.record.clone();
        let vip = Vip::new(now, config, record.clone(), adopted.clone());
        it.life += 1;
        it.knows = peers;
        it.kernel_asked = 0;
        it.sent = None;
        it.vip = Some(vip);
        let life = it.life;
        self.say(|| format!("host{host} starts with {record:?}, {adopted:?}"));
        let lb = self.now + self.random.range(10, 300);
        self.schedule(lb, Ev::LbSeen(host));
        self.schedule(self.now + 1, Ev::Beat { host, life });
        self.feed(host, Event::Tick);
        self.disturbed = self.now;
    }

    /// A manager ends, and its host too with `power`; or they may start again.
    pub(crate) fn down(&mut self, host: usize, on: bool, power: bool) {
        let it = &mut self.hosts[host];
        it.downs = if on { it.downs + 1 } else { it.downs - 1 };
        if power {
            it.lb_faults = if on { it.lb_faults + 1 } else { it.lb_faults - 1 };
        }
        if !on {
            self.schedule(self.now + 1, Ev::Start(host));
            return;
        }
        it.vip = None;
        it.life += 1;
        it.inbox.clear();
        it.stuck.clear();
        it.questions.clear();
        it.nominations.clear();
        if power {
            it.answers = false;
            it.route = Route::None;
            it.second_chance = None;
        }
    }

    pub(crate) fn resume(&mut self, host: usize) {
        let inbox = std::mem::take(&mut self.hosts[host].inbox);
        if self.random.percent(50) {
            self.feed(host, Event::Tick);
        }
        // A socket holds so many beats and drops the others.
        let mut beats = 0;
        for event in inbox {
            beats += u32::from(matches!(event, Ev::Feed { event: Event::Report { .. }, .. }));
            if beats <= 40 || !matches!(event, Ev::Feed { event: Event::Report { .. }, .. }) {
                self.handle(event);
            }
        }
        self.feed(host, Event::Tick);
    }

    pub(crate) fn question(&mut self, host: usize) -> u64 {
        self.serial += 1;
        if self.hosts[host].vip.is_some() {
            self.hosts[host].questions.insert(self.serial);
        }
        self.serial
    }

    pub(crate) fn feed(&mut self, host: usize, event: Event) {
        let now = self.local(host);
        if self.hosts[host].pauses > 0 {
            let life = self.hosts[host].life;
            self.hosts[host].inbox.push(Ev::Feed { host, life, event });
            return;
        }
        let Some(vip) = &mut self.hosts[host].vip else { return };
        self.tally.steps += 1;
        let mut out = Vec::new();
        vip.step(now, event, &mut out);
        for action in out {
            self.act(host, action);
        }
        self.compare(host);
    }

    /// Tells whom it concerns what has changed.
    fn compare(&mut self, host: usize) {
        let (now, life) = (self.local(host), self.hosts[host].life);
        let Some(vip) = &self.hosts[host].vip else { return };
        let (revision, report, due) = (vip.desired().revision, vip.report(), vip.next_deadline());
        let second_chance = vip.desired().second_chance.clone();
        if due <= now {
            self.fail(format!("host{host}'s next deadline is not ahead"));
        }
        let at = due.as_millis().saturating_sub(self.hosts[host].offset);
        self.hosts[host].tick_serial += 1;
        let serial = self.hosts[host].tick_serial;
        self.schedule(at, Ev::Tick { host, life, serial });
        if self.hosts[host].kernel_asked != revision {
            self.hosts[host].kernel_asked = revision;
            // A second chance takes a process.
            let filter = second_chance.is_some() && second_chance != self.hosts[host].second_chance;
            let span = if filter { self.random.range(5, 30) } else { self.random.range(0, 4) };
            let at = self.hosts[host].kernel_busy_until.max(self.now) + span;
            self.hosts[host].kernel_busy_until = at;
            self.schedule(at, Ev::Kernel { host, life, revision });
        }
        if self.hosts[host].sent.as_ref() != Some(&report) {
            self.send_beats(host);
        }
    }

    fn send_beats(&mut self, host: usize) {
        let Some(vip) = &self.hosts[host].vip else { return };
        let report = vip.report();
        for to in self.hosts[host].knows.clone() {
            let copies = 1 + u32::from(self.random.percent(2));
            for _ in 0..copies {
                if !self.passes(host, to) || self.random.percent(self.loss) {
                    continue;
                }
                let late = if self.random.percent(2) { self.random.range(0, 250) } else { self.delay() };
                let event = Event::Report { node: self.names[host].clone(), report: report.clone() };
                let life = self.hosts[to].life;
                self.schedule(self.now + late, Ev::Feed { host: to, life, event });
            }
        }
        self.hosts[host].sent = Some(report);
    }

    fn act(&mut self, host: usize, action: Action) {
        let life = self.hosts[host].life;
        match action {
            Action::Persist(record) => {
                let slow = if self.random.percent(5) { self.random.range(50, 400) } else { 0 };
                let at = self.now + self.random.range(1, 20) + slow;
                self.schedule(at, Ev::Disk { host, life, record });
            }
            Action::ProbePeer { round, node } => {
                let peer = self.index(&node);
                if !self.hosts[host].knows.contains(&peer) {
                    self.fail(format!("host{host} asks {node}, which is no peer"));
                }
                let reachable =
                    self.both_ways(host, peer) && self.runs(peer) && !self.random.percent(self.loss);
                let span = if reachable { 2 * self.delay() } else { 150 };
                self.schedule(
                    self.now + span,
                    Ev::Feed { host, life, event: Event::PeerProbed { round, reachable } },
                );
            }
            Action::ProbeAddress { round } => {
                let heard = (0..3).any(|_| !self.random.percent(self.loss));
                let answer = (0..self.hosts.len())
                    .filter(|other| *other != host && self.hosts[*other].answers && heard)
                    .find(|other| self.both_ways(host, *other));
                let span = if answer.is_some() { 2 * self.delay() } else { 150 };
                let answer = answer.map(station);
                self.schedule(
                    self.now + span,
                    Ev::Feed { host, life, event: Event::AddressProbed { round, answer } },
                );
            }
            Action::Nominate { node, epoch, drain } => {
                self.say(|| format!("host{host} nominates {node} with epoch {epoch}"));
                if self.hosts[host].answers && self.hosts[host].kernel_refuses == 0 {
                    self.fail(format!("host{host} nominates {node} and still answers"));
                }
                let to = self.index(&node);
                if !self.hosts[host].knows.contains(&to) {
                    self.fail(format!("host{host} nominates {node}, which is no peer"));
                }
                let delay = self.delay();
                // A client gives up at last, and sometimes its connection breaks before.
                let broken = self.random.percent(15);
                let patience = if broken { self.random.range(1, 60) } else { CLIENT };
                let reason = if broken { "connection reset" } else { "timed out" }.to_owned();
                let outcome = Outcome::Failed { reason };
                let event = Event::NominationAnswered { node: node.clone(), epoch, outcome };
                self.schedule(self.now + patience, Ev::Feed { host, life, event });
                if !self.both_ways(host, to) {
                    return;
                }
                if self.hosts[to].vip.is_none() {
                    let outcome = Outcome::Failed { reason: "connection refused".to_owned() };
                    let event = Event::NominationAnswered { node, epoch, outcome };
                    self.schedule(self.now + delay, Ev::Feed { host, life, event });
                    return;
                }
                self.schedule(
                    self.now + delay,
                    Ev::Nomination { from: host, from_life: life, to, epoch, drain },
                );
            }
            Action::AnswerNomination { id, outcome } => {
                if !self.hosts[host].questions.remove(&id) {
                    self.fail(format!("host{host} answers nomination {id} twice"));
                }
                let (from, from_life, epoch) = self.hosts[host].nominations.remove(&id).expect("asked");
                let accepted = outcome == Outcome::Accepted;
                self.say(|| format!("host{host} answers host{from}'s nomination: {outcome:?}"));
                if accepted {
                    self.tally.handovers += 1;
                }
                if self.passes(host, from) && !self.random.percent(2) {
                    let event = Event::NominationAnswered { node: self.names[host].clone(), epoch, outcome };
                    let at = self.now + self.delay();
                    self.schedule(at, Ev::Feed { host: from, life: from_life, event });
                }
            }
            Action::AnswerHandover { id, result } => {
                self.say(|| format!("host{host} answers the admin: {result:?}"));
                if !self.hosts[host].questions.remove(&id) {
                    self.fail(format!("host{host} answers question {id} twice"));
                }
                if result == Ok(Handed::To(self.names[host].clone())) {
                    self.fail(format!("host{host} has handed over to itself"));
                }
            }
            Action::Announce => {
                let ballot = self.ballot_of(host);
                self.say(|| format!("host{host} announces with {ballot:?}"));
                let Some(ballot) = ballot.filter(|ballot| ballot.node == self.names[host]) else {
                    return self.fail(format!("host{host} announces without a ballot of its own"));
                };
                if !self.hosts[host].answers && self.hosts[host].kernel_refuses == 0 {
                    self.fail(format!("host{host} announces and does not answer"));
                }
                if ballot.epoch > MAX_EPOCH {
                    self.fail("the epoch is out of range");
                }
                self.announced = self.announced.max(ballot.epoch);
                self.hosts[host].announce_serial += 1;
                let serial = self.hosts[host].announce_serial;
                self.schedule(self.now, Ev::Announce { host, life, serial, index: 0 });
            }
            Action::StopAnnouncing => self.hosts[host].announce_serial += 1,
            Action::Beat => self.send_beats(host),
            Action::Log { from, to, reason } => {
                if (from, to) == (VipState::Active, VipState::Standby) {
                    self.tally.conflicts += 1;
                    self.tally.gave_way += u64::from(reason.contains("gives way"));
                }
                self.tally.claims += u64::from(to == VipState::Claiming);
                if (from, to) == (VipState::Claiming, VipState::Active) {
                    self.owner_is_ready(host);
                }
                self.say(|| format!("host{host} {} -> {}: {reason}", from.as_str(), to.as_str()));
            }
            Action::Note(text) => {
                self.tally.waits += u64::from(text.contains("its answer is lost"));
                self.tally.renewals += u64::from(text.starts_with("goes on as the owner with epoch"));
                self.tally.unwritten +=
                    u64::from(text.contains("not on disk") || text.contains("NOT on disk"));
                self.say(|| format!("host{host}: {text}"));
            }
        }
    }

    /// A claim is announced when the kernel has all of it, so that no old connection meets a stranger.
    fn owner_is_ready(&mut self, host: usize) {
        let Some(wanted) = self.hosts[host].vip.as_ref().map(|vip| vip.desired().second_chance.clone())
        else {
            return;
        };
        self.tally.second_chances += u64::from(wanted.is_some());
        if wanted.is_some() && self.hosts[host].second_chance != wanted {
            let has = self.hosts[host].second_chance.clone();
            self.fail(format!("host{host} announces, wants a second chance at {wanted:?} and has {has:?}"));
        }
    }

    fn index(&self, node: &str) -> usize {
        self.names.iter().position(|name| *name == node).expect("a node")
    }

    pub(crate) fn ballot_of(&self, host: usize) -> Option<Ballot> {
        self.hosts[host].vip.as_ref().and_then(|vip| vip.report().ballot)
    }

    fn kernel(&mut self, host: usize, revision: u64) {
        let (life, refuses) = (self.hosts[host].life, self.hosts[host].kernel_refuses > 0);
        let Some(net) = self.hosts[host].vip.as_ref().map(|vip| vip.desired().clone()) else { return };
        if net.revision != revision {
            return;
        }
        if refuses {
            let event = Event::InstallFailed { revision, error: "no such device".to_owned() };
            self.schedule(self.now + 1, Ev::Feed { host, life, event });
            // It is repaired every second.
            self.schedule(self.now + 1_000, Ev::Kernel { host, life, revision });
            return;
        }
        if self.hosts[host].answers != net.answer {
            self.say(|| format!("host{host} answers: {}", net.answer));
        }
        self.hosts[host].answers = net.answer;
        self.hosts[host].route = net.route;
        self.hosts[host].second_chance = net.second_chance;
        self.schedule(self.now, Ev::Feed { host, life, event: Event::Installed { revision } });
    }

    fn disk(&mut self, host: usize, life: u64, record: Record) {
        let epoch = record.epoch();
        match self.hosts[host].disk {
            DiskMode::Hangs => self.hosts[host].stuck.push(Ev::Disk { host, life, record }),
            DiskMode::Refuses => {
                let event = Event::PersistFailed { epoch, error: "no space left on device".to_owned() };
                self.schedule(self.now, Ev::Feed { host, life, event });
            }
            DiskMode::Good => {
                // A write of a process that died meanwhile may or may not be there, but not after the next one has begun.
                let next = self.hosts[host].vip.is_some();
                if self.hosts[host].life != life && (next || self.random.percent(50)) {
                    return;
                }
                if self.hosts[host].life != life && record.ballot < self.hosts[host].record.ballot {
                    return;
                }
                if record.ballot < self.hosts[host].record.ballot {
                    let was = self.hosts[host].record.clone();
                    self.fail(format!("host{host}'s record goes back from {was:?} to {record:?}"));
                }
                let old = std::mem::replace(&mut self.hosts[host].record, record);
                self.hosts[host].past.push(old);
                self.schedule(self.now, Ev::Feed { host, life, event: Event::Persisted { epoch } });
            }
        }
    }

    pub(crate) fn free_disk(&mut self, host: usize) {
        for event in std::mem::take(&mut self.hosts[host].stuck) {
            self.schedule(self.now + 1, event);
        }
    }

    fn announcement(&mut self, host: usize, life: u64, serial: u64, index: usize) {
        if self.hosts[host].announce_serial != serial {
            return;
        }
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            if self.passes(host, other) {
                let life = self.hosts[other].life;
                let event = Event::ArpSeen { station: station(host), announcement: true };
                let at = self.now + self.delay();
                self.schedule(at, Ev::Feed { host: other, life, event });
            }
        }
        let locked = self.cache.is_some_and(|(_, since)| self.now - since < LOCKTIME);
        if self.passes(host, self.clients()) && !locked && self.cache.is_none_or(|(whom, _)| whom != host) {
            self.cache = Some((host, self.now));
            self.say(|| format!("clients turn to host{host}"));
        }
        let pause = match SCHEDULE.get(index + 1) {
            Some(next) => next - SCHEDULE[index],
            None => 15_000,
        };
        let index = (index + 1).min(SCHEDULE.len() - 1);
        self.schedule(self.now + pause, Ev::Announce { host, life, serial, index });
    }

    pub(crate) fn take_checks(&mut self) -> Checks {
        std::mem::take(&mut self.checks)
    }

    pub(crate) fn put_checks(&mut self, checks: Checks) {
        self.checks = checks;
    }
}

fn station(host: usize) -> Station {
    let last = u8::try_from(host).expect("few hosts");
    Station { mac: Mac([2, 0, 0, 0, 0, last]), node: Some(format!("host{host}")) }
}
