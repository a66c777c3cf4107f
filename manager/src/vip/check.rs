//! Asks the own load balancer what a client would ask: a connection of its own each time, and an answer.
//!
//! While this host has the address, it is asked through the address itself, so that the route counts too; before that,
//! at its own. Any HTTP answer will do: the load balancer's health is not that of the services behind it. Checks are
//! started at a fixed pace and overlap, so that one that waits does not delay the verdict of the next.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use manager_core::core::LbTarget;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::kernel::Work;
use super::{Checks, Handle, LbStatus};
use crate::driver;

/// Checks that may be under way.
const OPEN: usize = 16;

/// A load balancer that answers no check for this long is replaced, whatever its heartbeat says.
const GIVE_UP: Duration = Duration::from_secs(5);

/// What the checks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answers.
    Fit,
    /// It does not.
    Broken(String),
}

/// Draws the verdict from the checks' outcomes, in whatever order they end. Pure.
#[derive(Debug, Default)]
struct Judge {
    /// The latest check that was answered, by the order of their starts.
    answered: Option<u64>,
    /// Those after it that were not.
    failed: BTreeSet<u64>,
}

impl Judge {
    /// The outcome of check `number`; a verdict, if there is enough to go by.
    fn take(&mut self, number: u64, outcome: Result<(), Failure>, limit: u32) -> Option<Verdict> {
        match outcome {
            Ok(()) => {
                if self.answered.is_none_or(|last| last < number) {
                    self.answered = Some(number);
                    self.failed.retain(|failed| *failed > number);
                }
                self.failed.is_empty().then_some(Verdict::Fit)
            }
            Err(_) if self.answered.is_some_and(|last| last > number) => None,
            Err(failure) => {
                self.failed.insert(number);
                if self.failed.len() > limit as usize {
                    self.failed.pop_first();
                }
                let enough = failure.is_conclusive || self.failed.len() >= limit as usize;
                enough.then_some(Verdict::Broken(failure.words))
            }
        }
    }
}

/// How long one life of a load balancer has been broken by its checks. Pure.
#[derive(Debug, Default)]
struct Broken {
    since: Option<Instant>,
    said: bool,
}

impl Broken {
    /// Why it must be replaced, once: its heartbeat goes on, and still it serves nobody.
    fn for_too_long(&mut self, now: Instant, verdict: &Verdict) -> Option<String> {
        let Verdict::Broken(why) = verdict else {
            *self = Self::default();
            return None;
        };
        let since = *self.since.get_or_insert(now);
        if self.said || now.duration_since(since) < GIVE_UP {
            return None;
        }
        self.said = true;
        Some(format!("serves nobody for {} s: {why}", GIVE_UP.as_secs()))
    }
}

#[derive(Debug)]
struct Failure {
    words: String,
    /// Nobody listens there: no other check will find anything else.
    is_conclusive: bool,
}

/// What is checked, and how.
pub(super) struct Checked {
    pub(super) checks: Checks,
    pub(super) vip: Ipv4Addr,
    pub(super) port: u16,
    pub(super) lb: watch::Receiver<LbStatus>,
    pub(super) kernel: watch::Receiver<Work>,
    pub(super) driver: driver::Handle,
}

/// Checks until the loop is gone.
pub(super) async fn run(checked: Checked, vip: Handle) {
    let Checked { checks, vip: address, port, mut lb, kernel, driver } = checked;
    let mut due = interval(checks.interval);
    // After a pause there is nothing to catch up with.
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open: JoinSet<(LbTarget, u64, Result<(), Failure>)> = JoinSet::new();
    let (mut judge, mut judged) = (Judge::default(), None);
    let mut broken = Broken::default();
    let mut number = 0;
    loop {
        tokio::select! {
            changed = lb.changed() => if changed.is_err() { return },
            _ = due.tick() => {
                let target = lb.borrow_and_update().target.clone();
                if judged != target {
                    (judge, judged) = (Judge::default(), target.clone());
                    broken = Broken::default();
                }
                let Some(target) = target.filter(|_| open.len() < OPEN) else { continue };
                number += 1;
                // The kernel's part first follows the machine's wish a moment later; a check too early fails alone.
                let ours = kernel.borrow().net.answer && kernel.borrow().lb == Some(target.addr);
                let at = SocketAddr::from((if ours { address } else { target.addr }, port));
                open.spawn(async move { (target, number, ask(at, checks.timeout).await) });
            }
            Some(ended) = open.join_next(), if !open.is_empty() => {
                let Ok((target, number, outcome)) = ended else { continue };
                if judged.as_ref() == Some(&target)
                    && let Some(verdict) = judge.take(number, outcome, checks.failures)
                {
                    if let Some(why) = broken.for_too_long(Instant::now(), &verdict) {
                        driver.lb_mute(target.id.clone(), target.incarnation, why).await;
                    }
                    vip.checked(target, verdict).await;
                }
            }
        }
    }
}

/// One question, as a client would ask it.
async fn ask(at: SocketAddr, limit: Duration) -> Result<(), Failure> {
    let exchange = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        // A path that the load balancer answers by itself.
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0_u8; 7];
        stream.read_exact(&mut head).await?;
        if head != *b"HTTP/1." {
            return Err(std::io::Error::other("what it answers is not HTTP"));
        }
        // Until it closes: then the connection waits for its last packets there and not here.
        tokio::io::copy(&mut stream.take(16_384), &mut tokio::io::sink()).await?;
        Ok(())
    };
    match timeout(limit, exchange).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let is_conclusive = error.kind() == std::io::ErrorKind::ConnectionRefused;
            Err(Failure { words: format!("asked at {at}: {error}"), is_conclusive })
        }
        Err(_) => {
            let words = format!("asked at {at}: no answer within {} ms", limit.as_millis());
            Err(Failure { words, is_conclusive: false })
        }
    }
}

#[cfg(test)]
mod tests;
