//! One connection to the admin API.

use std::future::Future;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::stream::AdminStream;
use crate::config;

/// What a request knows of the connection it came on.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    /// Ends the connection at once, whatever it is waiting for.
    pub(super) cut: CancellationToken,
}

/// Serves a connection until it ends, or a handler cuts it.
pub(super) fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    config: &config::Admin,
) -> impl Future<Output = ()> + Send + use<> {
    let head_timeout = config.read_timeout_ms.duration();
    let write_timeout = config.write_timeout_ms.duration();
    async move {
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
            .serve_connection(TokioIo::new(AdminStream::new(stream, write_timeout)), service);
        tokio::select! {
            () = cut.cancelled() => {}
            result = served => if let Err(e) = result {
                tracing::debug!("admin connection: {e}");
            },
        }
    }
}
