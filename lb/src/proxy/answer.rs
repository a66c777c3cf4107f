//! The answers that are the load balancer's own: JSON with a code, like those of every other interface.

use http::StatusCode;
use wire::ErrorBody;

use super::downstream::Downstream;
use crate::flow::GaveUp;
use crate::http1::{BodyLength, Invalid, Method, ResponseHead, Version};
use crate::policy::retry::Failure;
use crate::pool::NoUpstream;

/// An answer without an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Invalid(Invalid),
    Hidden,
    ConnectRefused,
    BodyTooLarge { limit: u64 },
    HeadTooSlow,
    BodyTooSlow,
    TooManyRequests { limit: u64 },
    Overloaded { limit: u64 },
    NoUpstream(NoUpstream),
    Failed { failure: Failure, why: GaveUp, attempts: u32 },
    UpstreamProtocol,
}

impl Answer {
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::Invalid(invalid) => invalid.status(),
            Self::Hidden => 404,
            Self::HeadTooSlow | Self::BodyTooSlow => 408,
            Self::BodyTooLarge { .. } => 413,
            Self::TooManyRequests { .. } => 429,
            Self::ConnectRefused => 501,
            Self::NoUpstream(_) | Self::Overloaded { .. } => 503,
            Self::Failed { failure, .. } if failure.is_timeout() => 504,
            Self::Failed { .. } | Self::UpstreamProtocol => 502,
        }
    }

    fn body(&self) -> ErrorBody {
        match *self {
            Self::Invalid(invalid) => ErrorBody::new(code_of(invalid), invalid.to_string()),
            // The words say nothing of an upstream: that there is one behind it is what is hidden.
            Self::Hidden => ErrorBody::new("not_found", "there is no such resource"),
            Self::ConnectRefused => {
                ErrorBody::new("not_implemented", "this is no forward proxy: CONNECT is refused")
            }
            Self::BodyTooLarge { limit } => {
                ErrorBody::new("body_too_large", format!("the body is larger than {limit} bytes"))
            }
            Self::HeadTooSlow => ErrorBody::new("client_too_slow", "the head did not arrive in time"),
            Self::BodyTooSlow => ErrorBody::new("client_too_slow", "the body did not arrive in time"),
            Self::TooManyRequests { limit } => ErrorBody::new(
                "too_many_requests",
                format!("more than {limit} requests per second from one address"),
            ),
            Self::Overloaded { limit } => {
                ErrorBody::new("overloaded", format!("{limit} requests are being served, which is the limit"))
            }
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
            Self::UpstreamProtocol => {
                ErrorBody::new("upstream_protocol", "the request cannot be said in the upstreams' protocol")
            }
        }
    }

    /// Puts it out. `request_id`: the request's name, empty when it has none. Answers the length of its body.
    pub(super) fn put(
        &self,
        client: &mut Downstream<'_>,
        head: &mut ResponseHead,
        request_id: &str,
        method: Method,
        close: bool,
    ) -> u64 {
        // A derived serialization of strings cannot fail.
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let reason = StatusCode::from_u16(self.status()).ok().and_then(|status| status.canonical_reason());
        head.begin(Version::Http11, self.status(), reason.unwrap_or_default().as_bytes());
        let fields = head.fields_mut();
        fields.push(b"Content-Type", b"application/json");
        if matches!(self, Self::NoUpstream(_) | Self::TooManyRequests { .. } | Self::Overloaded { .. }) {
            fields.push(b"Retry-After", b"1");
        }
        if !request_id.is_empty() {
            fields.push(b"X-Request-Id", request_id.as_bytes());
        }
        let length = body.len() as u64;
        client.start(head, BodyLength::Fixed(length), close);
        let sent = if method == Method::Head { &[][..] } else { &body[..] };
        client.push(sent);
        client.finish(None);
        sent.len() as u64
    }
}

const fn code_of(invalid: Invalid) -> &'static str {
    match invalid.status() {
        414 => "target_too_long",
        431 => "header_too_large",
        501 => "not_implemented",
        505 => "version_not_supported",
        _ => "bad_request",
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
        GaveUp::Budget => "too many requests are being tried again already",
        GaveUp::Rules(stop) => stop.as_str(),
    }
}
