//! Keeps the own load balancer's upstream set as the core wants it.
//!
//! Generations are the load balancer's: before the first push to a life of it, its generation is read, and the
//! next one is used. So a manager that restarts goes on counting where its predecessor stopped, and of two
//! managers that believed to be in charge the older would be refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use manager_core::core::LbTarget;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};
use wire::{Generation, PeerService, PutUpstreams, Upstream, UpstreamsView};

use super::client::{Client, Error};
use crate::driver::Handle;
use crate::identity::Token;
use crate::metrics::Metrics;

/// An exchange with a VM on this host takes well under a millisecond, under emulation tens of them.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pauses after a failed push: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What the load balancer should know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Whom to tell; none while there is no load balancer to talk to.
    pub target: Option<LbTarget>,
    /// What to tell.
    pub upstreams: Arc<Vec<Upstream>>,
    /// The generation it last said it has; an older one than was pushed means that it forgot.
    pub reported: Option<u64>,
}

/// What a load balancer has accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Which one, in which life; none before the first answer.
    pub target: Option<LbTarget>,
    /// The generation of its upstream set; 0 if it has none.
    pub generation: u64,
}

/// What was agreed with one life of the load balancer.
struct Session {
    target: LbTarget,
    client: Client,
    generation: u64,
    /// What that generation is; none when only its number is known.
    told: Option<Arc<Vec<Upstream>>>,
}

/// Tells the load balancer what is in `work`, whenever it changes, until the driver is gone. What it accepted last is
/// kept in `accepted`.
pub async fn run(
    mut work: watch::Receiver<Work>,
    accepted: watch::Sender<Accepted>,
    admin_port: u16,
    token: Token,
    driver: Handle,
    metrics: Arc<Metrics>,
) {
    let mut session: Option<Session> = None;
    let mut pause = PAUSE.0;
    let mut failing = false;
    loop {
        let now = work.borrow_and_update().clone();
        let outcome = match now.target {
            Some(target) => {
                if session.as_ref().is_none_or(|session| session.target != target) {
                    session = None;
                }
                let open = match session.take() {
                    Some(session) => Ok(session),
                    None => open(target, admin_port, &token, &driver).await,
                };
                // The driver may have learned something from the load balancer's routes just now.
                let now = work.borrow_and_update().clone();
                match open {
                    Ok(mut open) if now.target.as_ref() == Some(&open.target) => {
                        let told = tell(&mut open, &now).await;
                        let keep =
                            !matches!(&told, Err(error) if error.status() == Some(StatusCode::CONFLICT));
                        let has = Accepted { target: Some(open.target.clone()), generation: open.generation };
                        accepted.send_if_modified(|held| {
                            let changed = *held != has;
                            *held = has;
                            changed
                        });
                        session = keep.then_some(open);
                        told
                    }
                    Ok(_) => continue,
                    Err(error) => Err(error),
                }
            }
            None => Ok(()),
        };
        match outcome {
            Ok(()) => {
                if failing {
                    info!("the load balancer takes pushes again");
                }
                (failing, pause) = (false, PAUSE.0);
                if work.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                metrics.push_failures.with_label_values(&["lb"]).inc();
                if !failing {
                    warn!(%error, "cannot push upstreams to the load balancer; trying again");
                }
                failing = true;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    changed = work.changed() => if changed.is_err() { return },
                }
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Learns what the load balancer has, and lets the driver learn from it too.
async fn open(target: LbTarget, admin_port: u16, token: &Token, driver: &Handle) -> Result<Session, Error> {
    let addr = SocketAddr::from((target.addr, admin_port));
    let client = Client::new(addr, Some(token.clone()), EXCHANGE_TIMEOUT);
    let view: UpstreamsView = client.get("/v1/upstreams").await?;
    let service = |status: &wire::UpstreamStatus| PeerService {
        id: status.upstream.id.clone(),
        incarnation: status.upstream.incarnation,
        addr: status.upstream.addr,
        state: status.upstream.state,
    };
    let (done, learned) = oneshot::channel();
    driver.lb_routes(view.upstreams.iter().map(service).collect(), done).await;
    let _ = learned.await;
    Ok(Session { target, client, generation: view.generation, told: None })
}

async fn tell(session: &mut Session, work: &Work) -> Result<(), Error> {
    let forgot = work.reported.is_some_and(|reported| reported < session.generation);
    let same = session.told.as_ref() == Some(&work.upstreams);
    if same && !forgot {
        return Ok(());
    }
    let generation = if same { session.generation } else { session.generation + 1 };
    let body = PutUpstreams { generation, upstreams: work.upstreams.to_vec() };
    let answer: Generation = session.client.send(Method::PUT, "/v1/upstreams", &body).await?;
    session.generation = answer.generation;
    session.told = Some(Arc::clone(&work.upstreams));
    info!(generation, upstreams = work.upstreams.len(), lb = %session.target.id, "upstreams pushed");
    Ok(())
}

#[cfg(test)]
mod tests;
