//! Runs wrk and reads what it prints.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};

use super::stand::{PATH, Stand};
use crate::rig::tools::WRK;

/// What wrk saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Answers.
    pub(super) requests: u64,
    /// Answers with a status that is not 2xx or 3xx, connections that failed, and requests that timed out.
    pub(super) failed: u64,
}

/// Drives `addr` hard.
pub(super) fn drive(stand: &Stand, addr: SocketAddr, connections: u32, seconds: u32) -> Result<Seen> {
    let wrk = WRK.find().context("wrk is not installed")?;
    let url = format!("http://{addr}{PATH}");
    let (connections, duration) = (format!("-c{connections}"), format!("-d{seconds}s"));
    let output = stand.namespace.enter(|| {
        if let Some(processors) = stand.others {
            super::load::bind(processors)?;
        }
        // Children inherit the thread's namespace and processors.
        let mut command = std::process::Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(wrk).args(["-t1", &connections, &duration, &url]);
        command.output().context("cannot run wrk")
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    fs::write(stand.dir.path().join("wrk.log"), &output.stdout)?;
    if !output.status.success() {
        bail!("wrk: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    let seen = parse(&text).with_context(|| format!("wrk printed something else than expected: {text}"))?;
    ensure!(seen.requests > 0, "wrk got no answer from {addr}");
    Ok(seen)
}

/// The numbers in wrk's summary; none if there is no count of requests.
fn parse(text: &str) -> Option<Seen> {
    let mut requests = None;
    let mut failed = 0;
    for line in text.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in ") {
            requests = Some(count.parse().ok()?);
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            failed += count.trim().parse::<u64>().ok()?;
        } else if let Some(counts) = line.strip_prefix("Socket errors:") {
            for count in counts.split(',') {
                failed += count.split_whitespace().last()?.parse::<u64>().ok()?;
            }
        }
    }
    Some(Seen { requests: requests?, failed })
}

#[cfg(test)]
mod tests {
    use super::{Seen, parse};

    const CALM: &str = "Running 2s test @ http://127.0.0.1:8000/int
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.50ms  300.00us  10.00ms   90.00%
    Req/Sec    40.00k     1.00k   42.00k    70.00%
  80123 requests in 2.00s, 15.00MB read
Requests/sec:  40061.50
Transfer/sec:      7.50MB
";

    #[test]
    fn a_calm_run() {
        assert_eq!(parse(CALM), Some(Seen { requests: 80_123, failed: 0 }));
    }

    #[test]
    fn errors_are_added_up() {
        let text = format!(
            "{CALM}  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 50000\n"
        );
        assert_eq!(parse(&text), Some(Seen { requests: 80_123, failed: 54_321 }));
    }

    #[test]
    fn anything_else_is_no_result() {
        assert_eq!(parse("unable to connect to 127.0.0.1:1 Connection refused\n"), None);
        assert_eq!(parse("  many requests in 2.00s\n"), None);
    }
}
