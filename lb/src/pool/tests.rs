use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use wire::{PutUpstreams, Upstream, UpstreamState};

use super::{Attempt, Choice, NoUpstream, Pool, Refused, Settings, Tried, validate};
use crate::metrics::{Metrics, Outcome};
use crate::policy::health::Limits;
use crate::policy::retry::{Conditions, Failure, Rules};
use crate::policy::select::Balance;

const CHOICE: Choice<'_> = Choice { key: &[], random: 0 };

fn settings(balance: Balance) -> Settings {
    Settings {
        balance,
        health: Limits { max_fails: 0, fail_timeout_ms: 10_000 },
        slow_start_ms: 0,
        rules: Rules { on: Conditions::default(), tries: 0, timeout_ms: 0, non_idempotent: false },
        first_byte_ms: (25, 1000),
        first_byte_percent: 300,
        budget_percent: 20,
        budget_min_per_second: 10,
    }
}

fn pool_with(settings: Settings) -> (Arc<Pool>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
    (Pool::new(settings, 1, Arc::clone(&metrics)), metrics)
}

fn pool() -> Arc<Pool> {
    pool_with(settings(Balance::RoundRobin)).0
}

fn upstream(n: u16) -> Upstream {
    Upstream {
        id: format!("host1/svc-{n}"),
        incarnation: 1,
        addr: ([10, 0, 0, 1], 8000 + n).into(),
        weight: 1,
        state: UpstreamState::Up,
        backup: false,
        max_conns: 0,
    }
}

fn set(generation: u64, upstreams: impl IntoIterator<Item = Upstream>) -> PutUpstreams {
    PutUpstreams { generation, upstreams: upstreams.into_iter().collect() }
}

fn next(pool: &Arc<Pool>) -> Result<Attempt, NoUpstream> {
    pool.begin(&Tried::default(), CHOICE)
}

fn id(attempt: &Attempt) -> &str {
    attempt.incarnation().id()
}

#[test]
fn generations() {
    let pool = pool();
    assert_eq!(pool.put(set(5, [upstream(1), upstream(2)])), Ok(5));
    assert_eq!(pool.put(set(4, [])), Err(Refused::Stale { got: 4, present: 5 }));
    assert_eq!(pool.put(set(5, [upstream(1)])), Err(Refused::Conflict { present: 5 }));
    assert_eq!(pool.put(set(5, [upstream(2), upstream(1)])), Ok(5), "the order does not matter");
    let other = Upstream { weight: 2, ..upstream(2) };
    assert_eq!(pool.put(set(5, [upstream(1), other])), Err(Refused::Conflict { present: 5 }));
    assert_eq!(pool.set(), set(5, [upstream(1), upstream(2)]));

    assert_eq!(pool.remove("host1/svc-1", 5), Err(Refused::Stale { got: 5, present: 5 }));
    assert!(matches!(pool.remove("host1/svc-9", 6), Err(Refused::Unknown { present: 5, .. })));
    assert_eq!(pool.remove("host1/svc-1", 6), Ok(6));
    assert_eq!(pool.set(), set(6, [upstream(2)]));
}

#[test]
fn turns_are_taken_among_those_that_are_up() {
    let pool = pool();
    assert_eq!(next(&pool).unwrap_err(), NoUpstream::None);
    let draining = Upstream { state: UpstreamState::Draining, ..upstream(2) };
    pool.put(set(1, [upstream(1), draining.clone(), upstream(3)])).unwrap();
    let got: Vec<String> = (0..4).map(|_| id(&next(&pool).unwrap()).to_owned()).collect();
    assert_eq!(got.iter().filter(|id| *id == "host1/svc-1").count(), 2);
    assert_eq!(got.iter().filter(|id| *id == "host1/svc-3").count(), 2);
    pool.put(set(2, [draining])).unwrap();
    assert!(!pool.is_usable());
    assert_eq!(next(&pool).unwrap_err(), NoUpstream::None);
}

