//! `/v1/nodes/{node}/forget`: who is alive is not forgotten, who is dead is.

use super::*;
use crate::cluster::Liveness;

#[tokio::test]
async fn only_a_dead_peer_can_be_forgotten() {
    let (here, there) = two_clusters().await;
    until(&here.gossip, "host2", |node| node.liveness == Liveness::Live).await;
    let api = Api::with(Setup { gossip: Some(here.gossip.clone()), ..Setup::default() }).await;
    let forget = |node: &str| format!("/v1/nodes/{node}/forget");
    let (host2, host9) = (forget("host2"), forget("host9"));
    for token in [None, Some(Purpose::Peer)] {
        api.refused((Method::POST, &host2, token, "{}"), 401, "unauthorized", None).await;
    }
    let admin = Some(Purpose::Api);
    let message = api.refused((Method::POST, &host2, admin, "{}"), 409, "node_alive", None).await;
    assert_eq!(message, "node host2 is alive; stop its manager first");
    for unknown in [host9.as_str(), "/v1/nodes/host1/forget"] {
        api.refused((Method::POST, unknown, admin, "{}"), 404, "unknown_node", None).await;
    }
    api.refused((Method::DELETE, &host2, admin, ""), 405, "method_not_allowed", None).await;

    there.running.stop().await;
    until(&here.gossip, "host2", |node| node.liveness == Liveness::Dead).await;
    let answer = api.ask(Method::POST, &host2, admin, "{}").await;
    assert_eq!(answer, (StatusCode::OK, json!({"node": "host2"})));
    until(&here.gossip, "host2", |node| node.liveness == Liveness::Forgotten).await;

    here.running.stop().await;
    api.refused((Method::POST, &host2, admin, "{}"), 503, "unavailable", None).await;
}
