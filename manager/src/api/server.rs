//! Serves the API, with a limit to everything a client can hold on to.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Connections at once; further ones wait in the listener's backlog.
const CONNECTIONS: usize = 256;
/// From a connection's start, or the answer before, to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A whole connection; clients open another one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// For requests that are being answered when the manager stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves `router` on `listener` until `stop` is cancelled; answers under way may finish.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        let (place, socket) = match accepted {
            (place, Ok((socket, _))) => (place, socket),
            (_, Err(error)) => {
                // Out of descriptors, most likely: let some connections end first.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let stop = stop.clone();
        connections.spawn(async move {
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
        });
    }
    connections.close();
    let _ = tokio::time::timeout(STOP_TIMEOUT, connections.wait()).await;
}
