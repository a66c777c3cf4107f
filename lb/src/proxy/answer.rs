//! The answers that are the load balancer's own: JSON with a code, like those of every other interface.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use wire::ErrorBody;

use crate::flow::GaveUp;
use crate::policy::retry::{Failure, Stop};
use crate::pool::NoUpstream;

/// An answer without an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    BadRequest,
    Hidden,
    AmbiguousLength,
    HeaderTooLarge { limit: usize },
    BodyTooLarge { limit: u64 },
    ClientTooSlow,
    NoUpstream(NoUpstream),
    Failed { failure: Failure, why: GaveUp, attempts: u32 },
    Internal,
}

impl Answer {
    pub(super) const fn status(&self) -> u16 {
        match self {
            Self::BadRequest | Self::AmbiguousLength => 400,
            Self::Hidden => 404,
            Self::ClientTooSlow => 408,
            Self::BodyTooLarge { .. } => 413,
            Self::HeaderTooLarge { .. } => 431,
            Self::Internal => 500,
            Self::NoUpstream(_) => 503,
            Self::Failed { failure, .. } if failure.is_timeout() => 504,
            Self::Failed { .. } => 502,
        }
    }

    fn body(&self) -> ErrorBody {
        match *self {
            Self::BadRequest => ErrorBody::new("bad_request", "the request cannot be understood"),
            // The words say nothing of an upstream: that there is one behind it is what is hidden.
            Self::Hidden => ErrorBody::new("not_found", "there is no such resource"),
            Self::AmbiguousLength => {
                ErrorBody::new("bad_request", "both Content-Length and Transfer-Encoding are given")
                    .at("Content-Length")
            }
            Self::HeaderTooLarge { limit } => {
                ErrorBody::new("header_too_large", format!("the head is larger than {limit} bytes"))
            }
            Self::BodyTooLarge { limit } => {
                ErrorBody::new("body_too_large", format!("the body is larger than {limit} bytes"))
            }
            Self::ClientTooSlow => ErrorBody::new("client_too_slow", "the body did not arrive in time"),
            Self::NoUpstream(why) => {
                ErrorBody::new("no_upstream", format!("no upstream can take the request: {}", none(why)))
            }
            Self::Failed { failure, why, attempts } => {
                let code = if failure.is_timeout() { "upstream_timeout" } else { "upstream_failed" };
                let message = format!(
                    "{attempts} attempt(s), the last ended with {}; no other was made: {}",
                    failure.as_str(),
                    gave_up(why)
                );
                ErrorBody::new(code, message)
            }
            Self::Internal => ErrorBody::new("internal", "the load balancer failed"),
        }
    }

    /// Writes the whole answer.
    pub(super) async fn write(self, session: &mut Session) -> Result<()> {
        // A derived serialization of strings cannot fail.
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut head = ResponseHeader::build(self.status(), Some(4))?;
        head.insert_header(CONTENT_TYPE, "application/json")?;
        head.insert_header(CONTENT_LENGTH, body.len())?;
        if matches!(self, Self::NoUpstream(_)) {
            head.insert_header(RETRY_AFTER, "1")?;
        }
        let empty = session.req_header().method == http::Method::HEAD;
        session.write_response_header(Box::new(head), empty).await?;
        if empty {
            return Ok(());
        }
        session.write_response_body(Some(Bytes::from(body)), true).await
    }
}

const fn none(why: NoUpstream) -> &'static str {
    match why {
        NoUpstream::None => "none is up",
        NoUpstream::AllTried => "all were tried",
        NoUpstream::AllFull => "all have as many requests as they may",
    }
}

const fn gave_up(why: GaveUp) -> &'static str {
    match why {
        GaveUp::NoUpstream(why) => none(why),
        GaveUp::Rules(Stop::NotAFailure) => "the answer counts",
        GaveUp::Rules(Stop::ResponseBegun) => "the response had begun",
        GaveUp::Rules(Stop::NotIdempotent) => "the method is not idempotent and the request was sent",
        GaveUp::Rules(Stop::BodyNotReplayable) => "the body is too large to be sent again",
        GaveUp::Rules(Stop::Attempts) => "all attempts are used up",
        GaveUp::Rules(Stop::Budget) => "the request's time is used up",
    }
}
