//! One target's connections, and one request over one of them.
//!
//! A client keeps connections and may find one closed by the server just when it wants to use it. As long as
//! nothing of the request was sent (hyper hands the request back), opening a new connection is not a retry:
//! every HTTP client does it, and so does this one, once per request, and counts it. Any other error is the
//! request's end.

use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::options::{Question, Target};
use crate::report::FailureKind;
use crate::timeline::Failure;

/// The largest body of an answer, in bytes.
const BODY_BYTES: usize = 65_536;

/// How far a request came, for the words of a time-out.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    pub(crate) reconnected: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Stage {
    #[default]
    Connecting,
    Waiting,
    Reading,
}

impl Stage {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Connecting => "while connecting",
            Self::Waiting => "while waiting for an answer",
            Self::Reading => "while reading the answer",
        }
    }
}

/// An open connection. Dropping it closes it, whatever it is doing.
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

/// A target with its idle connections, at most as many as requests were ever in flight to it.
pub(crate) struct Client {
    target: Target,
    host: HeaderValue,
    keep: bool,
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    /// With `keep`, connections are used again.
    pub(crate) fn new(target: Target, keep: bool) -> anyhow::Result<Self> {
        let host = HeaderValue::from_str(target.authority.as_str())?;
        Ok(Self { target, host, keep, idle: Mutex::default() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.target.url
    }

    /// Asks once; the result is the instance that gave a valid answer.
    pub(crate) async fn ask(&self, question: &Question, progress: &mut Progress) -> Result<String, Failure> {
        let (answer, connection) = self.send(self.request(question)?, progress).await?;
        progress.stage = Stage::Reading;
        let (head, body) = answer.into_parts();
        let kept = self.keep && head.version == Version::HTTP_11 && !says_close(&head.headers);
        let body = Limited::new(body, BODY_BYTES)
            .collect()
            .await
            .map_err(|error| classify_body(&*error))?
            .to_bytes();
        if kept {
            self.keep(connection);
        }
        if head.status != StatusCode::OK {
            let text: String = String::from_utf8_lossy(&body).chars().take(120).collect();
            return Err(Failure::new(class_of(head.status), format!("{}: {text}", head.status)));
        }
        let invalid = |why| Failure::new(FailureKind::Invalid, format!("{}: {why}", question.path));
        question.expectation.check(&head.headers, &body).map_err(invalid)
    }

    fn request(&self, question: &Question) -> Result<Request<Empty<Bytes>>, Failure> {
        let request = Request::get(question.path.as_str())
            .header(HOST, &self.host)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("phalanx-bench/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new());
        request.map_err(|error| Failure::new(FailureKind::Local, error.to_string()))
    }

    async fn send(
        &self,
        request: Request<Empty<Bytes>>,
        progress: &mut Progress,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let mut request = request;
        if let Some(mut connection) = self.take_idle(progress).await {
            progress.stage = Stage::Waiting;
            match connection.sender.try_send_request(request).await {
                Ok(answer) => return Ok((answer, connection)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(classify(error.error())),
                },
            }
            progress.reconnected = true;
        }
        progress.stage = Stage::Connecting;
        let mut connection = self.connect().await?;
        progress.stage = Stage::Waiting;
        match connection.sender.send_request(request).await {
            Ok(answer) => Ok((answer, connection)),
            Err(error) => Err(classify(&error)),
        }
    }

    /// The connection used last: it is the least likely to have been closed meanwhile.
    async fn take_idle(&self, progress: &mut Progress) -> Option<Connection> {
        loop {
            let mut connection = self.idle().pop()?;
            if connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
            progress.reconnected = true;
        }
    }

    fn keep(&self, connection: Connection) {
        self.idle().push(connection);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect((self.target.host.as_str(), self.target.port)).await;
        let stream =
            stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)).map_err(|error| {
                let kind = if is_local(&error) { FailureKind::Local } else { FailureKind::Connect };
                Failure::new(kind, error.to_string())
            })?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| classify(&error))?;
        // Its error, if any, is also the request's.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, _driver: AbortOnDropHandle::new(driver) })
    }
}

fn says_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

fn class_of(status: StatusCode) -> FailureKind {
    match status.as_u16() {
        400..=499 => FailureKind::Status4xx,
        500..=599 => FailureKind::Status5xx,
        _ => FailureKind::StatusOther,
    }
}

/// Out of file descriptors or of local ports.
fn is_local(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn classify_body(error: &(dyn std::error::Error + 'static)) -> Failure {
    if error.is::<LengthLimitError>() {
        return Failure::new(FailureKind::Invalid, format!("the body has more than {BODY_BYTES} bytes"));
    }
    match error.downcast_ref::<hyper::Error>() {
        Some(error) => classify(error),
        None => Failure::new(FailureKind::Protocol, error.to_string()),
    }
}

fn classify(error: &hyper::Error) -> Failure {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    let kind = match io {
        _ if error.is_parse() => FailureKind::Protocol,
        None | Some(io::ErrorKind::UnexpectedEof) => FailureKind::Closed,
        Some(_) => FailureKind::Reset,
    };
    Failure::new(kind, source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))
}
