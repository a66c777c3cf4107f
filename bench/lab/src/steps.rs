//! Progress, one line per step with its duration, and waiting for a state with a limit.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use tokio::time::sleep;

/// Prints a line. A reader that has gone away must not keep a lab from being removed, so errors are let go;
/// false after one.
pub(crate) fn say(line: impl AsRef<str>) -> bool {
    let mut out = stdout().lock();
    writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush()).is_ok()
}

/// Announces, times and names a step; an error carries the step's name.
pub(crate) async fn step<T>(name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    if stdout().is_terminal() {
        let mut out = stdout().lock();
        let _ = write!(out, "        …  {name}\r").and_then(|()| out.flush());
    }
    let start = Instant::now();
    let result = work.await.with_context(|| name.to_owned());
    let mark = if result.is_ok() { "" } else { "  FAILED" };
    say(format!("{}  {name}{mark}", seconds(start.elapsed())));
    result
}

/// `  1.2 s`, of constant width.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:>7.1} s", duration.as_secs_f64())
}

/// An error that no waiting will cure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Hopeless(pub(crate) String);

/// Looks again and again until `look` finds what it looks for. Its last error is in the time-out's; a [`Hopeless`]
/// one ends the wait at once.
pub(crate) async fn wait_for<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(error) if error.is::<Hopeless>() => return Err(error.context(what.to_owned())),
            Err(error) if Instant::now() > deadline => {
                return Err(anyhow!("{error:#}").context(format!("{what}: not within {} s", limit.as_secs())));
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

#[cfg(test)]
mod tests;
