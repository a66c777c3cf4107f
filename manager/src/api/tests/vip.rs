//! The public address over the API: a real machine behind it, whose disk and kernel do as they are told.

use manager_core::vip::{Config as VipConfig, Outcome, Timing};
use wire::{Ballot, VipReport, VipState};

use super::*;
use crate::vip::fake as vip_fake;

const ADMIN: Option<Purpose<'static>> = Some(Purpose::Api);
const PEER: Option<Purpose<'static>> = Some(Purpose::Peer);
const NOMINATION: &str = "/v1/peers/host2/vip/nomination";

fn ballot(epoch: u64, node: &str) -> Option<Ballot> {
    Some(Ballot { epoch, node: node.to_owned() })
}

/// What a peer says that would take the address, or would not.
fn report(eligible: bool) -> VipReport {
    let ballot = ballot(4, "host2");
    VipReport { state: VipState::Standby, ballot, hears_owner: false, eligible, lb_healthy: eligible }
}

/// A node that has started up among host2, which owns the address with epoch 4, and host3.
async fn start(nominee: fn(&str) -> Option<Outcome>) -> (Api, vip_fake::World) {
    let config = VipConfig {
        node: "host1".to_owned(),
        peers: vec!["host2".to_owned(), "host3".to_owned()],
        addr: "10.77.0.100".parse().unwrap(),
        timing: Timing::default(),
    };
    let (vip, world) = vip_fake::spawn(config, nominee);
    let api = Api::with(Setup { vip: Some(vip), ..Setup::default() }).await;
    world.hears("host2", VipReport { state: VipState::Active, ..report(false) }).await;
    world.hears("host3", report(false)).await;
    world.lb(true).await;
    (api, world)
}