#[test]
fn a_backup_serves_only_when_no_other_can() {
    let pool = pool();
    let backup = Upstream { backup: true, ..upstream(9) };
    let small = Upstream { max_conns: 1, ..upstream(1) };
    pool.put(set(1, [backup.clone(), small.clone()])).unwrap();
    for _ in 0..5 {
        assert_eq!(id(&next(&pool).unwrap()), "host1/svc-1");
    }
    let held = next(&pool).unwrap();
    assert_eq!(id(&next(&pool).unwrap()), "host1/svc-9");
    drop(held);
    assert_eq!(id(&next(&pool).unwrap()), "host1/svc-1");
    pool.put(set(2, [backup, Upstream { state: UpstreamState::Draining, ..small }])).unwrap();
    assert_eq!(id(&next(&pool).unwrap()), "host1/svc-9");
}

#[test]
fn attempts_in_flight_are_limited_and_survive_a_new_set() {
    let pool = pool();
    let limited = Upstream { max_conns: 2, ..upstream(1) };
    pool.put(set(1, [limited.clone()])).unwrap();
    let first = next(&pool).unwrap();
    pool.put(set(2, [limited.clone(), upstream(2)])).unwrap();
    pool.put(set(3, [limited.clone()])).unwrap();
    let second = next(&pool).unwrap();
    assert_eq!(next(&pool).unwrap_err(), NoUpstream::AllFull);
    assert_eq!(pool.view().upstreams[0].in_flight, 2);
    first.end(Outcome::Ok);
    second.end(Outcome::Failed(Failure::Reset));
    let view = pool.view().upstreams.remove(0);
    assert_eq!((view.in_flight, view.attempts_total, view.failures_total), (0, 2, 1));

    // A new incarnation begins at zero and has a key of its own; the old one's attempts do not count for it.
    let old = next(&pool).unwrap();
    pool.put(set(4, [Upstream { incarnation: 2, ..limited }])).unwrap();
    let view = pool.view().upstreams.remove(0);
    assert_eq!((view.in_flight, view.attempts_total, view.failures_total), (0, 0, 0));
    let new = next(&pool).unwrap();
    assert_ne!(old.incarnation().key, new.incarnation().key);
    drop(old);
    assert_eq!(pool.view().upstreams[0].in_flight, 1);
}

#[test]
fn one_that_was_tried_is_not_chosen_again() {
    let pool = pool();
    pool.put(set(1, [upstream(1), upstream(2), upstream(3)])).unwrap();
    for _ in 0..10 {
        let mut tried = Tried::default();
        let mut seen = Vec::new();
        while let Ok(attempt) = pool.begin(&tried, CHOICE) {
            tried.add(attempt.incarnation());
            seen.push(id(&attempt).to_owned());
        }
        seen.sort();
        assert_eq!(seen, ["host1/svc-1", "host1/svc-2", "host1/svc-3"]);
        assert_eq!(pool.begin(&tried, CHOICE).unwrap_err(), NoUpstream::AllTried);
    }
}

#[test]
fn series_of_removed_upstreams_go() {
    let (pool, metrics) = pool_with(settings(Balance::RoundRobin));
    let text = || String::from_utf8(metrics.encode(&pool.seen()).unwrap()).unwrap();
    pool.put(set(1, [upstream(1), upstream(2)])).unwrap();
    let late = next(&pool).unwrap();
    assert!(text().contains("upstream=\"host1/svc-1\"") && text().contains("upstream=\"host1/svc-2\""));
    assert!(text().contains("lb_upstreams{state=\"up\"} 2"));
    pool.put(set(2, [upstream(2)])).unwrap();
    late.end(Outcome::Failed(Failure::Cut));
    // What came to an end with it is still seen, twice.
    let cut = "lb_attempts_total{outcome=\"cut\",upstream=\"host1/svc-1\"} 1";
    for _ in 0..2 {
        let text = text();
        assert!(
            text.contains(cut) && !text.contains("lb_upstream_state{state=\"up\",upstream=\"host1/svc-1\"}")
        );
    }
    let last = text();
    assert!(!last.contains("upstream=\"host1/svc-1\"") && last.contains("upstream=\"host1/svc-2\""));
    assert!(last.contains("lb_generation 2"));
    // One that comes back in time goes on counting.
    next(&pool).unwrap().end(Outcome::Ok);
    pool.put(set(3, [])).unwrap();
    pool.put(set(4, [upstream(2)])).unwrap();
    next(&pool).unwrap().end(Outcome::Ok);
    for _ in 0..3 {
        assert!(text().contains("lb_attempts_total{outcome=\"ok\",upstream=\"host1/svc-2\"} 2"));
    }
}

