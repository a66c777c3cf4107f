//! What must hold, looked at every 50 ms.

use std::collections::BTreeMap;

use wire::VipState;

use crate::world::World;

/// Two hosts that clients reach both answer, for no longer than this, while both managers run and hear each other,
/// directly or through a third. Beats come every 100 ms, a quarter of them lost at worst, and up to 250 ms late;
/// then the lower one withdraws at once. A pause of less than a second may hide the news from a manager that runs again.
const TWO_MS: u64 = 1_000;

/// As [`TWO_MS`], if only one of the two hears the other: the lower is told in vain for 1500 ms, then given way.
const TWO_ONE_WAY_MS: u64 = 3_000;

/// No host with a healthy load balancer answers, for no longer than this, while one could and nothing changes.
/// Silence 300, proof 150, four ranks 600; a disk that hangs costs 1000 and a new proof at each of two ranks.
const NONE_MS: u64 = 4_000;

#[derive(Debug, Default)]
pub(crate) struct Checks {
    two: BTreeMap<(usize, usize), u64>,
    two_one_way: BTreeMap<(usize, usize), u64>,
    none: Option<u64>,
}

impl World {
    pub(crate) fn check(&mut self) {
        let mut checks = self.take_checks();
        self.check_two(&mut checks);
        self.check_none(&mut checks);
        self.put_checks(checks);
    }

    fn answers_clients(&self, host: usize) -> bool {
        self.hosts[host].answers && self.both_ways(host, self.clients())
    }

    fn check_two(&mut self, checks: &mut Checks) {
        let n = self.hosts.len();
        for a in 0..n {
            for b in a + 1..n {
                let sound = |host| {
                    self.answers_clients(host) && self.runs(host) && self.hosts[host].kernel_refuses == 0
                };
                let both = sound(a) && sound(b);
                let witness = |c: usize| {
                    c != a
                        && c != b
                        && self.runs(c)
                        && self.hear_each_other(a, c)
                        && self.hear_each_other(b, c)
                };
                let linked = both && (self.hear_each_other(a, b) || (0..n).any(witness));
                let healthy = self.hosts[a].lb_faults == 0 && self.hosts[b].lb_faults == 0;
                let half = both && healthy && (self.hears(a, b) || self.hears(b, a));
                let now = self.now;
                if let Some(span) = span(&mut checks.two, (a, b), linked, now) {
                    self.tally.longest_two = self.tally.longest_two.max(span);
                    if span > TWO_MS {
                        self.fail(format!("host{a} and host{b} both answer for {span} ms"));
                    }
                }
                if let Some(span) = span(&mut checks.two_one_way, (a, b), half, now) {
                    self.tally.longest_two_one_way = self.tally.longest_two_one_way.max(span);
                    if span > TWO_ONE_WAY_MS {
                        self.fail(format!(
                            "host{a} and host{b} both answer for {span} ms, one hears the other"
                        ));
                    }
                }
            }
        }
    }

    fn check_none(&mut self, checks: &mut Checks) {
        let n = self.hosts.len();
        let healthy = |host: usize| self.hosts[host].lb_faults == 0;
        let served = (0..n).any(|host| self.answers_clients(host) && healthy(host));
        // One that could serve: it runs, its kernel obeys, clients reach it.
        let could = |host: usize| {
            healthy(host)
                && self.runs(host)
                && self.hosts[host].kernel_refuses == 0
                && self.both_ways(host, self.clients())
                && !self.leaving(host)
        };
        // One that answers with a dead load balancer while nobody runs there to move it keeps all others away; so
        // does one that cannot withdraw.
        let blocked = (0..n).any(|host| {
            self.hosts[host].answers
                && !healthy(host)
                && (!self.runs(host) || self.hosts[host].kernel_refuses > 0)
        });
        let expected = self.crooked == 0 && !blocked && (0..n).any(could);
        if served || !expected {
            checks.none = None;
            return;
        }
        let since = *checks.none.get_or_insert(self.now);
        let quiet = self.now - since.max(self.disturbed);
        self.tally.longest_none = self.tally.longest_none.max(quiet);
        if quiet > NONE_MS {
            self.fail(format!("nobody serves for {quiet} ms"));
        }
    }

    fn leaving(&self, host: usize) -> bool {
        let status = self.hosts[host].vip.as_ref().map(manager_core::vip::Vip::status);
        status
            .and_then(|it| it.ineligible)
            .is_some_and(|why| why.contains("leaving") || why.contains("starting"))
    }

    /// All faults have ended long ago.
    pub(crate) fn check_end(&mut self) {
        let answering: Vec<_> = (0..self.hosts.len()).filter(|host| self.hosts[*host].answers).collect();
        let [owner] = answering[..] else {
            return self.fail(format!("at the end {answering:?} answer"));
        };
        let statuses: Vec<_> =
            self.hosts.iter().map(|host| host.vip.as_ref().expect("all run at the end").status()).collect();
        let status = &statuses[owner];
        if status.state != VipState::Active || !status.confirmed || !status.recorded {
            return self.fail(format!("at the end host{owner} answers as {status:?}"));
        }
        for other in &statuses {
            if other.ballot != status.ballot || other.owner != Some(format!("host{owner}")) {
                return self.fail(format!("at the end host{owner} has {:?}, and {other:?}", status.ballot));
            }
        }
        let greatest = self.hosts.iter().map(|host| host.record.ballot.clone()).max().flatten();
        if greatest != status.ballot {
            return self.fail(format!("at the end {:?} owns, and {greatest:?} is on disk", status.ballot));
        }
        if !self.disk_faults && status.ballot.as_ref().map_or(0, |it| it.epoch) < self.announced {
            return self.fail(format!("at the end {:?}; {} was announced", status.ballot, self.announced));
        }
        if self.cache.map(|(host, _)| host) != Some(owner) {
            return self.fail(format!("at the end host{owner} owns, and clients turn to {:?}", self.cache));
        }
        for host in 0..self.hosts.len() {
            if !self.hosts[host].questions.is_empty() {
                return self.fail(format!("host{host} owes answers to {:?}", self.hosts[host].questions));
            }
        }
    }
}

/// How long `holds` has held for `key`, if it does.
fn span(
    since: &mut BTreeMap<(usize, usize), u64>,
    key: (usize, usize),
    holds: bool,
    now: u64,
) -> Option<u64> {
    if holds {
        Some(now - *since.entry(key).or_insert(now))
    } else {
        since.remove(&key);
        None
    }
}
