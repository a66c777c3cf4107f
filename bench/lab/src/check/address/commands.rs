//! What an administrator says of the public address and of hosts: right, wrong, and too early.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http::{Method, StatusCode};

use super::super::cut::CUT_RATE;
use super::super::job::{MANAGER_WITHIN, RATE, host_of, lb_of};
use super::rest::at_rest;
use super::trial::{TIMEOUT, Trial};
use crate::admin::{Admin, expect_error};
use crate::network::set_cable;
use crate::plan::HostPlan;
use crate::state::State;
use crate::status::cluster_view;
use crate::steps::wait_for;
use crate::up;

/// How long the gossip may take to hold a silent host for dead.
const DEAD_WITHIN: Duration = Duration::from_secs(15);
/// Requests after which every VM of a set has answered.
const ROUNDS: usize = 16;

pub(super) async fn nonsense(state: &State) -> Result<String> {
    const HANDOVER: &str = "/v1/vip/handover";
    let rest = at_rest(state).await?;
    let (owner, other) = (rest.plan_of(state, &rest.owner)?, rest.plan_of(state, &rest.other)?);
    let (admin, stranger) = (Admin::of(owner)?, Admin::of(other)?);
    let trial = Trial::start(&state.plan, RATE).await?;
    let fault = trial.now();
    let same = format!(r#"{{"to": "{}"}}"#, owner.name);
    let bad = StatusCode::BAD_REQUEST;
    let conflict = StatusCode::CONFLICT;
    // The body, the status, and a word of the message.
    let cases = [
        (r#"{"to": "nonsense"}"#, bad, "nonsense"),
        (r#"{"to": ""}"#, bad, "to"),
        (r#"{"to": 7}"#, bad, "to"),
        (r#"{"too": "host2"}"#, bad, "too"),
        ("[]", bad, ""),
        ("{", bad, ""),
        (same.as_str(), conflict, &owner.name),
    ];
    for (body, status, word) in cases {
        let response = admin.send(Method::POST, HANDOVER, Some(body)).await?;
        let error = expect_error(&response, status, None).context(body.to_owned())?;
        let named = error.message.contains(word) || error.path.as_deref() == Some(word);
        ensure!(named, "{body}: the error does not name {word}: {}", response.text());
    }
    let response = stranger.send(Method::POST, HANDOVER, Some("{}")).await?;
    let not_owner = expect_error(&response, conflict, Some("not_owner"))?.message;
    ensure!(not_owner.contains(&owner.name), "it does not name the owner: {not_owner}");
    let response = admin.send_as(None, Method::POST, HANDOVER).await?;
    expect_error(&response, StatusCode::UNAUTHORIZED, None)?;
    for (node, status, code) in [
        ("nonsense", StatusCode::NOT_FOUND, "unknown_node"),
        (owner.name.as_str(), StatusCode::NOT_FOUND, "unknown_node"),
        (other.name.as_str(), conflict, "node_alive"),
    ] {
        let response = forget_request(&admin, node).await?;
        expect_error(&response, status, Some(code)).with_context(|| format!("forget {node}"))?;
    }
    let said = match up::manager_command(state, owner, &["vip", "handover", "--to", "nonsense"]).await {
        Err(error) => format!("{error:#}"),
        Ok(said) => bail!("handover --to nonsense succeeded: {said}"),
    };
    ensure!(said.contains("nonsense is not a configured peer"), "the command says {said:?}");
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    after.expect_same(&rest)?;
    seen.none_failed()?.held_by(&[&owner.name])?;
    Ok(format!("{} requests, \"{not_owner}\", {}", cases.len() + 6, seen.words()))
}

pub(super) async fn forget(state: &State) -> Result<String> {
    let rest = at_rest(state).await?;
    let (owner, gone) = (rest.plan_of(state, &rest.owner)?, rest.plan_of(state, &rest.other)?);
    let admin = Admin::of(owner)?;
    let lb = lb_of(host_of(&rest.status, &owner.name)?)?;
    let own = format!("{}/", owner.name);
    let own: BTreeSet<String> =
        rest.status.services().filter(|vm| vm.id.starts_with(&own)).map(|vm| vm.id.clone()).collect();
    let before = services_of(owner, &gone.name).await?;
    let trial = Trial::start(&state.plan, CUT_RATE).await?;
    let fault = trial.now();
    set_cable(&state.plan, &gone.name, false)?;
    let forgotten = async {
        wait_for("it may be forgotten", DEAD_WITHIN, || async {
            let response = forget_request(&admin, &gone.name).await?;
            if !response.status.is_success() {
                let error = expect_error(&response, StatusCode::CONFLICT, Some("node_alive"))?;
                bail!(error.message);
            }
            Ok(())
        })
        .await?;
        wait_for("its services leave the set", DEAD_WITHIN, || async {
            let left = services_of(owner, &gone.name).await?;
            ensure!(left.is_empty(), "{left:?} are still there");
            let answered = up::instances(lb, ROUNDS).await?;
            ensure!(answered == own, "{answered:?} answered, and not {own:?}");
            Ok(())
        })
        .await
    }
    .await;
    let left = trial.now();
    set_cable(&state.plan, &gone.name, true)?;
    forgotten?;
    wait_for("its services are back", MANAGER_WITHIN, || async {
        let now = services_of(owner, &gone.name).await?;
        ensure!(now == before, "{now:?} instead of {before:?}");
        Ok(())
    })
    .await?;
    let after = at_rest(state).await?;
    let seen = trial.finish(fault).await?;
    after.expect_same(&rest)?;
    // The owner's load balancer may have asked a VM behind the cut.
    seen.failed_within(fault.saturating_sub(TIMEOUT), left, RATE as usize)?.held_by(&[&owner.name])?;
    Ok(format!("{before:?} left and came back, {}", seen.words()))
}

async fn forget_request(admin: &Admin<'_>, node: &str) -> Result<crate::api::Response> {
    admin.send(Method::POST, &format!("/v1/nodes/{node}/forget"), Some("{}")).await
}

/// The services of a peer, as a host's manager knows them.
pub(super) async fn services_of(host: &HostPlan, peer: &str) -> Result<BTreeSet<String>> {
    let view = cluster_view(host).await?;
    let peer =
        view.peers.into_iter().find(|other| other.node == peer).context("it does not know the peer")?;
    Ok(peer.services.into_iter().map(|service| service.id).collect())
}
