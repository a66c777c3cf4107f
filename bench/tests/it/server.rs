//! A server that does to each request exactly what the test says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

/// What the server does to one request.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// Answers as the service does.
    Right,
    /// Answers as the service does, once as many requests wait here as the barrier wants.
    Together(Arc<Barrier>),
    /// Answers with this status and body.
    Answer(u16, &'static str),
    /// Never answers.
    Silence,
}

/// A well-formed HTTP server; `deed` is given the request's number and its path.
pub(crate) async fn http(deed: impl Fn(u64, &str) -> Deed + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let deed = Arc::new(deed);
    let number = Arc::new(AtomicU64::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (deed, number) = (Arc::clone(&deed), Arc::clone(&number));
            let service = service_fn(move |request: Request<Incoming>| {
                let path = request.uri().path().to_owned();
                let deed = deed(number.fetch_add(1, Ordering::Relaxed), &path);
                async move { Ok::<_, Infallible>(perform(deed, &path).await) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    addr
}

async fn perform(deed: Deed, path: &str) -> Response<Full<Bytes>> {
    let (status, body) = match deed {
        Deed::Right => (200, right(path)),
        Deed::Together(barrier) => {
            barrier.wait().await;
            (200, right(path))
        }
        Deed::Answer(status, body) => (status, body),
        Deed::Silence => std::future::pending().await,
    };
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::from(body)).expect("an answer")
}

fn right(path: &str) -> &'static str {
    match path {
        "/bool" => r#"{"kind":"bool","value":true,"instance":"b"}"#,
        "/int" => r#"{"kind":"int","value":-7,"instance":"i"}"#,
        "/float" => r#"{"kind":"float","value":0.5,"instance":"f"}"#,
        _ => r#"{"kind":"double","value":0.25,"instance":"d"}"#,
    }
}

/// What a server of bytes does once it has read a request's head.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bytewise {
    /// A right answer, and then the connection is closed without a word.
    AnswerThenClose,
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
    /// Part of an answer, and then the connection is closed.
    HalfAnAnswer,
    /// Something else than HTTP.
    Nonsense,
}

/// A server that does the same to every request.
pub(crate) async fn bytewise(deed: Bytewise) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream, deed));
        }
    });
    addr
}

async fn treat(mut stream: TcpStream, deed: Bytewise) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let body = right("/int");
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    match deed {
        Bytewise::AnswerThenClose => stream.write_all(answer.as_bytes()).await,
        Bytewise::Close => Ok(()),
        Bytewise::Reset => Ok(rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?),
        Bytewise::HalfAnAnswer => stream.write_all(&answer.as_bytes()[..answer.len() - 5]).await,
        Bytewise::Nonsense => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await,
    }
}
