//! A client's HTTP/2 connection: many requests at a time, each a task of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::Request;
use pingora::protocols::http::v2::server::handshake;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use super::Traffic;
use crate::config::Config;
use crate::http1::{BodyLength, RequestHead};
use crate::net::{Timer, Transport};
use crate::proxy::{self, Answer, Begin, Downstream, H2Client, Peer, Scratch};

/// What a stream, and all streams together, may have in flight towards us.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// What may wait to be sent of one stream.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// How long a client may take to leave after it was asked to.
const GOODBYE: Duration = Duration::from_secs(5);

impl Traffic {
    pub(super) async fn serve_h2(&self, transport: Transport, peer: Peer, thread: usize) {
        let config = self.proxy.config();
        let limit = config.limits.header_timeout_ms.duration();
        let handshake = handshake(Box::new(transport), Some(options(&config)));
        let mut connection = match tokio::time::timeout(limit, handshake).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(e)) => {
                self.metrics.bad_connections.inc();
                tracing::debug!(peer = %peer.ip, "no HTTP/2: {e}");
                return;
            }
            Err(_) => return self.metrics.bad_connections.inc(),
        };
        let idle = config.client.idle_timeout_ms.duration();
        let requests = TaskTracker::new();
        let mut left = config.client.requests.get();
        let mut leaving = false;
        let mut due = Instant::now() + idle;
        loop {
            let accepted = tokio::select! {
                accepted = connection.accept() => accepted,
                () = self.closing.cancelled(), if !leaving => {
                    leaving = true;
                    connection.graceful_shutdown();
                    continue;
                }
                () = sleep_until(due) => {
                    if !requests.is_empty() {
                        due = Instant::now() + idle;
                    } else if leaving {
                        return;
                    } else {
                        leaving = true;
                        connection.graceful_shutdown();
                        due = Instant::now() + GOODBYE;
                    }
                    continue;
                }
            };
            match accepted {
                Some(Ok((request, respond))) => {
                    due = Instant::now() + idle;
                    // More may come until the client has heard that it should leave.
                    left = left.saturating_sub(1);
                    if left == 0 && !leaving {
                        leaving = true;
                        connection.graceful_shutdown();
                    }
                    let traffic = self.clone();
                    let serve = async move { traffic.serve_stream(request, respond, peer, thread).await };
                    requests.spawn(serve);
                }
                Some(Err(e)) => {
                    tracing::debug!(peer = %peer.ip, "HTTP/2 connection failed: {e}");
                    return;
                }
                None => return,
            }
        }
    }

    async fn serve_stream(
        &self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        peer: Peer,
        thread: usize,
    ) {
        let (parts, recv) = request.into_parts();
        let mut head = RequestHead::default();
        let mut timer = Timer::after(Duration::from_secs(60));
        let read = proxy::read_h2_request(&mut head, &parts);
        let ends = recv.is_end_stream();
        drop(parts);
        let mut client = Downstream::H2(Box::new(H2Client::new(recv, respond)));
        let length = match read.and_then(|()| head.body_length()) {
            // A stream that has ended has no body, whatever is or is not announced.
            Ok(_) if ends => BodyLength::Empty,
            Ok(length) => length,
            Err(invalid) => {
                let answer = Answer::Invalid(invalid);
                proxy::refuse(&self.proxy, &mut client, answer, &mut timer).await;
                return;
            }
        };
        let begin = Begin {
            proxy: &self.proxy,
            thread,
            peer,
            request: &head,
            length,
            client: &mut client,
            timer: &mut timer,
            scratch: &mut Scratch::default(),
            persists: true,
        };
        proxy::serve(begin).await;
    }
}

fn options(config: &Arc<Config>) -> Builder {
    let mut options = Builder::new();
    let header_bytes = u32::try_from(config.limits.header_bytes.get()).unwrap_or(u32::MAX);
    let streams = u32::try_from(config.client.h2_streams.get()).unwrap_or(u32::MAX);
    options
        .max_header_list_size(header_bytes)
        .max_concurrent_streams(streams)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    options
}
