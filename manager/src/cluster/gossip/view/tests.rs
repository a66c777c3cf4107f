use std::collections::BTreeMap;
use std::net::SocketAddr;

use wire::PeerServices;

use super::{Here, Life, Liveness, NodeView, View, build};
use crate::cluster::PeerAddr;
use crate::cluster::refusal::Refusal;
use crate::cluster::table::{self, Table};

fn addr(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, host], 7701))
}

fn peer(host: u8) -> PeerAddr {
    let SocketAddr::V4(addr) = addr(host) else { unreachable!() };
    PeerAddr { node: format!("host{host}"), addr, pool: format!("10.77.{host}.0/24").parse().unwrap() }
}

fn here() -> Here {
    let pool = "10.77.1.0/24".parse().unwrap();
    Here { node: "host1".to_owned(), boot: 9, addr: addr(1), pool, peers: vec![peer(2), peer(3)] }
}

fn a_table(revision: u64) -> Table {
    let account = PeerServices { boot: 1, revision, lb: None, services: Vec::new() };
    Table { account, vip: String::new(), load: String::new() }
}

/// A life of host `host` with pool 10.77.`pool`.0/24.
fn life(host: u8, boot: u64, live: bool, pool: u8) -> Life {
    let (key, value) = table::encode_pool(format!("10.77.{pool}.0/24").parse().unwrap());
    let mut values = vec![(key, value)];
    values.extend(table::encode(&a_table(boot), &BTreeMap::new()).unwrap());
    Life { node: format!("host{host}"), generation: boot << 8, addr: addr(host), live, values }
}

fn look(lives: &[Life], before: &View) -> (View, Vec<Refusal>) {
    let (view, _, refusals) = build(&here(), lives, &BTreeMap::new(), before, false);
    (view, refusals)
}

fn state(view: &View, node: &str) -> (Liveness, u64, Option<u64>) {
    let NodeView { liveness, boot, table, .. } = &view.nodes[node];
    (*liveness, *boot, table.as_ref().map(|table| table.account.revision))
}

#[test]
fn one_life_of_each_peer_counts() {
    use Liveness::{Dead, Live, Unheard};
    for (what, lives, expected) in [
        ("none", vec![], (Unheard, 0, None)),
        ("alive", vec![life(2, 5, true, 2)], (Live, 5, Some(5))),
        ("dead", vec![life(2, 5, false, 2)], (Dead, 5, Some(5))),
        ("restarted", vec![life(2, 5, false, 2), life(2, 6, true, 2)], (Live, 6, Some(6))),
        ("just restarted", vec![life(2, 5, true, 2), life(2, 6, true, 2)], (Live, 6, Some(6))),
        ("restarted, boot went back", vec![life(2, 5, true, 2), life(2, 6, false, 2)], (Live, 5, Some(5))),
        ("dead twice", vec![life(2, 6, false, 2), life(2, 5, false, 2)], (Dead, 6, Some(6))),
        ("another's", vec![life(3, 5, true, 3)], (Unheard, 0, None)),
    ] {
        let (view, refusals) = look(&lives, &View::default());
        assert_eq!(state(&view, "host2"), expected, "{what}");
        assert_eq!(refusals, [], "{what}");
        assert_eq!(view.nodes.len(), 2, "{what}");
    }
}

#[test]
fn the_last_whole_table_stays() {
    let (before, _) = look(&[life(2, 5, true, 2)], &View::default());
    let mut torn = life(2, 6, true, 2);
    torn.values.retain(|(key, _)| key != "account");
    assert_eq!(state(&look(&[torn], &before).0, "host2"), (Liveness::Live, 6, Some(5)));
    // The gossip has forgotten it: its services may serve all the same.
    assert_eq!(state(&look(&[], &before).0, "host2"), (Liveness::Dead, 5, Some(5)));
    let mut broken = life(2, 6, true, 2);
    broken.values.push(("account".to_owned(), "{".to_owned()));
    let (view, refusals) = look(&[broken], &before);
    assert_eq!(state(&view, "host2"), (Liveness::Live, 6, Some(5)));
    assert!(refusals[0].to_string().starts_with("the table of node host2 cannot be understood: account:"));
}

#[test]
fn nobody_dies_while_this_process_wakes_up() {
    let (before, _) = look(&[life(2, 5, true, 2), life(3, 5, false, 3)], &View::default());
    let lives = [life(2, 5, false, 2), life(3, 5, false, 3)];
    let (view, ..) = build(&here(), &lives, &BTreeMap::new(), &before, true);
    assert_eq!((state(&view, "host2").0, state(&view, "host3").0), (Liveness::Live, Liveness::Dead));
    let (view, ..) = build(&here(), &lives, &BTreeMap::new(), &view, false);
    assert_eq!(state(&view, "host2").0, Liveness::Dead);
}

#[test]
fn who_is_forgotten_by_anybody_alive_is_forgotten_until_he_returns() {
    let marked = |by_live: bool, mark: u64| {
        let mut other = life(3, 5, by_live, 3);
        other.values.push((table::forgotten_key("host2"), (mark << 8).to_string()));
        other
    };
    for (what, lives, expected) in [
        ("dead", vec![life(2, 5, false, 2), marked(true, 5)], (Liveness::Forgotten, None)),
        ("an earlier life", vec![life(2, 6, false, 2), marked(true, 5)], (Liveness::Dead, Some(6))),
        ("alive after all", vec![life(2, 5, true, 2), marked(true, 5)], (Liveness::Live, Some(5))),
        ("said by a dead one", vec![life(2, 5, false, 2), marked(false, 5)], (Liveness::Dead, Some(5))),
    ] {
        let (view, _) = look(&lives, &View::default());
        let (liveness, _, table) = state(&view, "host2");
        assert_eq!((liveness, table), expected, "{what}");
    }
    let own = BTreeMap::from([("host2".to_owned(), 5 << 8)]);
    let (view, ..) = build(&here(), &[life(2, 5, false, 2)], &own, &View::default(), false);
    assert_eq!(state(&view, "host2").0, Liveness::Forgotten);
}

