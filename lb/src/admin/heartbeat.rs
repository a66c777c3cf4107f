//! `GET /heartbeat`: server-sent events, at once, on every change and at every interval.
//!
//! Each reader has a task and a short queue of its own. One that does not read fills its queue and is cut off,
//! so that it costs nobody anything.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Extension;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::body::Frame;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use wire::{Heartbeat, Load};

use super::connection::Connection;
use super::{Api, ApiError};

/// Events that may wait for one reader, beyond what the kernel holds for it.
const QUEUE: usize = 16;

/// `GET /heartbeat`.
pub(super) async fn stream(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Connection>,
) -> Result<impl IntoResponse, ApiError> {
    let Ok(place) = Arc::clone(&api.readers).try_acquire_owned() else {
        return Err(ApiError::too_many_readers());
    };
    let (events, queue) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        beat(api, events, connection).await;
        drop(place);
    });
    Ok(([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")], Body::new(Events(queue))))
}

async fn beat(api: Arc<Api>, events: mpsc::Sender<Bytes>, connection: Connection) {
    let mut generations = api.pool.generations();
    let mut status = api.status.clone();
    let mut ticks = interval(api.heartbeat_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // The first tick is at once. A change whose sender is gone means the end of the process.
        tokio::select! {
            _ = ticks.tick() => {}
            changed = generations.changed() => if changed.is_err() { return },
            changed = status.changed() => if changed.is_err() { return },
            () = events.closed() => return,
        }
        match events.try_send(event(&api)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!(reader = %connection.peer, "heartbeat reader dropped: it does not read");
                api.metrics.heartbeat_drops.inc();
                connection.cut.cancel();
                return;
            }
        }
    }
}

fn event(api: &Api) -> Bytes {
    let mut load = Load {
        in_flight: u64::try_from(api.metrics.in_flight.get()).unwrap_or(0),
        requests_total: api.metrics.requests_total(),
        cpu_ms: cpu_ms(),
        ..Load::default()
    };
    api.metrics.fill(&mut load);
    let heartbeat = Heartbeat {
        status: *api.status.borrow(),
        load: Some(load),
        generation: Some(*api.pool.generations().borrow()),
    };
    // A derived serialization of numbers cannot fail.
    let json = serde_json::to_string(&heartbeat).unwrap_or_default();
    Bytes::from(format!("data: {json}\n\n"))
}

/// Processor time of the process so far.
fn cpu_ms() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec * 1000 + time.tv_nsec / 1_000_000).unwrap_or(0)
}

/// A body that is a queue of events.
struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}
