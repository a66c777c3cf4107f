use wire::{Ballot, VipPeer, VipReport};

use super::*;

fn view(node: &str, state: VipState) -> VipStatus {
    let ballot = Some(Ballot { epoch: 7, node: "host1".to_owned() });
    let peer = if node == "host1" { "host2" } else { "host1" };
    let report = VipReport {
        state: VipState::Standby,
        ballot: ballot.clone(),
        hears_owner: true,
        eligible: peer == "host2",
        lb_healthy: true,
    };
    VipStatus {
        addr: [10, 77, 0, 100].into(),
        node: node.to_owned(),
        state,
        ballot,
        owner: Some("host1".to_owned()),
        confirmed: state == VipState::Active,
        recorded: true,
        ineligible: None,
        reason: "a reason".to_owned(),
        peers: vec![VipPeer { node: peer.to_owned(), heard_ms_ago: Some(3), report: Some(report) }],
    }
}

fn both() -> [VipStatus; 2] {
    [view("host1", VipState::Active), view("host2", VipState::Standby)]
}

#[test]
fn one_owner_that_all_know_is_rest() {
    assert_eq!(agreed(&both()).expect("rest"), ("host1".to_owned(), 7));
}

#[test]
fn whatever_is_missing_is_named() {
    type Change = fn(&mut [VipStatus; 2]);
    let cases: [(Change, &str); 8] = [
        (|views| views[0].state = VipState::Releasing, "0 hosts have the address"),
        (|views| views[1].state = VipState::Active, "2 hosts have the address"),
        (|views| views[0].confirmed = false, "not sure"),
        (|views| views[0].recorded = false, "not on its disk"),
        (|views| views[0].ballot = None, "no ballot"),
        (|views| views[1].owner = None, "host2 says None"),
        (|views| views[1].state = VipState::HoldDown, "host2 is hold_down"),
        (|views| views[0].peers[0].report = None, "host1 has not heard"),
    ];
    for (change, words) in cases {
        let mut views = both();
        change(&mut views);
        let error = agreed(&views).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
}
