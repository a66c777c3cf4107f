//! `/v1/events`: what happens on this node, as it happens (server-sent events).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use wire::ClusterEvent;

use super::places::{Caller, Full};
use super::{ApiError, Context};

/// A reader must be able to tell a quiet node from a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only events with a greater number.
    #[serde(default)]
    after: u64,
    /// Go on with what happens from now on.
    #[serde(default = "yes")]
    follow: bool,
}

const fn yes() -> bool {
    true
}

/// `GET /v1/events?after=N&follow=false`.
pub(super) async fn stream(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let Query(Which { after, follow }) = which
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "invalid_parameter", error.body_text()))?;
    let place = caller.stream()?;
    let (kept, news) = context.journal.read();
    let kept = stream::iter(kept.into_iter().filter(move |event| event.number > after));
    let coming = stream::unfold(follow.then_some(news), async |news| {
        let mut news = news?;
        loop {
            match news.recv().await {
                Ok(event) => return Some((event, Some(news))),
                // The numbers show the gap.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let events = kept.chain(coming).map(move |event| {
        // Held for as long as the stream is.
        let _ = &place;
        Ok(encode(&event))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl From<Full> for ApiError {
    fn from(full: Full) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", format!("streams of events: {full}"))
    }
}

fn encode(event: &ClusterEvent) -> Event {
    let id = event.number.to_string();
    Event::default().id(id).json_data(event).unwrap_or_default()
}
