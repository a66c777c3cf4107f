//! The prober's loop: sends what is due, collects what comes, reports at each interval.
//!
//! An open model: the schedule does not wait for answers, and latency counts from when a request was due. A
//! stall therefore shows in every request that it delays, and not only in the one that hit it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::alarm::Alarm;
use crate::client::{Client, Progress};
use crate::options::{Plan, Question};
use crate::report::{FailureKind, Line, Summary};
use crate::samples::Sample;
use crate::timeline::{Failure, Outcome, Timeline};

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// As planned.
    Run,
    /// Send nothing new; wait for what is open, each until its time-out.
    Finish,
    /// Give up what is open.
    Abandon,
}

/// Probes as planned and hands each line to `emit`, the summary last.
///
/// # Errors
/// The first error of `emit`, which ends the probe at once. Failed requests are no error.
pub async fn run(
    plan: Plan,
    stop: watch::Receiver<Stop>,
    emit: impl FnMut(&Line) -> io::Result<()>,
) -> anyhow::Result<Summary> {
    run_from(Instant::now(), plan, stop, emit, |_| {}).await
}

/// As [`run`], with the schedule counted from `start`, and each request handed to `observe` once it is over.
///
/// # Errors
/// See [`run`].
pub async fn run_from(
    start: Instant,
    plan: Plan,
    mut stop: watch::Receiver<Stop>,
    mut emit: impl FnMut(&Line) -> io::Result<()>,
    mut observe: impl FnMut(Sample),
) -> anyhow::Result<Summary> {
    let keep = !plan.new_connections;
    let clients = plan.targets.iter().cloned().map(|target| Client::new(target, keep).map(Arc::new));
    let clients: Vec<Arc<Client>> = clients.collect::<Result<_, _>>()?;
    let questions: Vec<Arc<Question>> = plan.questions.iter().cloned().map(Arc::new).collect();
    let alarm = Alarm::new()?;
    let mut timeline = Timeline::new();
    let mut requests: JoinSet<Ended> = JoinSet::new();
    let mut number = 0;
    let mut report_at = plan.report_interval;
    let mut ordered = Stop::Run;
    loop {
        let due = if ordered == Stop::Run { plan.schedule.due(number) } else { None };
        if (due.is_none() && requests.is_empty()) || ordered == Stop::Abandon {
            break;
        }
        tokio::select! {
            changed = stop.changed(), if ordered < Stop::Abandon => {
                // Without anyone left to stop it, it ends.
                ordered = if changed.is_ok() { *stop.borrow_and_update() } else { Stop::Abandon };
            }
            () = sleep_until(start + report_at) => {
                emit(&Line::Interval(timeline.end_interval(start.elapsed())))?;
                report_at = next_report(start.elapsed(), plan.report_interval);
            }
            Some(ended) = requests.join_next(), if !requests.is_empty() => {
                let Ended { number, due, outcome } = ended?;
                let now = start.elapsed();
                timeline.finished(number, &outcome, now);
                let failure = outcome.result.err().map(|failure| failure.kind);
                observe(Sample { due, latency: now.saturating_sub(due), failure });
            }
            woken = alarm.until(start + due.unwrap_or_default()), if due.is_some() => {
                woken?;
                let due = due.unwrap_or_default();
                let (target, question) = plan.assign(number);
                let client = Arc::clone(&clients[target]);
                if timeline.in_flight() < plan.max_in_flight {
                    timeline.sent(number, due, client.url(), start.elapsed());
                    let question = Arc::clone(&questions[question]);
                    let asked = request(client, question, start + due + plan.timeout);
                    requests.spawn(async move { Ended { number, due, outcome: asked.await } });
                } else {
                    let now = start.elapsed();
                    timeline.overrun(due, client.url(), plan.max_in_flight, now);
                    let failure = Some(FailureKind::Overrun);
                    observe(Sample { due, latency: now.saturating_sub(due), failure });
                }
                number += 1;
            }
        }
    }
    let now = start.elapsed();
    let last = timeline.end_interval(now);
    if last.requests + last.ok + last.failed > 0 {
        emit(&Line::Interval(last))?;
    }
    let summary = timeline.summary(now);
    emit(&Line::Summary(summary.clone()))?;
    Ok(summary)
}

/// The next whole multiple of the interval: a late report is not followed by a burst of them.
fn next_report(now: Duration, interval: Duration) -> Duration {
    let nanos = interval.as_nanos();
    let next = (now.as_nanos() / nanos + 1) * nanos;
    Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX))
}

/// A request that is over, as its task hands it back.
struct Ended {
    number: u64,
    due: Duration,
    outcome: Outcome,
}

async fn request(client: Arc<Client>, question: Arc<Question>, deadline: Instant) -> Outcome {
    let mut progress = Progress::default();
    let result = timeout_at(deadline, client.ask(&question, &mut progress)).await;
    let result = result.unwrap_or_else(|_| {
        Err(Failure::new(FailureKind::Timeout, format!("timed out {}", progress.stage.words())))
    });
    Outcome { result, reconnected: progress.reconnected }
}
