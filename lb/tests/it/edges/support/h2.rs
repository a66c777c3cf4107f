//! HTTP/2 by the library: a client, and an upstream whose requests come one by one.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Backend, soon};

/// A client's connection.
pub(crate) struct H2Client {
    send: SendRequest<Bytes>,
    pub(crate) driver: JoinHandle<Result<(), h2::Error>>,
}

impl H2Client {
    pub(crate) async fn new<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S) -> Self {
        Self::with(io, &h2::client::Builder::new()).await
    }

    pub(crate) async fn with<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        io: S,
        options: &h2::client::Builder,
    ) -> Self {
        let (send, connection) = soon("HTTP/2", options.handshake(io)).await.unwrap();
        Self { send, driver: tokio::spawn(connection) }
    }

    pub(crate) async fn connect(addr: std::net::SocketAddr) -> Self {
        Self::new(tokio::net::TcpStream::connect(addr).await.unwrap()).await
    }

    /// Sends a head; `ends`: there is no body.
    pub(crate) async fn start(
        &mut self,
        request: Request<()>,
        ends: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        self.try_start(request, ends).await.unwrap()
    }

    pub(crate) async fn try_start(
        &mut self,
        request: Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut send = soon("a stream", self.send.clone().ready()).await?;
        send.send_request(request, ends)
    }

    /// A request without a body, and its answer.
    pub(crate) async fn get(&mut self, path: &str) -> Response<Bytes> {
        let (response, _) = self.start(head_of("GET", path, &[]), true).await;
        let (head, body) = soon("an answer", response).await.unwrap().into_parts();
        Response::from_parts(head, body_of(body).await.unwrap().0)
    }
}

/// The head of a request.
pub(crate) fn head_of(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://test.example{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// A body and its trailers.
pub(crate) async fn body_of(mut body: RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let read = async {
        let mut all = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            all.extend(data);
        }
        Ok((all.into(), body.trailers().await?))
    };
    soon("a body", read).await
}

/// Sends a body as the other side takes it, without its end.
pub(crate) async fn send_all(stream: &mut SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let capacity =
            soon("room", std::future::poll_fn(|cx| stream.poll_capacity(cx))).await.unwrap().unwrap();
        stream.send_data(body.split_to(capacity.min(body.len())), false).unwrap();
    }
}

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// A connection to an upstream that speaks HTTP/2.
pub(crate) struct H2Server {
    requests: mpsc::Receiver<Asked>,
    leave: mpsc::Sender<bool>,
    driver: JoinHandle<()>,
}

impl H2Server {
    pub(crate) async fn accept(backend: &Backend) -> Self {
        Self::with(backend, &h2::server::Builder::new()).await
    }

    pub(crate) async fn with(backend: &Backend, options: &h2::server::Builder) -> Self {
        let stream = backend.accept().await.io;
        let mut connection = soon("HTTP/2", options.handshake::<_, Bytes>(stream)).await.unwrap();
        let (send, requests) = mpsc::channel(1000);
        let (leave, mut leaving) = mpsc::channel(1);
        let driver = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(finishes) = leaving.recv() => match finishes {
                        true => connection.graceful_shutdown(),
                        false => connection.abrupt_shutdown(Reason::NO_ERROR),
                    },
                    asked = connection.accept() => match asked {
                        Some(Ok(asked)) => send.send(asked).await.unwrap(),
                        Some(Err(_)) | None => return,
                    },
                }
            }
        });
        Self { requests, leave, driver }
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Asked {
        self.try_next().await.expect("a connection that is open")
    }

    /// The next request; none when the connection is over.
    pub(crate) async fn try_next(&mut self) -> Option<Asked> {
        soon("a request", self.requests.recv()).await
    }

    /// Takes no further streams and finishes those that it has.
    pub(crate) async fn leave(&self) {
        self.leave.send(true).await.unwrap();
    }

    /// Says that it has taken all streams that it got and takes no more, and closes the connection at once.
    pub(crate) async fn leave_at_once(&self) {
        self.leave.send(false).await.unwrap();
    }

    /// The other side closes the connection.
    pub(crate) async fn ends(&mut self) {
        soon("the end of the connection", &mut self.driver).await.unwrap();
    }

    /// Closes the connection at once.
    pub(crate) async fn kill(&mut self) {
        self.driver.abort();
        // Its end is that of the task, and not an orderly one.
        let _ = (&mut self.driver).await;
    }
}

/// Ends a stream so.
pub(crate) fn refuse_stream(mut respond: SendResponse<Bytes>, reason: Reason) {
    respond.send_reset(reason);
}
