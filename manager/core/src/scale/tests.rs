//! Who adds and who removes, case by case, and the laws of any plan.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Change, Host, ScaleError, Share, plan};

/// A live host that has room up to its most.
fn host(node: &str, services: u32, max: u32) -> Host {
    Host { node: node.to_owned(), services, room: max.saturating_sub(services), max, live: true }
}

fn silent(node: &str, services: u32) -> Host {
    Host { node: node.to_owned(), services, room: 0, max: 0, live: false }
}

fn numbers(hosts: &[Host], replicas: u32) -> Vec<u32> {
    plan(hosts, replicas).unwrap().into_iter().map(|change| change.to).collect()
}

fn share(node: &str, services: u64) -> Share {
    Share { node: node.to_owned(), services }
}

/// What there is as (services, max), how many there shall be, and what each has then.
type Case = (&'static [(u32, u32)], u32, &'static [u32]);

#[test]
fn the_node_with_the_fewest_adds_and_the_one_with_the_most_removes() {
    let cases: [Case; 14] = [
        (&[(0, 9), (0, 9), (0, 9)], 0, &[0, 0, 0]),
        (&[(0, 9), (0, 9), (0, 9)], 2, &[1, 1, 0]),
        (&[(0, 9), (0, 9), (0, 9)], 7, &[3, 2, 2]),
        (&[(0, 9), (0, 10)], 1, &[0, 1]),
        (&[(0, 1), (0, 9)], 6, &[1, 5]),
        (&[(4, 9), (1, 9)], 5, &[4, 1]),
        (&[(4, 9), (1, 9)], 6, &[4, 2]),
        (&[(4, 9), (1, 9)], 4, &[3, 1]),
        (&[(2, 9), (2, 9)], 3, &[2, 1]),
        (&[(2, 9), (2, 8)], 3, &[2, 1]),
        (&[(2, 8), (2, 9)], 3, &[1, 2]),
        (&[(5, 3), (1, 9)], 6, &[3, 3]),
        (&[(5, 3), (1, 9)], 5, &[3, 2]),
        (&[(5, 3), (2, 2)], 7, &[5, 2]),
    ];
    for (now, replicas, then) in cases {
        let hosts: Vec<_> = ('a'..)
            .zip(now)
            .map(|(node, (services, max))| host(&node.to_string(), *services, *max))
            .collect();
        assert_eq!(numbers(&hosts, replicas), then, "{now:?} to {replicas}");
    }
}

#[test]
fn a_silent_node_counts_and_is_left_alone() {
    let hosts = [host("c", 1, 9), silent("b", 3), host("a", 1, 9)];
    let from = |node: &str, from, to| Change { node: node.to_owned(), from, to };
    assert_eq!(plan(&hosts, 7).unwrap(), [from("a", 1, 2), from("b", 3, 3), from("c", 1, 2)]);
    assert_eq!(numbers(&hosts, 5), [1, 3, 1]);
    let error = plan(&hosts, 4).unwrap_err();
    assert_eq!(error, ScaleError::Kept { asked: 4, kept: 3, hosts: vec![share("b", 3)] });
    assert_eq!(
        error.to_string(),
        "4 are fewer than there are, and whether the 3 of managers that do not answer serve is not known (b: 3); \
         nothing is removed before they answer, or are forgotten"
    );
    // One that has none is in nobody's way.
    assert_eq!(numbers(&[host("a", 2, 9), silent("b", 0)], 1), [1, 0]);
}

#[test]
fn more_than_fits_is_refused_with_what_each_can_have() {
    let drains = Host { room: 1, ..host("b", 2, 9) };
    let hosts = [host("a", 1, 4), drains, silent("c", 3), host("d", 5, 3)];
    let shares = vec![share("a", 4), share("b", 3), share("c", 3), share("d", 5)];
    assert_eq!(numbers(&hosts, 15), [4, 3, 3, 5], "all there is room for, and what is too much stays");
    let error = plan(&hosts, 16).unwrap_err();
    assert_eq!(error, ScaleError::NoRoom { asked: 16, fits: 15, hosts: shares });
    assert_eq!(error.to_string(), "16 do not fit: 15 are the most there can be now (a: 4, b: 3, c: 3, d: 5)");
    assert!(matches!(plan(&hosts, u32::MAX), Err(ScaleError::NoRoom { fits: 15, .. })));
    assert!(matches!(plan(&[], 1), Err(ScaleError::NoRoom { fits: 0, .. })));
    assert_eq!(plan(&[], 0).unwrap(), []);
}

