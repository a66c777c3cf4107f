//! Asks the own load balancer what a client would ask: a connection of its own each time, and an answer.
//!
//! While this host has the address, it is asked through the address itself, so that the route counts too; before that,
//! at its own. Any HTTP answer will do: the load balancer's health is not that of the services behind it. Checks are
//! started at a fixed pace and overlap, so that one that waits does not delay the verdict of the next, and each waits so
//! long that a late answer is still heard. What to make of them is `judge`'s part.

mod judge;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use manager_core::core::LbTarget;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use self::judge::{Broken, Failure, GIVE_UP, Judge};
use super::kernel::Work;
use super::{Checks, Handle, LbStatus};
use crate::driver;

pub(super) use self::judge::Verdict;

/// Checks that may be under way.
const OPEN: usize = 64;

/// What is checked, and how.
pub(super) struct Checked {
    pub(super) checks: Checks,
    pub(super) vip: Ipv4Addr,
    pub(super) port: u16,
    pub(super) lb: watch::Receiver<LbStatus>,
    pub(super) kernel: watch::Receiver<Work>,
    pub(super) driver: driver::Handle,
}

/// What is judged: one life of a load balancer, asked at one address.
type Subject = (LbTarget, SocketAddr);

/// Checks until the loop is gone.
pub(super) async fn run(checked: Checked, vip: Handle) {
    let Checked { checks, vip: address, port, mut lb, kernel, driver } = checked;
    let mut due = interval(checks.interval);
    // After a pause there is nothing to catch up with.
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open: JoinSet<(Subject, u64, Result<(), Failure>)> = JoinSet::new();
    let (mut judge, mut subject): (_, Option<Subject>) = (Judge::new(checks), None);
    let mut broken = Broken::default();
    let mut number = 0;
    loop {
        let silence = judge.next_deadline();
        let verdict = tokio::select! {
            // Answers first: they are what the silence is judged by.
            biased;
            Some(ended) = open.join_next(), if !open.is_empty() => {
                let Ok((asked, number, outcome)) = ended else { continue };
                if subject.as_ref() != Some(&asked) { continue }
                judge.ends(number, Instant::now(), outcome)
            }
            changed = lb.changed() => {
                if changed.is_err() { return }
                // A program that was killed refuses connections long before its VM has reported its end.
                if lb.borrow_and_update().suspect { due.reset_immediately() }
                continue
            }
            () = sleep_until(silence.unwrap_or_else(Instant::now)), if silence.is_some() => {
                let at = subject.as_ref().map(|(_, at)| *at);
                at.and_then(|at| judge.silent(Instant::now(), at))
            }
            _ = due.tick() => {
                let target = lb.borrow().target.clone();
                if subject.as_ref().map(|(judged, _)| judged) != target.as_ref() {
                    broken = Broken::default();
                }
                // The kernel's part first follows the machine's wish a moment later; a check too early fails alone.
                let ours = |target: &LbTarget| {
                    let work = kernel.borrow();
                    work.net.answer && work.lb == Some(target.addr)
                };
                let asked = target.map(|target| {
                    let at = if ours(&target) { address } else { target.addr };
                    (target, SocketAddr::from((at, port)))
                });
                if subject != asked {
                    open.abort_all();
                    (judge, subject) = (Judge::new(checks), asked);
                }
                if let Some(asked) = subject.clone().filter(|_| open.len() < OPEN) {
                    number += 1;
                    judge.begins(number, Instant::now());
                    let patience = checks.timeout.max(GIVE_UP);
                    open.spawn(async move {
                        let outcome = ask(asked.1, patience).await;
                        (asked, number, outcome)
                    });
                }
                continue;
            }
        };
        if let (Some(verdict), Some((target, _))) = (verdict, &subject) {
            if let Some(why) = broken.for_too_long(Instant::now(), &verdict) {
                driver.lb_mute(target.id.clone(), target.incarnation, why).await;
            }
            vip.checked(target.clone(), verdict).await;
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
