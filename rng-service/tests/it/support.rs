//! A running service, and clients that do exactly what they are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use prometheus::Registry;
use rng_service::{Config, Drained};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wire::{ErrorBody, Heartbeat};

/// A test that waits longer than this for a state has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test instead of waiting for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("no {what} in {PATIENCE:?}"))
}

pub(crate) struct Service {
    pub(crate) addr: SocketAddr,
    registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Drained>,
}

impl Service {
    /// Starts with the defaults changed by `toml`.
    pub(crate) async fn start(toml: &str) -> Self {
        let config = Config::parse(&format!("instance = \"host1/svc-11\"\n{toml}"), "test").expect("valid");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let registry = Registry::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn({
            let registry = registry.clone();
            async move {
                let shutdown = async { drop(stopped.await) };
                rng_service::serve(listener, config, &registry, shutdown).await.expect("it starts")
            }
        });
        Self { addr, registry, stop: Some(stop), task }
    }

    pub(crate) fn begin_shutdown(&mut self) {
        self.stop.take().expect("only once").send(()).expect("it runs");
    }

    pub(crate) async fn ended(self) -> Drained {
        soon("end of the service", self.task).await.expect("no panic")
    }

    /// The value of a metric, summed over the label sets that contain `label` (`name=value`, or empty).
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .map(prometheus::proto::MetricFamily::get_metric);
        let wanted = family.unwrap_or_default().iter().filter(|metric| {
            label.is_empty()
                || metric.get_label().iter().any(|pair| format!("{}={}", pair.name(), pair.value()) == label)
        });
        wanted.map(|m| m.get_gauge().get_value() + m.get_counter().get_value()).sum()
    }

    /// Waits until the metric has the value.
    pub(crate) async fn until(&self, name: &str, label: &str, value: f64) {
        let what = format!("{name}{{{label}}} = {value}");
        soon(&what, async {
            while (self.metric(name, label) - value).abs() > f64::EPSILON {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[]).await
    }

    pub(crate) async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
        let mut connection = Connection::open(self.addr).await;
        connection.ask(method, target, headers).await
    }
}

async fn connect_from_elsewhere(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("a port");
    socket.connect(addr).await.expect("connected")
}

/// A keep-alive connection.
pub(crate) struct Connection(SendRequest<Empty<Bytes>>);

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.expect("connected")).await
    }

    /// From another address than all others here.
    pub(crate) async fn open_from_elsewhere(addr: SocketAddr) -> Self {
        Self::over(connect_from_elsewhere(addr).await).await
    }

    async fn over(stream: TcpStream) -> Self {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a handshake");
        tokio::spawn(async move { drop(connection.await) });
        Self(sender)
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(target).header("host", "test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        soon("answer", self.0.send_request(request.body(Empty::new()).expect("a request"))).await
    }

    pub(crate) async fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
        let (head, body) = self.send(method, target, headers).await.expect("an answer").into_parts();
        let body = soon("body", body.collect()).await.expect("a body").to_bytes();
        let headers = head.headers.iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().expect("an ASCII value").to_owned()));
        Reply { status: head.status.as_u16(), headers: headers.collect(), body: text(&body) }
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(&mut self) {
        let closed = std::future::poll_fn(|cx| match self.0.poll_ready(cx) {
            std::task::Poll::Ready(Err(_)) => std::task::Poll::Ready(()),
            _ if self.0.is_closed() => std::task::Poll::Ready(()),
            _ => {
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            }
        });
        soon("close by the server", closed).await;
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn error(&self) -> ErrorBody {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A reader of heartbeats.
pub(crate) struct Reader {
    body: Incoming,
    _connection: Connection,
}

impl Reader {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self::over(Connection::open(addr).await).await
    }

    pub(crate) async fn open_from_elsewhere(addr: SocketAddr) -> Self {
        Self::over(Connection::open_from_elsewhere(addr).await).await
    }

    async fn over(mut connection: Connection) -> Self {
        let answer = connection.send("GET", "/heartbeat", &[]).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Self { body: answer.into_body(), _connection: connection }
    }

    /// The next event; none at the orderly end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Heartbeat> {
        let frame = soon("heartbeat", self.body.frame()).await?.expect("a whole event");
        let event = text(&frame.into_data().expect("data"));
        let json = event.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\n"));
        let json = json.unwrap_or_else(|| panic!("not one event: {event:?}"));
        Some(serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}")))
    }
}

/// A client that writes and reads bytes.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.expect("connected"))
    }

    pub(crate) async fn open_from_elsewhere(addr: SocketAddr) -> Self {
        Self(connect_from_elsewhere(addr).await)
    }

    pub(crate) async fn write(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.expect("written");
    }

    /// All that comes until the server closes, in order or with a reset.
    pub(crate) async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = soon("close by the server", self.0.read(&mut part)).await {
            all.extend_from_slice(&part[..count]);
        }
        text(&all)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