fn hosts() -> impl Strategy<Value = Vec<Host>> {
    let any = (0_u32..12, 0_u32..12, 0_u32..12, prop::bool::weighted(0.8));
    prop::collection::vec(any, 0..6).prop_map(|hosts| {
        ('a'..)
            .zip(hosts)
            .map(|(node, (services, max, room, live))| Host {
                node: node.to_string(),
                services,
                room,
                max,
                live,
            })
            .collect()
    })
}

fn room(host: &Host) -> u32 {
    host.room.min(host.max.saturating_sub(host.services))
}

proptest! {
    #[test]
    fn any_plan_keeps_the_laws(hosts in hosts(), replicas in 0_u32..80) {
        let kept: u32 = hosts.iter().filter(|host| !host.live).map(|host| host.services).sum();
        let most: u32 = hosts.iter().filter(|host| host.live).map(|host| host.services + room(host)).sum();
        let changes = match plan(&hosts, replicas) {
            Ok(changes) => changes,
            Err(ScaleError::Kept { .. }) => {
                let all: u32 = hosts.iter().map(|host| host.services).sum();
                prop_assert!(kept > 0 && replicas < all);
                return Ok(());
            }
            Err(ScaleError::NoRoom { fits, .. }) => {
                prop_assert!(replicas > kept + most);
                prop_assert_eq!(fits, u64::from(kept + most));
                return Ok(());
            }
        };
        prop_assert!((kept..=kept + most).contains(&replicas));
        prop_assert_eq!(changes.iter().map(|change| change.to).sum::<u32>(), replicas, "the sum");
        prop_assert!(changes.is_sorted_by_key(|change| &change.node));
        let then: BTreeMap<_, _> = changes.iter().map(|change| (change.node.as_str(), change)).collect();
        prop_assert_eq!(then.len(), hosts.len());

        let all = || hosts.iter().map(|host| (host, then[host.node.as_str()]));
        let live = || all().filter(|(host, _)| host.live);
        for (host, change) in all() {
            prop_assert_eq!(change.from, host.services);
            prop_assert!(host.live || change.to == change.from, "a silent node is left alone");
            prop_assert!(change.to <= host.services + room(host), "{host:?} gets {change:?}");
        }
        let over = live().any(|(host, _)| host.services > host.max);
        let (adds, removes) =
            (live().any(|(_, change)| change.to > change.from), live().any(|(_, change)| change.to < change.from));
        prop_assert!(over || !(adds && removes), "a VM is moved needlessly: {changes:?}");
        for (host, change) in live().filter(|_| adds && removes) {
            prop_assert!(change.to >= change.from.min(host.max), "only what is too much is moved");
        }

        // As even as it can be without moving any.
        for (one, grown) in live().filter(|(_, change)| change.to > change.from) {
            for (other, left) in live().filter(|(other, left)| left.to - left.from.min(left.to) < room(other)) {
                prop_assert!(grown.to <= left.to + 1, "{one:?} {grown:?}, {other:?} {left:?}");
            }
        }
        if !over {
            for (_, shrunk) in live().filter(|(_, change)| change.to < change.from) {
                prop_assert!(live().all(|(_, other)| other.to <= shrunk.to + 1), "{changes:?}");
            }
        }

        // The next one finds nothing to do.
        let after: Vec<_> = all()
            .map(|(host, change)| {
                let room = room(host).saturating_sub(change.to.saturating_sub(change.from));
                Host { services: change.to, room, ..host.clone() }
            })
            .collect();
        let again = plan(&after, replicas).unwrap();
        prop_assert!(again.iter().all(|change| change.to == change.from), "{again:?}");
    }
}
