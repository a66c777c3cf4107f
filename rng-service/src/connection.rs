//! One connection: hyper's HTTP/1.1 server between two guards.
//!
//! [`Guarded`] cuts off a peer that takes nothing of what is sent to it; the watchdog in [`drive`] closes a
//! connection that waits too long for a request, and cuts off one whose request head comes too slowly.
//! hyper's own head timer is not used because it also runs while a connection is merely idle.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Limits;
use crate::heartbeat::Phase;
use crate::origin::Origin;
use crate::routes::App;

#[cfg(test)]
mod tests;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    /// It waits for a request since then.
    Idle(Instant),
    /// A request's head arrives since then.
    Head(Instant),
    /// A request is being answered. Its parts have time limits of their own.
    Request,
    /// It carries a heartbeat stream, and nothing after that.
    Stream,
}

/// What the watchdog does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Look again then.
    LookAt(Instant),
    /// It was idle for too long.
    Idle,
    /// The head took too long.
    SlowHead,
}

fn judge(activity: Activity, now: Instant, head: Duration, idle: Duration) -> Verdict {
    // A head that begins right after this look must be found late soon enough.
    let next_look = now + head;
    match activity {
        Activity::Idle(since) if now >= since + idle => Verdict::Idle,
        Activity::Idle(since) => Verdict::LookAt(next_look.min(since + idle)),
        Activity::Head(since) if now >= since + head => Verdict::SlowHead,
        Activity::Head(since) => Verdict::LookAt(since + head),
        Activity::Request | Activity::Stream => Verdict::LookAt(next_look),
    }
}

/// A connection's activity, shared by its reader, its requests and its watchdog. While it is not a stream,
/// it counts as busy: the drain waits for it.
#[derive(Debug)]
struct Shared {
    activity: Mutex<Activity>,
    busy: watch::Sender<usize>,
}

impl Shared {
    fn new(busy: watch::Sender<usize>) -> Arc<Self> {
        busy.send_modify(|count| *count += 1);
        Arc::new(Self { activity: Mutex::new(Activity::Idle(Instant::now())), busy })
    }

    fn get(&self) -> Activity {
        *self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(Activity) -> Activity) {
        let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *activity;
        *activity = change(before);
        if before != Activity::Stream && *activity == Activity::Stream {
            self.busy.send_modify(|count| *count -= 1);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.get() != Activity::Stream {
            self.busy.send_modify(|count| *count -= 1);
        }
    }
}

/// A request between its head and the end of its answer.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<Shared>);

impl OpenRequest {
    fn begin(connection: &Arc<Shared>) -> Self {
        connection.update(|_| Activity::Request);
        Self(Arc::clone(connection))
    }

    /// The answer is a heartbeat stream: from now on nobody waits for this connection.
    pub(crate) fn becomes_stream(&self) {
        self.0.update(|_| Activity::Stream);
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.update(|activity| match activity {
            Activity::Stream => Activity::Stream,
            Activity::Idle(_) | Activity::Head(_) | Activity::Request => Activity::Idle(Instant::now()),
        });
    }
}

/// Serves one connection to its end.
pub(crate) async fn drive(
    stream: TcpStream,
    origin: Origin,
    app: Arc<App>,
    limits: Arc<Limits>,
    busy: watch::Sender<usize>,
    mut phase: watch::Receiver<Phase>,
) {
    let shared = Shared::new(busy);
    let guarded = Guarded {
        stream,
        connection: Arc::clone(&shared),
        write_timeout: Duration::from_millis(limits.write_timeout_ms),
        stalled: None,
    };
    let service = service_fn(|request| {
        let open = OpenRequest::begin(&shared);
        let app = Arc::clone(&app);
        async move { Ok::<_, std::convert::Infallible>(app.answer(request, open, origin).await) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.max_headers)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(guarded), service);
    let mut connection = std::pin::pin!(connection);
    let head = Duration::from_millis(limits.header_timeout_ms);
    let idle = Duration::from_millis(limits.idle_timeout_ms);
    let mut watchdog = std::pin::pin!(tokio::time::sleep(head.min(idle)));
    let mut closing = false;
    loop {
        // In this order, a request that is already here is seen before the connection is closed as idle.
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    note(&error, &app);
                }
                return;
            }
            _ = phase.wait_for(|phase| *phase >= Phase::Closing), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = watchdog.as_mut() => match judge(shared.get(), Instant::now(), head, idle) {
                Verdict::LookAt(then) => watchdog.as_mut().reset(then),
                Verdict::Idle => {
                    app.metrics.cut("idle");
                    return;
                }
                Verdict::SlowHead => {
                    app.metrics.cut("slow_head");
                    return;
                }
            },
        }
    }
}

fn note(error: &hyper::Error, app: &App) {
    let stalled = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
    if stalled {
        app.metrics.cut("stalled");
    }
    tracing::debug!(%error, stalled, "connection ended");
}

/// A stream that fails once its peer has taken nothing for the time allowed, and that notes when a
/// request's head begins.
struct Guarded {
    stream: TcpStream,
    connection: Arc<Shared>,
    write_timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn judge_write<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let deadline = Instant::now() + self.write_timeout;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.connection.update(|activity| match activity {
                Activity::Idle(_) => Activity::Head(Instant::now()),
                Activity::Head(_) | Activity::Request | Activity::Stream => activity,
            });
        }
        result
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.judge_write(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.judge_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
