//! A load balancer in this process, upstreams that do as they are told, and a client.

mod balancer;
mod client;
mod upstream;

use std::time::Duration;

pub(crate) use self::balancer::{Balancer, TOKEN, load};
pub(crate) use self::client::{Answer, Burst, Raw, burst, http, send};
pub(crate) use self::upstream::{Does, Then, Upstream};

/// Waits until something is so. That it takes for ever is the failure; how long it takes is not looked at.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(what: &str, mut so: F) {
    let wait = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "still not: {what}");
}
