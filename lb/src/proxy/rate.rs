//! How many requests a client made within the second.
//!
//! It refuses to keep a table of clients, which an attacker could fill: requests are counted in a count-min sketch
//! (Cormode and Muthukrishnan, 2005) of fixed size. Nobody is counted too low. Who shares all counters with others
//! is counted too high: in a second with N requests of all clients, by more than N e / 65536 for at most one
//! client in 54 (e^-4), so by none to speak of below some 20,000 requests per second.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use pingora_limits::rate::Rate;

const HASHES: usize = 4;
const COUNTERS: usize = 1 << 16;

/// Requests by client. The counters take 4 MiB from the first request that is counted.
#[derive(Default)]
pub(super) struct ClientRate(OnceLock<Rate>);

impl ClientRate {
    /// Counts a request. Answers how many this client made in the present second, this one included.
    pub(super) fn count(&self, client: IpAddr) -> u64 {
        let rate =
            self.0.get_or_init(|| Rate::new_with_estimator_config(Duration::from_secs(1), HASHES, COUNTERS));
        u64::try_from(rate.observe(&key(client), 1)).unwrap_or(u64::MAX)
    }
}

/// Who is one client. Whoever has an IPv6 address has all of its network of 64 bits (RFC 6177).
fn key(client: IpAddr) -> (bool, u64) {
    match client.to_canonical() {
        IpAddr::V4(addr) => (false, u32::from(addr).into()),
        IpAddr::V6(addr) => (true, (addr.to_bits() >> 64) as u64),
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
