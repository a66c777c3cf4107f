//! Serves the API, with a limit to everything a client can hold on to.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::StatusCode;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use wire::ErrorBody;

use super::places::{Caller, Full, Place, Places};

/// From a connection's start, or the answer before, to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole connection; clients open another one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// For requests that are being answered when the manager stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two lines of log about refused connections.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Serves `router` on `listener`, to those who find one of `places`, until `stop` is cancelled; answers under way may
/// finish.
pub async fn serve(listener: TcpListener, router: Router, places: Places, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let mut warned: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: let some connections end first.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        match places.connection(from.ip()) {
            Ok(place) => {
                let caller = Caller { places: places.clone(), addr: from.ip() };
                connections.spawn(converse(socket, router.clone(), caller, place, stop.clone()));
            }
            Err(full) => {
                refuse(&socket, full);
                if warned.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
                    warned = Some(Instant::now());
                    warn!(%from, %full, "a connection is refused");
                }
            }
        }
    }
    connections.close();
    let _ = tokio::time::timeout(STOP_TIMEOUT, connections.wait()).await;
}

async fn converse(socket: TcpStream, router: Router, caller: Caller, place: Place, stop: CancellationToken) {
    let routes = Arc::new(TowerToHyperService::new(router));
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(caller.clone());
        routes.call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = tokio::time::sleep(CONNECTION_TIMEOUT) => Ok(()),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "connection ended");
    }
    drop(place);
}

/// Says why, as far as that can be done without waiting for the client.
fn refuse(socket: &TcpStream, full: Full) {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let error = ErrorBody::new("too_many_connections", format!("connections: {full}"));
    let body = serde_json::to_string(&error).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = socket.try_write(answer.as_bytes());
}

#[cfg(test)]
mod tests;