#[test]
fn invalid_sets_name_the_field() {
    let one = upstream(1);
    let check = |second: Upstream| validate(&set(1, [one.clone(), second]), 2).map_err(|e| e.path);
    let two = upstream(2);
    assert_eq!(check(two.clone()), Ok(()));
    let at = |field: &str| Err(format!("upstreams[1].{field}"));
    for id in ["", "/x", "x/", "a/b/c", "a b/c", "a/b\n", "ä/b", "-a/b", "a/.b"] {
        assert_eq!(check(Upstream { id: id.to_owned(), ..two.clone() }), at("id"), "{id:?}");
    }
    assert_eq!(check(Upstream { id: format!("a/{}", "b".repeat(200)), ..two.clone() }), at("id"));
    assert_eq!(check(Upstream { id: one.id.clone(), ..two.clone() }), at("id"));
    assert_eq!(check(Upstream { incarnation: 0, ..two.clone() }), at("incarnation"));
    assert_eq!(check(Upstream { addr: one.addr, ..two.clone() }), at("addr"));
    for addr in ["10.0.0.1:0", "0.0.0.0:80", "[::]:80", "224.0.0.1:80"] {
        assert_eq!(check(Upstream { addr: addr.parse().unwrap(), ..two.clone() }), at("addr"), "{addr}");
    }
    for weight in [0, 1001] {
        assert_eq!(check(Upstream { weight, ..two.clone() }), at("weight"));
    }
    assert_eq!(validate(&set(0, []), 2).unwrap_err().path, "generation");
    assert_eq!(validate(&set(1, (1..4).map(upstream)), 2).unwrap_err().path, "upstreams");
}

#[test]
fn an_incarnation_that_leaves_is_told_so_and_the_others_are_not() {
    let pool = pool();
    pool.put(set(1, [upstream(1), upstream(2)])).unwrap();
    let mut tried = Tried::default();
    let first = pool.begin(&tried, CHOICE).unwrap();
    tried.add(first.incarnation());
    let second = pool.begin(&tried, CHOICE).unwrap();
    let gone = |attempt: &Attempt| attempt.incarnation().gone().is_cancelled();
    let (leaves, stays) = if id(&first) == "host1/svc-1" { (first, second) } else { (second, first) };
    pool.put(set(2, [Upstream { incarnation: 2, ..upstream(1) }, upstream(2)])).unwrap();
    assert!(gone(&leaves) && !gone(&stays));
    pool.put(set(3, [Upstream { state: UpstreamState::Draining, ..upstream(2) }])).unwrap();
    assert!(!gone(&stays), "one that drains finishes what it has");
    pool.put(set(4, [Upstream { addr: ([10, 0, 0, 9], 80).into(), ..upstream(2) }])).unwrap();
    assert!(gone(&stays), "at another address it is another one");
}

