//! The data path: what all requests share, and the way of one of them through it.
//!
//! A request is an [`exchange`]: attempts (`attempt`), each at one `upstream`, until a response is the client's and
//! is passed on (`relay`) to the `downstream` side. Both sides speak HTTP/1.1 or HTTP/2. What to do when is decided
//! in `flow`, `policy` and `pool`, which know none of these types.

mod answer;
mod attempt;
mod body;
mod downstream;
mod exchange;
mod h2_body;
mod h2_head;
mod message;
mod rate;
mod relay;
mod rewrite;
mod tunnel;
mod upload;
mod upstream;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use http::request::Parts;

pub(crate) use self::answer::Answer;
pub(crate) use self::downstream::{Downstream, H1Client, H2Client};
pub(crate) use self::exchange::{After, Begin, Exchange, Peer, Scratch, refuse, serve};
use self::rate::ClientRate;
pub(crate) use self::upstream::H2Handle;
use crate::access_log::{self, AccessLog, Record};
use crate::config::{Config, HashKey};
use crate::flow::Made;
use crate::http1::{Invalid, Known, RequestHead, Version};
use crate::metrics::{Metrics, Outcome};
use crate::policy::retry::Failure;
use crate::policy::select::Balance;
use crate::pool::Pool;

/// What all requests share.
pub(crate) struct Proxy {
    config: ArcSwap<Config>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) metrics: Arc<Metrics>,
    /// Requests that wait for an upstream.
    queued: AtomicUsize,
    rate: ClientRate,
    access_log: Option<AccessLog>,
}

impl Proxy {
    pub(crate) fn new(
        config: Config,
        pool: Arc<Pool>,
        metrics: Arc<Metrics>,
        access_log: Option<AccessLog>,
    ) -> Self {
        Self {
            queued: AtomicUsize::new(0),
            rate: ClientRate::default(),
            config: ArcSwap::from_pointee(config),
            pool,
            metrics,
            access_log,
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// From the next request on this configuration is in force.
    pub(crate) fn reconfigure(&self, config: Config) {
        self.config.store(Arc::new(config));
    }

    /// The access log, if there is one.
    pub(crate) const fn access_log(&self) -> Option<&AccessLog> {
        self.access_log.as_ref()
    }

    /// A place among the requests that wait; none when so many do.
    fn queue_place(&self, limit: usize) -> Option<QueuePlace<'_>> {
        let before = self.queued.fetch_add(1, Ordering::Relaxed);
        self.metrics.queued.inc();
        let place = QueuePlace(self);
        (before < limit).then_some(place)
    }

    /// Counts a request of this client. True when it had more than `limit` within the second.
    fn is_over_rate(&self, client: IpAddr, limit: u64) -> bool {
        self.rate.count(client) > limit
    }

    fn log(&self, exchange: &Exchange<'_, '_>, status: u16, duration: Duration) {
        let Some(log) = &self.access_log else { return };
        let attempt = |made: &Made| access_log::Attempt {
            upstream: made.addr,
            outcome: match made.outcome {
                Outcome::Ok => access_log::Outcome::Status(status),
                Outcome::Failed(Failure::Status(status)) => access_log::Outcome::Status(status),
                Outcome::Failed(failure) => access_log::Outcome::Failed(failure.as_str()),
                Outcome::Abandoned | Outcome::Unmade => access_log::Outcome::Failed("abandoned"),
            },
            duration: made.duration,
        };
        let attempts: Vec<access_log::Attempt> = exchange.flow.made().iter().map(attempt).collect();
        let request = exchange.request;
        log.log(&Record {
            time: SystemTime::now() - duration,
            client: exchange.peer.ip,
            method: request.method_name(),
            target: request.target(),
            version: match request.version() {
                Version::Http10 => http::Version::HTTP_10,
                Version::Http11 => http::Version::HTTP_11,
                Version::Http2 => http::Version::HTTP_2,
            },
            host: request.authority(),
            referer: request.fields().find(b"referer"),
            user_agent: request.fields().find(b"user-agent"),
            status,
            bytes: exchange.sent_bytes,
            duration,
            attempts: &attempts,
            request_id: exchange.request_id.as_bytes(),
            tls: exchange.peer.tls,
            end: exchange.ending,
        });
    }
}

/// Reads the head of an HTTP/2 request.
pub(crate) fn read_h2_request(head: &mut RequestHead, parts: &Parts) -> Result<(), Invalid> {
    h2_head::read_request(head, parts)
}

struct QueuePlace<'a>(&'a Proxy);

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.queued.dec();
    }
}

/// Counts the request as being served while it lives.
struct InFlight<'a>(&'a Metrics);

impl<'a> InFlight<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.begin();
        metrics.in_flight.inc();
        Self(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// What of a request decides where it goes, into `key`. Empty unless that matters, and when the request has no such
/// part.
fn hash_key(key: &mut Vec<u8>, config: &Config, request: &RequestHead, client: IpAddr) {
    key.clear();
    if config.balance != Balance::Hash {
        return;
    }
    match &config.hash_key {
        HashKey::Uri => key.extend_from_slice(request.path_and_query()),
        HashKey::Client => match client.to_canonical() {
            IpAddr::V4(addr) => key.extend_from_slice(&addr.octets()),
            IpAddr::V6(addr) => key.extend_from_slice(&addr.octets()),
        },
        HashKey::Header(name) => {
            key.extend_from_slice(request.fields().find(name.as_str().as_bytes()).unwrap_or_default());
        }
        HashKey::Cookie(name) => key.extend_from_slice(cookie(request, name.as_bytes()).unwrap_or_default()),
    }
}

/// The value of a cookie: RFC 6265, section 5.4.
fn cookie<'r>(request: &'r RequestHead, name: &[u8]) -> Option<&'r [u8]> {
    let pairs = request.fields().values(Known::Cookie).flat_map(|value| value.split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests;
