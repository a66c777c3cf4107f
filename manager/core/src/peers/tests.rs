//! Accounts arrive in any order and any number; the outcome is the newest.

use proptest::prelude::*;
use wire::{PeerService, PeerServices, UpstreamState};

use super::{AccountError, Merge, PeerConfig, Peers};
use crate::time::Time;

const NOW: Time = Time::from_millis(0);

fn peers() -> Peers {
    let peer = |node: &str, pool: &str| PeerConfig { node: node.to_owned(), pool: pool.parse().unwrap() };
    Peers::new(&[peer("host2", "10.77.12.0/24"), peer("host3", "10.77.13.0/24")])
}

fn service(id: &str, addr: &str) -> PeerService {
    PeerService { id: id.to_owned(), incarnation: 1, addr: addr.parse().unwrap(), state: UpstreamState::Up }
}

fn account(boot: u64, revision: u64, services: Vec<PeerService>) -> PeerServices {
    PeerServices { boot, revision, lb: None, services }
}

fn ids(peers: &Peers) -> Vec<&str> {
    peers.services().map(|service| service.id.as_str()).collect()
}

#[test]
fn a_newer_account_replaces_and_an_older_one_does_not() {
    let mut peers = peers();
    let one = || vec![service("host2/svc-3", "10.77.12.3:8080")];
    let table = [
        // boot, revision, services, changed, services held afterwards
        (1, 1, one(), true, 1),
        (1, 1, vec![], false, 1),
        (1, 2, one(), false, 1),
        (1, 3, vec![], true, 0),
        (1, 2, one(), false, 0),
        (2, 1, one(), true, 1),
        (1, 9, vec![], false, 1),
    ];
    for (boot, revision, services, changed, held) in table {
        let merge = peers.merge(NOW, "host2", account(boot, revision, services)).unwrap();
        assert_eq!(matches!(merge, Merge::Changed(_)), changed, "({boot}, {revision})");
        assert_eq!(peers.services().count(), held, "({boot}, {revision})");
    }
}

#[test]
fn a_peer_speaks_for_itself_only() {
    let cases = [
        (service("host3/svc-3", "10.77.12.3:8080"), "id"),
        (service("svc-3", "10.77.12.3:8080"), "id"),
        (service("host2/svc-3", "10.77.13.3:8080"), "addr"),
        (service("host2/svc-3", "10.77.12.3:0"), "addr"),
        (service("host2/svc-3", "[::1]:8080"), "addr"),
        (PeerService { incarnation: 0, ..service("host2/svc-3", "10.77.12.3:8080") }, "incarnation"),
        (service("host2/svc-2", "10.77.12.4:8080"), "id"),
    ];
    for (bad, blamed) in cases {
        let mut peers = peers();
        let good = service("host2/svc-2", "10.77.12.2:8080");
        let error = peers.merge(NOW, "host2", account(1, 1, vec![good, bad.clone()])).unwrap_err();
        assert!(
            matches!(error, AccountError::Service { index: 1, field, .. } if field == blamed),
            "{bad:?}: {error:?}"
        );
        assert_eq!(peers.services().count(), 0, "nothing is half-applied");
    }
    let error = peers().merge(NOW, "host9", account(1, 1, vec![])).unwrap_err();
    assert_eq!(error, AccountError::UnknownNode("host9".to_owned()));
}

#[test]
fn the_seed_counts_only_until_the_peer_speaks() {
    let mut peers = peers();
    let seed = [
        service("host2/svc-3", "10.77.12.3:8080"),
        service("host3/svc-3", "10.77.13.3:8080"),
        service("host1/svc-3", "10.77.11.3:8080"),
    ];
    peers.merge(NOW, "host3", account(1, 1, vec![])).unwrap();
    peers.seed(&seed);
    assert_eq!(ids(&peers), ["host2/svc-3"], "host3 has spoken, host1 is no peer");
    peers.merge(NOW, "host2", account(1, 0, vec![service("host2/svc-4", "10.77.12.4:8080")])).unwrap();
    assert_eq!(ids(&peers), ["host2/svc-4"]);
}

#[test]
fn peers_come_and_go_and_those_that_stay_keep_their_account() {
    let mut peers = peers();
    peers.merge(NOW, "host2", account(3, 4, vec![service("host2/svc-3", "10.77.12.3:8080")])).unwrap();
    peers.merge(NOW, "host3", account(1, 1, vec![service("host3/svc-3", "10.77.13.3:8080")])).unwrap();
    let peer = |node: &str, pool: &str| PeerConfig { node: node.to_owned(), pool: pool.parse().unwrap() };

    peers.configure(&[peer("host2", "10.77.12.0/24"), peer("host4", "10.77.14.0/24")]);
    assert_eq!(ids(&peers), ["host2/svc-3"], "host3 is no peer any more");
    let heard: Vec<_> = peers.accounts(NOW).map(|(node, it, at)| (node, it.boot, at.is_some())).collect();
    assert_eq!(heard, [("host2", 3, true), ("host4", 0, false)]);
    let gone = peers.merge(NOW, "host3", account(1, 2, vec![])).unwrap_err();
    assert_eq!(gone, AccountError::UnknownNode("host3".to_owned()));
    // An older account is still an older one.
    peers.merge(NOW, "host2", account(3, 3, vec![])).unwrap();
    assert_eq!(ids(&peers), ["host2/svc-3"]);

    // Another pool that still holds its services, and one that does not.
    peers.configure(&[peer("host2", "10.77.12.0/25")]);
    assert_eq!(ids(&peers), ["host2/svc-3"]);
    peers.configure(&[peer("host2", "10.77.99.0/24")]);
    assert_eq!(ids(&peers), Vec::<&str>::new());
    // With its former pool again it only has to say the same again.
    peers.configure(&[peer("host2", "10.77.12.0/24")]);
    peers.merge(NOW, "host2", account(3, 4, vec![service("host2/svc-3", "10.77.12.3:8080")])).unwrap();
    assert_eq!(ids(&peers), ["host2/svc-3"]);
}

proptest! {
    #[test]
    fn any_order_of_accounts_ends_in_the_newest(
        order in Just((0_u64..4).flat_map(|boot| (0..4).map(move |rev| (boot, rev))).collect::<Vec<_>>()).prop_shuffle(),
        repeats in proptest::collection::vec(0_usize..16, 0..10),
    ) {
        let mut peers = peers();
        let named = |boot, rev| account(boot, rev, vec![service(&format!("host2/svc-{boot}-{rev}"), "10.77.12.3:8080")]);
        let repeated = repeats.iter().map(|index| order[*index]);
        for (boot, revision) in order.iter().copied().chain(repeated) {
            peers.merge(NOW, "host2", named(boot, revision)).unwrap();
        }
        prop_assert_eq!(ids(&peers), ["host2/svc-3-3"]);
    }
}
