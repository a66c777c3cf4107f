//! `manager events`: what happened, a line each, and what happens.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use wire::ClusterEvent;

use crate::stream::{Error, Stream};

/// The manager answers at once or not at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Managers restart and end long connections: a follower comes back.
const AGAIN: Duration = Duration::from_millis(500);

/// Prints the events of the manager at `addr`; with `follow` until it is stopped.
///
/// # Errors
/// If the manager does not answer, or nothing can be written.
pub(super) async fn show(addr: SocketAddr, follow: bool, json: bool) -> Result<()> {
    let mut last = 0;
    let mut connected = false;
    loop {
        let path = format!("/v1/events?follow={follow}&after={last}");
        let end = match Stream::<ClusterEvent>::open(addr, &path, ANSWER_TIMEOUT).await {
            Ok(mut stream) => {
                connected = true;
                loop {
                    match stream.next().await {
                        Ok(event) => {
                            last = event.number;
                            if !print(&event, json)? {
                                return Ok(());
                            }
                        }
                        Err(error) => break error,
                    }
                }
            }
            // A manager that has restarted counts anew.
            Err(error) if connected && follow => {
                last = 0;
                error
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read the events of {addr}")),
        };
        match end {
            Error::Closed if !follow => return Ok(()),
            error if !follow => return Err(error.into()),
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// False when nobody reads any more.
fn print(event: &ClusterEvent, json: bool) -> Result<bool> {
    let ClusterEvent { unix_ms, node, subject, text, .. } = event;
    let line = if json {
        serde_json::to_string(event)?
    } else {
        format!("{} {node} {subject}: {text}", clock(*unix_ms))
    };
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => written.context("cannot write").map(|()| true),
    }
}

/// The time of day, UTC.
fn clock(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03}Z", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_time_of_day_is_utc() {
        assert_eq!(super::clock(1_700_000_000_042), "22:13:20.042Z");
    }
}
