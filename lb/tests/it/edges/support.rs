//! Both ends of the load balancer in the hands of a test: bytes, HTTP/2 streams, HTTP/2 frames.
//!
//! Whatever is waited for here has a time-out that only a failure meets.

mod frames;
mod h2;
mod tls;
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};

pub(crate) use self::frames::{END_STREAM, Frame, Frames, kind};
pub(crate) use self::h2::{H2Client, H2Server, body_of, head_of, refuse_stream, send_all};
pub(crate) use self::tls::{Files, connect as connect_tls, connect_on as connect_tls_on};
pub(crate) use self::wire::{Message, Wire};
use super::super::support::Balancer;

/// No test waits for longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What comes in time; fails when it does not.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// An upstream whose connections the test serves.
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    name: &'static str,
    listener: TcpListener,
}

impl Backend {
    pub(crate) fn new(name: &'static str) -> Self {
        Self::with(name, |_| {})
    }

    /// With other options of its sockets.
    pub(crate) fn with(name: &'static str, options: impl FnOnce(&TcpSocket)) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        options(&socket);
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1024).unwrap();
        Self { addr: listener.local_addr().unwrap(), name, listener }
    }

    pub(crate) fn json(&self) -> Value {
        json!({"id": self.name, "incarnation": 1, "addr": self.addr})
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Wire {
        let (stream, _) = soon("a connection to the upstream", self.listener.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Wire::new(stream)
    }

    /// Whether somebody has connected. Fails when that connection has, by its end, brought a byte.
    pub(crate) async fn is_asked_and_silent(&self) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(accepted) = self.listener.poll_accept(&mut cx) else { return false };
        let mut wire = Wire::new(accepted.unwrap().0);
        wire.ends().await;
        true
    }

    /// Whether somebody has connected and is not accepted yet.
    pub(crate) fn is_asked(&self) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        self.listener.poll_accept(&mut cx).is_ready()
    }
}

/// A load balancer with one upstream, which it never ejects, and for which no request waits.
pub(crate) async fn pair(tables: &str) -> (Balancer, Backend) {
    let backend = Backend::new("a");
    let lb = balancer(tables).await;
    lb.set_json(1, vec![backend.json()]).await;
    (lb, backend)
}

/// A load balancer of this kind without an upstream.
pub(crate) async fn balancer(tables: &str) -> Balancer {
    let upstream = "[upstream]\nmax_fails = 0\n";
    let tables = if tables.contains("[upstream]\n") {
        tables.replacen("[upstream]\n", upstream, 1)
    } else {
        format!("{upstream}{tables}")
    };
    Balancer::start("queue_ms = 0\n", &tables).await
}
