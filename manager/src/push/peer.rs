//! Tells one peer what this node serves: at once when it changes, and again every so often, because a peer
//! that was away or has restarted does not know what it missed.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::sync::watch;
use tracing::{info, warn};
use wire::{PeerAck, PeerServices};

use super::client::Client;
use crate::driver::Handle;
use crate::metrics::Metrics;

/// Between two accounts when nothing changes.
const EVERY: Duration = Duration::from_secs(2);
/// A peer on the LAN answers in milliseconds; one that takes longer is asked again.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pauses after a failure: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), EVERY);

/// Tells `peer` what is in `account`, until the driver is gone.
pub async fn run(
    node: String,
    peer: String,
    client: Client,
    mut account: watch::Receiver<Arc<PeerServices>>,
    driver: Handle,
    metrics: Arc<Metrics>,
) {
    let path = format!("/v1/peers/{node}/services");
    let mut pause = PAUSE.0;
    // None before the first exchange, so that the first outcome is logged whichever it is.
    let mut reachable: Option<bool> = None;
    loop {
        let now = Arc::clone(&account.borrow_and_update());
        let wait = match client.send::<PeerAck>(Method::PUT, &path, &*now).await {
            Ok(ack) => {
                if reachable != Some(true) {
                    info!(peer, boot = ack.boot, revision = ack.revision, "peer takes our account");
                }
                if (ack.boot, ack.revision) > (now.boot, now.revision) {
                    // The clock was wrong at an earlier start, and the disk has lost its number.
                    warn!(
                        peer,
                        held = ack.boot,
                        ours = now.boot,
                        "peer holds a later account of us; outbidding it"
                    );
                    driver.outbid(ack.boot).await;
                }
                reachable = Some(true);
                pause = PAUSE.0;
                EVERY
            }
            Err(error) => {
                metrics.push_failures.with_label_values(&["peer"]).inc();
                if reachable != Some(false) {
                    warn!(peer, %error, "peer does not take our account; trying again");
                }
                reachable = Some(false);
                let wait = pause;
                pause = (pause * 2).min(PAUSE.1);
                wait
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = account.changed() => if changed.is_err() { return },
        }
    }
}
