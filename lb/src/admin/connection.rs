//! One connection to the admin API.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// What a request knows of the connection it came on.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    /// Ends the connection at once, whatever it is waiting for.
    pub(super) cut: CancellationToken,
}

/// Serves a connection until it ends, or a handler cuts it.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, head_timeout: Duration) {
    let cut = CancellationToken::new();
    let connection = Connection { peer, cut: cut.clone() };
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        router.call(request)
    });
    // Events are small and each of them matters now.
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!("admin client gone at once: {e}");
        return;
    }
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = cut.cancelled() => {}
        result = served => if let Err(e) = result {
            tracing::debug!("admin connection: {e}");
        },
    }
}
