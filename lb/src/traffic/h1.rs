//! A client's HTTP/1.1 connection: one request after another.
//!
//! What was sent ahead of an answer waits its turn, so pipelined requests are all answered, in order.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Traffic;
use crate::config::Config;
use crate::http1::{BodyLength, Decoder, Invalid, RequestHead, Version};
use crate::net::{Buffered, Timer};
use crate::proxy::{self, After, Answer, Begin, Downstream, H1Client, Peer, Scratch};

/// What a client sends first that speaks HTTP/2 without asking: RFC 9113, section 3.4.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client that is refused while it still sends may pause for this long, and send for that long (nginx:
/// `lingering_time`): a reset would destroy the answer before it is read, and many send all before they read.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_MOST: Duration = Duration::from_secs(30);

/// What came instead of a request's head.
enum NoHead {
    /// Nothing; the connection is over.
    Closed,
    /// HTTP/2.
    H2,
    /// Something that is answered so, and then the connection is over.
    Refused(Answer),
}

impl Traffic {
    pub(super) async fn serve_h1(&self, mut io: Buffered, peer: Peer, thread: usize) {
        let config = self.proxy.config();
        let mut timer = Timer::after(config.limits.header_timeout_ms.duration());
        let mut request = RequestHead::default();
        let mut decoder = Decoder::default();
        let mut scratch = Scratch::default();
        let mut left = config.client.requests.get();
        let mut is_first = true;
        loop {
            let config = self.proxy.config();
            request.clear();
            let read = self.read_head(&mut io, &mut request, &mut timer, &config, is_first).await;
            let refused = match read {
                Ok(length) => {
                    left -= 1;
                    is_first = false;
                    let expected = request.keeps_alive();
                    let persists = expected && left > 0 && !self.closing.is_cancelled();
                    let client = H1Client::new(&mut io, &mut decoder, request.version(), length, expected);
                    let begin = Begin {
                        proxy: &self.proxy,
                        thread,
                        peer,
                        request: &request,
                        length,
                        client: &mut Downstream::H1(client),
                        timer: &mut timer,
                        scratch: &mut scratch,
                        persists,
                    };
                    match proxy::serve(begin).await {
                        After::Reuse => None,
                        After::Close if decoder.is_done() && io.is_quiet() => {
                            return close(&mut io, &mut timer).await;
                        }
                        After::Close => return linger(&mut io, &mut timer, &self.finishing).await,
                        After::Abort => return,
                    }
                }
                Err(NoHead::Closed) => return,
                Err(NoHead::H2) => return self.serve_h2(io.into_transport(), peer, thread).await,
                Err(NoHead::Refused(answer)) => Some(answer),
            };
            if let Some(answer) = refused {
                self.metrics.bad_connections.inc();
                tracing::debug!(peer = %peer.ip, status = answer.status(), "no request: {answer:?}");
                let client = H1Client::new(&mut io, &mut decoder, Version::Http11, BodyLength::Empty, true);
                if proxy::refuse(&self.proxy, &mut Downstream::H1(client), answer, &mut timer).await {
                    linger(&mut io, &mut timer, &self.finishing).await;
                }
                return;
            }
            io.trim();
            scratch.trim();
        }
    }

    /// Reads a request's head, in its time. Answers the length of the body that follows.
    async fn read_head(
        &self,
        io: &mut Buffered,
        request: &mut RequestHead,
        timer: &mut Timer,
        config: &Config,
        is_first: bool,
    ) -> Result<BodyLength, NoHead> {
        let limit = config.limits.header_bytes.size();
        let now = Instant::now();
        let mut begun = is_first || !io.input().is_empty();
        let (head, idle) = (&config.limits.header_timeout_ms, &config.client.idle_timeout_ms);
        timer.set(now + if begun { head.duration() } else { idle.duration() });
        let mut finishing = pin!(self.finishing.cancelled());
        poll_fn(|cx| {
            loop {
                if !io.input().is_empty() {
                    if !begun {
                        begun = true;
                        timer.set(Instant::now() + config.limits.header_timeout_ms.duration());
                    }
                    match read_input(io, request, limit, is_first) {
                        Ok(Some(length)) => return Poll::Ready(Ok(length)),
                        Ok(None) => {}
                        Err(no_head) => return Poll::Ready(Err(no_head)),
                    }
                }
                match io.poll_fill(cx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(NoHead::Closed)),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => break,
                }
            }
            let is_quiet = io.input().is_empty();
            if is_quiet && finishing.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(NoHead::Closed));
            }
            let no_head = if is_quiet { NoHead::Closed } else { NoHead::Refused(Answer::HeadTooSlow) };
            timer.poll_due(cx).map(|()| Err(no_head))
        })
        .await
    }
}

/// Reads a head from what is there; none when it is not complete.
fn read_input(
    io: &mut Buffered,
    request: &mut RequestHead,
    limit: usize,
    is_first: bool,
) -> Result<Option<BodyLength>, NoHead> {
    let input = io.input();
    if is_first && input[0] == H2_PREFACE[0] {
        if input.starts_with(H2_PREFACE) {
            return Err(NoHead::H2);
        }
        if H2_PREFACE.starts_with(input) {
            return Ok(None);
        }
    }
    let refused = |invalid: Invalid| NoHead::Refused(Answer::Invalid(invalid));
    let Some(taken) = request.parse(input, limit).map_err(refused)? else { return Ok(None) };
    io.consume(taken);
    request.body_length().map(Some).map_err(refused)
}

/// Ends the connection when its client has all of its answer.
async fn close(io: &mut Buffered, timer: &mut Timer) {
    timer.set(Instant::now() + LINGER);
    poll_fn(|cx| match io.poll_shutdown(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => timer.poll_due(cx),
    })
    .await;
}

/// Ends the connection of a client that may still be sending. Once the process is `finishing` nobody is waited for,
/// but for the clients that got their answer only then.
async fn linger(io: &mut Buffered, timer: &mut Timer, finishing: &CancellationToken) {
    let was_finishing = finishing.is_cancelled();
    close(io, timer).await;
    let end = Instant::now() + if was_finishing { LINGER } else { LINGER_MOST };
    let mut is_new = true;
    let mut finished = pin!(finishing.cancelled());
    poll_fn(|cx| {
        if !was_finishing && finished.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let n = io.input().len();
            io.consume(n);
            if is_new {
                is_new = false;
                let now = Instant::now();
                if now >= end {
                    return Poll::Ready(());
                }
                timer.set(end.min(now + LINGER));
            }
            match io.poll_fill(cx) {
                Poll::Ready(Ok(n)) if n > 0 => is_new = true,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return timer.poll_due(cx),
            }
        }
    })
    .await;
}