/// The same, and host2 has made it the owner with epoch 5.
async fn owner(nominee: fn(&str) -> Option<Outcome>) -> (Api, vip_fake::World) {
    let (api, world) = start(nominee).await;
    world.hears("host2", VipReport { state: VipState::Releasing, ..report(false) }).await;
    let answer = api.ask(Method::POST, NOMINATION, PEER, r#"{"epoch":5,"drain":false}"#).await;
    assert_eq!(answer, (StatusCode::OK, json!({"accepted": true, "highest": 5})));
    world.hears("host2", report(false)).await;
    (api, world)
}

async fn show(api: &Api) -> Value {
    let (status, shown) = api.ask(Method::GET, "/v1/vip", None, "").await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    shown
}

fn handover(body: &str) -> (Method, &str, Option<Purpose<'static>>, &str) {
    (Method::POST, "/v1/vip/handover", ADMIN, body)
}

#[tokio::test]
async fn a_cluster_without_one_says_so() {
    let api = Api::start(true).await;
    let nomination = (Method::POST, NOMINATION, PEER, r#"{"epoch":1,"drain":false}"#);
    for request in [(Method::GET, "/v1/vip", None, ""), handover("{}"), nomination] {
        let message = api.refused(request, 404, "no_vip", None).await;
        assert!(message.contains("[vip]"), "{message}");
    }
    assert_eq!(api.ask(Method::GET, "/v1/cluster", None, "").await.1.get("vip"), None);
}

#[tokio::test]
async fn it_is_shown_as_this_node_sees_it() {
    let (api, world) = start(|_| None).await;
    let shown = show(&api).await;
    assert_eq!((&shown["addr"], &shown["node"]), (&json!("10.77.0.100"), &json!("host1")));
    assert_eq!((&shown["state"], &shown["owner"]), (&json!("standby"), &json!("host2")));
    assert_eq!(shown["ballot"], json!({"epoch": 4, "node": "host2"}));
    assert_eq!(shown.get("ineligible"), None);
    assert_eq!(shown["peers"][1]["node"], "host3");
    assert_eq!(
        (&shown["peers"][0]["heard_ms_ago"], &shown["peers"][0]["report"]["eligible"]),
        (&json!(0), &json!(false))
    );
    // An answer over HTTP proves nothing, so nobody shall believe one.
    api.refused((Method::GET, "/v1/vip/report", None, ""), 404, "not_found", None).await;
    assert_eq!(api.ask(Method::GET, "/v1/cluster", None, "").await.1["vip"], shown);

    world.lb(false).await;
    let why = show(&api).await["ineligible"].as_str().unwrap().to_owned();
    assert!(why.contains("a test says so"), "{why}");
}

#[tokio::test]
async fn a_nomination_is_taken_at_once_or_refused_with_the_reason() {
    let (api, world) = owner(|_| None).await;
    let shown = show(&api).await;
    assert_eq!((&shown["state"], &shown["owner"]), (&json!("active"), &json!("host1")));
    assert_eq!(shown["ballot"], json!({"epoch": 5, "node": "host1"}));
    assert_eq!((&shown["recorded"], &shown["confirmed"]), (&json!(true), &json!(true)));
    let nominate = async |path: &'static str, body: &'static str| {
        let (status, answer) = api.ask(Method::POST, path, PEER, body).await;
        assert_eq!((status, &answer["accepted"]), (StatusCode::OK, &json!(false)), "{answer}");
        (answer["highest"].as_u64().unwrap(), answer["reason"].as_str().unwrap().to_owned())
    };
    let (highest, reason) = nominate(NOMINATION, r#"{"epoch":5,"drain":false}"#).await;
    assert_eq!((highest, reason.as_str()), (5, "epoch: 5 is not above 5, the highest known"));
    let (_, reason) = nominate(NOMINATION, r#"{"epoch":6,"drain":true}"#).await;
    assert_eq!(reason, "host1 is active already");
    let (_, reason) = nominate("/v1/peers/host9/vip/nomination", r#"{"epoch":6,"drain":true}"#).await;
    assert_eq!(reason, "host9 is not a configured peer");
    let (highest, reason) = nominate(NOMINATION, r#"{"epoch":1048582,"drain":true}"#).await;
    assert_eq!(
        (highest, reason.as_str()),
        (5, "epoch: 1048582 is more than 1048576 above 5, the highest known here")
    );
    let (_, reason) = nominate(NOMINATION, r#"{"epoch":1048581,"drain":true}"#).await;
    assert_eq!(reason, "host1 is active already");

    for (body, field) in [
        (r#"{"epoch":-1,"drain":true}"#, Some("epoch")),
        (r#"{"epoch":6,"drain":"yes"}"#, Some("drain")),
        (r#"{"epoch":6}"#, None),
        (r#"{"epoch":6,"drain":true,"x":1}"#, Some("x")),
    ] {
        api.refused((Method::POST, NOMINATION, PEER, body), 400, "invalid_body", field).await;
    }
    for token in [None, ADMIN] {
        api.refused((Method::POST, NOMINATION, token, "garbage"), 401, "unauthorized", None).await;
    }
    // Broken, and nobody else would take it: it is kept.
    world.lb(false).await;
    assert_eq!(show(&api).await["state"], "active");
}

#[tokio::test]
async fn a_handover_moves_it_once() {
    let (api, world) = owner(|_| Some(Outcome::Accepted)).await;
    for token in [None, PEER] {
        let request = (Method::POST, "/v1/vip/handover", token, "{}");
        api.refused(request, 401, "unauthorized", None).await;
    }
    world.hears("host3", report(true)).await;
    let answer = api.ask(Method::POST, "/v1/vip/handover", ADMIN, r#"{"to":"host3"}"#).await;
    assert_eq!(answer, (StatusCode::OK, json!({"owner": "host3"})));
    let shown = show(&api).await;
    assert_eq!(
        (&shown["state"], &shown["ballot"]),
        (&json!("standby"), &json!({"epoch": 6, "node": "host3"}))
    );
    let active =
        VipReport { state: VipState::Active, ballot: ballot(6, "host3"), hears_owner: true, ..report(true) };
    world.hears("host3", active).await;
    let message = api.refused(handover("{}"), 409, "not_owner", None).await;
    assert_eq!(message, "host1 does not own the address, host3 does");
}

#[tokio::test]
async fn a_handover_that_cannot_be_is_refused_by_name_and_the_address_stays() {
    let (api, world) = start(|_| None).await;
    let message = api.refused(handover("{}"), 409, "not_owner", None).await;
    assert_eq!(message, "host1 does not own the address, host2 does");
    drop(world);

    let (api, world) =
        owner(|_| Some(Outcome::Refused { reason: "no wish to".to_owned(), highest: 5 })).await;
    for (body, field) in [(r#"{"to":7}"#, Some("to")), (r#"{"too":"host2"}"#, Some("too")), ("", None)] {
        api.refused(handover(body), 400, "invalid_body", field).await;
    }
    api.refused(handover(r#"{"to":"host1"}"#), 409, "same_node", Some("to")).await;
    let message = api.refused(handover(r#"{"to":"host9"}"#), 400, "invalid_field", Some("to")).await;
    assert_eq!(message, "to: host9 is not a configured peer");
    let message = api.refused(handover(r#"{"to":"host2"}"#), 409, "not_eligible", Some("to")).await;
    assert!(message.starts_with("to: host2 cannot take the address: "), "{message}");
    let message = api.refused(handover("{}"), 409, "no_peer", None).await;
    assert!(message.starts_with("no peer can take the address: "), "{message}");
    world.hears("host2", report(true)).await;
    let message = api.refused(handover("{}"), 502, "handover_failed", None).await;
    assert!(message.contains("no wish to"), "{message}");
    let shown = show(&api).await;
    assert_eq!((&shown["state"], &shown["owner"]), (&json!("active"), &json!("host1")));
    assert!(
        shown["ballot"]["epoch"].as_u64().unwrap() > 5,
        "with a claim above the one it gave away: {shown}"
    );
}

#[tokio::test]
async fn while_it_is_on_the_move_it_cannot_be_moved() {
    let (api, world) = owner(|_| None).await;
    world.hears("host2", report(true)).await;
    let first = api.ask(Method::POST, "/v1/vip/handover", ADMIN, "{}");
    let second = async {
        let releasing = async {
            while show(&api).await["state"] != "releasing" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(NEVER, releasing).await.expect("the handover begins");
        api.refused(handover("{}"), 409, "busy", None).await;
        // The nominee does not answer, and nobody else can be asked.
        world.pass(Duration::from_secs(1)).await;
    };
    let ((status, answer), ()) = tokio::join!(first, second);
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (502, &json!("handover_failed")), "{answer}");
    assert_eq!(show(&api).await["state"], "active");
}
