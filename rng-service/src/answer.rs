//! The answers' bodies and their constructors.
//!
//! An answer owns the guards that count it (in flight, on its connection); hyper drops the body after the
//! last byte, or when the client is gone, and that is the moment the request is over.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, VARY};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use wire::ErrorBody;

use crate::connection::OpenRequest;
use crate::load::InFlight;

/// What is sent, and the guards that count it meanwhile.
pub(crate) struct AnswerBody {
    content: Content,
    /// Set once the answer is counted.
    guards: Option<(Option<InFlight>, OpenRequest)>,
}

enum Content {
    /// Everything is known; what is still to be sent.
    Whole(Option<Bytes>),
    /// Goes on until the client leaves or the service ends.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
    /// Stands for a stream in the answer to HEAD: of unknown length, and never sent.
    StreamHead,
}

pub(crate) type Answer = Response<AnswerBody>;

impl AnswerBody {
    pub(crate) fn whole(data: impl Into<Bytes>) -> Self {
        Self { content: Content::Whole(Some(data.into())), guards: None }
    }

    pub(crate) fn stream(events: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self { content: Content::Stream(Box::pin(events)), guards: None }
    }

    pub(crate) const fn stream_head() -> Self {
        Self { content: Content::StreamHead, guards: None }
    }

    /// Keeps the guards until the body is dropped; only of a stream nobody has to wait for the end.
    pub(crate) fn counted(&mut self, in_flight: Option<InFlight>, open: OpenRequest) {
        match &self.content {
            Content::Whole(_) | Content::StreamHead => self.guards = Some((in_flight, open)),
            Content::Stream(_) => open.becomes_stream(),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut self.get_mut().content {
            Content::Whole(data) => Poll::Ready(data.take()),
            Content::Stream(events) => events.as_mut().poll_next(cx),
            Content::StreamHead => Poll::Ready(None),
        };
        data.map(|data| data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(data) => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            Content::Stream(_) | Content::StreamHead => SizeHint::default(),
        }
    }
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub(crate) const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
pub(crate) const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// An answer that no cache may keep: everything here is about this moment.
pub(crate) fn ok(content_type: HeaderValue, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

pub(crate) fn error(status: StatusCode, body: &ErrorBody) -> Answer {
    // Plain strings in a struct always serialize.
    let json = serde_json::to_vec(body).unwrap_or_default();
    let mut answer = ok(JSON, AnswerBody::whole(json));
    *answer.status_mut() = status;
    answer
}

pub(crate) fn with_allow(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

pub(crate) fn with_vary(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer
}

/// Tells the client not to send another request on this connection.
pub(crate) fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
