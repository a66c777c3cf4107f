//! What a manager tells of itself: its events and its metrics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use http::Method;
use wire::ClusterEvent;

use crate::api;
use crate::plan::HostPlan;
use crate::steps::wait_for;

#[cfg(test)]
mod tests;

/// How long a manager may take to tell what happened.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

/// Now, as events count it: all hosts of a lab have one clock.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A host's events from a time on.
pub(super) async fn events(host: &HostPlan, from_unix_ms: u64) -> Result<Vec<ClusterEvent>> {
    let text = read(host, "/v1/events?follow=false").await?;
    let events = parse_events(&text).with_context(|| format!("{}: /v1/events", host.name))?;
    Ok(events.into_iter().filter(|event| event.unix_ms >= from_unix_ms).collect())
}

/// Waits for an event of a host, from a time on, whose text contains all of `words`; its text.
pub(super) async fn told(host: &HostPlan, from_unix_ms: u64, words: &[&str]) -> Result<String> {
    let what = format!("{} tells \"{}\"", host.name, words.join(" … "));
    wait_for(&what, TOLD_WITHIN, || async {
        let events = events(host, from_unix_ms).await?;
        let found = events.iter().find(|event| words.iter().all(|word| event.text.contains(word)));
        match found {
            Some(event) => Ok(event.text.clone()),
            None => bail!("it told only {:?}", events.iter().map(|event| &event.text).collect::<Vec<_>>()),
        }
    })
    .await
}

/// One of a host's counters or gauges, such as `name{label="value"}`; 0 if it is not there yet.
pub(super) async fn metric(host: &HostPlan, series: &str) -> Result<f64> {
    value_of(&read(host, "/metrics").await?, series)
}

async fn read(host: &HostPlan, path: &str) -> Result<String> {
    let response = api::send(host.api(), Method::GET, path, None, None, api::READ_WITHIN).await?;
    ensure!(response.status.is_success(), "{}: GET {path}: {}", host.name, response.status);
    Ok(String::from_utf8_lossy(&response.body).into_owned())
}

/// The events of a stream of server-sent events.
fn parse_events(text: &str) -> Result<Vec<ClusterEvent>> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// The value of a series in Prometheus' text format.
fn value_of(text: &str, series: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(Ok(0.0), |value| value.trim().parse().with_context(|| format!("{series} {value}")))
}
