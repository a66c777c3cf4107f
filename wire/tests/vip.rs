//! The spelling of what managers say about the public address. A change here breaks running clusters.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::{
    Ballot, VipHandover, VipNomination, VipNominationAnswer, VipPeer, VipReport, VipState, VipStatus,
};

/// `value` is written as `text`, and `text` is read as `value`.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, text: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), text);
    assert_eq!(&serde_json::from_str::<T>(text).unwrap(), value);
}

fn report() -> VipReport {
    VipReport {
        state: VipState::HoldDown,
        ballot: Some(Ballot { epoch: 7, node: "host1".to_owned() }),
        hears_owner: true,
        eligible: false,
        lb_healthy: true,
    }
}

#[test]
fn reports() {
    golden(
        &report(),
        r#"{"state":"hold_down","ballot":{"epoch":7,"node":"host1"},"hears_owner":true,"eligible":false,"lb_healthy":true}"#,
    );
    golden(
        &VipReport { state: VipState::Standby, ballot: None, hears_owner: false, ..report() },
        r#"{"state":"standby","hears_owner":false,"eligible":false,"lb_healthy":true}"#,
    );
    for state in
        [VipState::Standby, VipState::Claiming, VipState::Active, VipState::Releasing, VipState::HoldDown]
    {
        golden(&state, &format!("\"{}\"", state.as_str()));
    }
}

#[test]
fn questions_and_answers() {
    golden(&VipNomination { epoch: 8, drain: true }, r#"{"epoch":8,"drain":true}"#);
    golden(
        &VipNominationAnswer { accepted: true, reason: None, highest: 8 },
        r#"{"accepted":true,"highest":8}"#,
    );
    golden(
        &VipNominationAnswer { accepted: false, reason: Some("no".to_owned()), highest: 9 },
        r#"{"accepted":false,"reason":"no","highest":9}"#,
    );
    golden(&VipHandover { to: None }, "{}");
    golden(&VipHandover { to: Some("host2".to_owned()) }, r#"{"to":"host2"}"#);
    let error = serde_json::from_str::<VipHandover>(r#"{"too":"host2"}"#).unwrap_err().to_string();
    assert!(error.contains("unknown field `too`"), "{error}");
    let error =
        serde_json::from_str::<VipNomination>(r#"{"epoch":-1,"drain":true}"#).unwrap_err().to_string();
    assert!(error.contains("-1"), "{error}");
}

#[test]
fn status() {
    let status = VipStatus {
        addr: "10.77.0.100".parse().unwrap(),
        node: "host1".to_owned(),
        state: VipState::Active,
        ballot: Some(Ballot { epoch: 7, node: "host1".to_owned() }),
        owner: Some("host1".to_owned()),
        confirmed: true,
        recorded: true,
        ineligible: None,
        reason: "why".to_owned(),
        peers: vec![VipPeer { node: "host2".to_owned(), heard_ms_ago: Some(40), report: None }],
    };
    golden(
        &status,
        concat!(
            r#"{"addr":"10.77.0.100","node":"host1","state":"active","ballot":{"epoch":7,"node":"host1"},"#,
            r#""owner":"host1","confirmed":true,"recorded":true,"reason":"why","#,
            r#""peers":[{"node":"host2","heard_ms_ago":40}]}"#
        ),
    );
}

/// Ballots are ordered by epoch, then by node.
#[test]
fn ballots() {
    let ballot = |epoch, node: &str| Ballot { epoch, node: node.to_owned() };
    assert!(ballot(2, "host1") > ballot(1, "host9"));
    assert!(ballot(2, "host2") > ballot(2, "host1"));
}