#[test]
fn marks_are_kept_by_all_until_the_node_returns() {
    let mark = |boot: u64| BTreeMap::from([("host2".to_owned(), boot << 8)]);
    let none = BTreeMap::new;
    let says = |live, boot: u64| {
        let mut other = life(3, 5, live, 3);
        other.values.push((table::forgotten_key("host2"), (boot << 8).to_string()));
        other
    };
    let table = [
        // what is heard, the own marks before and after
        ("said by another", vec![life(2, 5, false, 2), says(true, 5)], none(), mark(5)),
        ("said by another of one that was never heard", vec![says(true, 5)], none(), mark(5)),
        ("said by a dead one", vec![life(2, 5, false, 2), says(false, 5)], none(), none()),
        ("of an earlier life, by another", vec![life(2, 6, false, 2), says(true, 5)], none(), none()),
        ("of an earlier life, by itself", vec![life(2, 6, false, 2)], mark(5), none()),
        ("still dead", vec![life(2, 5, false, 2)], mark(5), mark(5)),
        ("the greater one", vec![life(2, 5, false, 2), says(true, 7)], mark(6), mark(7)),
        ("never heard", vec![], mark(5), mark(5)),
        ("alive after all", vec![life(2, 5, true, 2), says(true, 5)], mark(5), none()),
        ("back", vec![life(2, 5, false, 2), life(2, 6, true, 2), says(true, 5)], mark(5), none()),
    ];
    for (what, lives, before, after) in table {
        let (_, marks, _) = build(&here(), &lives, &before, &View::default(), false);
        assert_eq!(marks, after, "{what}");
    }
    let no_peer = BTreeMap::from([("host9".to_owned(), 5 << 8)]);
    assert_eq!(build(&here(), &[], &no_peer, &View::default(), false).1, none());
}

#[test]
fn after_a_start_nobody_is_forgotten_by_an_old_mark_alone_before_he_could_be_heard() {
    let own = BTreeMap::from([("host2".to_owned(), 5 << 8)]);
    let seen = |lives: &[Life], hold| {
        let (view, marks, _) = build(&here(), lives, &own, &View::default(), hold);
        assert_eq!(marks, own, "it is kept meanwhile");
        state(&view, "host2").0
    };
    assert_eq!(seen(&[], true), Liveness::Unheard);
    assert_eq!(seen(&[], false), Liveness::Forgotten);
    assert_eq!(seen(&[life(2, 5, false, 2)], true), Liveness::Forgotten, "the dead life itself is enough");
    let mut other = life(3, 5, true, 3);
    other.values.push((table::forgotten_key("host2"), (5_u64 << 8).to_string()));
    assert_eq!(seen(&[other], true), Liveness::Forgotten, "another one knows it too");
}

#[test]
fn who_does_not_fit_is_refused_with_both_sides_named() {
    let elsewhere = |host, boot| Life { addr: addr(9), ..life(host, boot, true, host) };
    for (lives, message) in [
        (
            vec![life(2, 5, true, 7)],
            "node host2 has pool 10.77.7.0/24, but is configured with 10.77.2.0/24 on host1; its table is not used",
        ),
        (
            vec![life(2, 5, true, 1)],
            "pool 10.77.1.0/24 of node host2 overlaps pool 10.77.1.0/24 of node host1; its table is not used",
        ),
        (
            vec![life(2, 5, true, 3)],
            "pool 10.77.3.0/24 of node host2 overlaps pool 10.77.3.0/24 of node host3; its table is not used",
        ),
        (
            vec![life(9, 5, true, 9)],
            "node host9 at 10.77.0.9:7701 takes part in the cluster, but is not among the peers of host1",
        ),
        (
            vec![life(9, 5, true, 1)],
            "pool 10.77.1.0/24 of node host9 overlaps pool 10.77.1.0/24 of node host1; its table is not used",
        ),
        (
            vec![elsewhere(2, 5)],
            "node host2 speaks from 10.77.0.9:7701, but is configured here at 10.77.0.2:7701: either the address is \
             wrong, or two nodes have that name",
        ),
        (
            vec![elsewhere(1, 5)],
            "node name host1 is used twice: by this manager at 10.77.0.1:7701 (boot 9) and by another at \
             10.77.0.9:7701 (boot 5); give one of them another name",
        ),
    ] {
        let (view, refusals) = look(&lives, &View::default());
        let messages: Vec<_> = refusals.iter().map(ToString::to_string).collect();
        assert_eq!(messages, [message]);
        assert!(view.nodes.values().all(|node| node.table.is_none()), "{message}");
        let dead: Vec<_> = lives.into_iter().map(|life| Life { live: false, ..life }).collect();
        // Of the dead, only what would be used is worth a word.
        let used = dead.iter().any(|life| life.node == "host2" && life.addr == addr(2));
        assert_eq!(look(&dead, &View::default()).1.is_empty(), !used, "{message}");
    }
    let own_earlier_life = life(1, 5, true, 1);
    assert_eq!(look(&[own_earlier_life], &View::default()).1, []);
}