#[test]
fn failures_eject_and_when_all_are_ejected_all_are_tried() {
    let health = Limits { max_fails: 1, fail_timeout_ms: 3_600_000 };
    let (pool, _) = pool_with(Settings { health, ..settings(Balance::RoundRobin) });
    pool.put(set(1, [upstream(1), upstream(2), Upstream { backup: true, ..upstream(3) }])).unwrap();
    let fail = |failure| {
        let attempt = next(&pool).unwrap();
        let who = id(&attempt).to_owned();
        attempt.end(Outcome::Failed(failure));
        who
    };
    for harmless in [Failure::Cut, Failure::Status(404), Failure::Status(500)] {
        fail(harmless);
        fail(harmless);
        assert!(pool.view().upstreams.iter().all(|status| status.available), "{harmless:?}");
    }
    let first = fail(Failure::Reset);
    for _ in 0..3 {
        assert_ne!(id(&next(&pool).unwrap()), first);
    }
    assert_ne!(fail(Failure::Status(503)), first);
    assert_eq!(fail(Failure::ConnectError), "host1/svc-3", "the backup steps in");
    assert!(pool.view().upstreams.iter().all(|status| !status.available));
    assert_ne!(fail(Failure::ConnectError), "host1/svc-3", "and then all are better than none");
    next(&pool).unwrap().end(Outcome::Ok);
    assert_eq!(pool.view().upstreams.iter().filter(|status| status.available).count(), 1);
}

#[test]
fn a_slow_answer_ejects_only_one_that_is_silent() {
    let health = Limits { max_fails: 1, fail_timeout_ms: 3_600_000 };
    let (pool, _) = pool_with(Settings { health, ..settings(Balance::RoundRobin) });
    pool.put(set(1, [upstream(1)])).unwrap();
    let slow = next(&pool).unwrap();
    // The clock of the pool has microseconds.
    std::thread::sleep(std::time::Duration::from_micros(10));
    next(&pool).unwrap().heard();
    slow.end(Outcome::Failed(Failure::FirstByteTimeout));
    assert!(pool.view().upstreams[0].available);
    next(&pool).unwrap().end(Outcome::Failed(Failure::FirstByteTimeout));
    assert!(!pool.view().upstreams[0].available);
}

#[test]
fn least_conn_follows_the_attempts_in_flight_over_sets() {
    let (pool, _) = pool_with(settings(Balance::LeastConn));
    pool.put(set(1, (1..=3).map(upstream))).unwrap();
    let held: Vec<Attempt> = (0..6).map(|_| next(&pool).unwrap()).collect();
    let loads = || pool.view().upstreams.iter().map(|status| status.in_flight).collect::<Vec<_>>();
    assert_eq!(loads(), [2, 2, 2]);
    let (kept, gone): (Vec<_>, Vec<_>) = held.into_iter().partition(|attempt| id(attempt) != "host1/svc-2");
    pool.put(set(2, (1..=3).map(upstream))).unwrap();
    drop(gone);
    assert_eq!(loads(), [2, 0, 2]);
    let more = [next(&pool).unwrap(), next(&pool).unwrap()];
    assert_eq!(more.each_ref().map(id), ["host1/svc-2"; 2]);
    drop(kept);
}

#[derive(Debug, Clone)]
enum Write {
    Put(u64, Vec<u16>),
    Remove(u64, u16),
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        (1u64..20, prop::collection::btree_set(1u16..5, 0..4))
            .prop_map(|(generation, ids)| Write::Put(generation, ids.into_iter().collect())),
        (1u64..20, 1u16..5).prop_map(|(generation, id)| Write::Remove(generation, id)),
    ]
}

proptest! {
    #[test]
    fn any_writes_do_as_a_map_would(writes in prop::collection::vec(write(), 0..40)) {
        let pool = pool();
        let mut generation = 0;
        let mut model = BTreeMap::new();
        for write in writes {
            match write {
                Write::Put(newer, ids) => {
                    let wanted: BTreeMap<u16, Upstream> = ids.iter().map(|&n| (n, upstream(n))).collect();
                    let accepted = pool.put(set(newer, wanted.values().cloned())).is_ok();
                    prop_assert_eq!(accepted, newer > generation || (newer == generation && wanted == model));
                    if accepted { (generation, model) = (newer, wanted); }
                }
                Write::Remove(newer, n) => {
                    let accepted = pool.remove(&format!("host1/svc-{n}"), newer).is_ok();
                    prop_assert_eq!(accepted, newer > generation && model.contains_key(&n));
                    if accepted { generation = newer; model.remove(&n); }
                }
            }
            prop_assert_eq!(pool.set(), set(generation, model.values().cloned()));
            prop_assert_eq!(*pool.generations().borrow(), generation);
        }
    }
}
