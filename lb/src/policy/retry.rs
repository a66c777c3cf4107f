//! Whether a failed attempt may be made again, at another upstream.
//!
//! The rule of RFC 9110, section 9.2.2: a proxy must not send a request again on its own unless the method is
//! idempotent, or it knows that the first one was never applied. The only failure that proves the latter is
//! one before a byte of the request was sent, that is, while connecting. So a `POST` is sent again after a
//! failed connect and after nothing else: not after a reset on a pooled connection (the upstream may have
//! acted and then died), and not after a 503 (the upstream did receive it).
//!
//! Nothing is sent again once a byte of the response is on its way to the client, or when the part of the
//! request's body that was sent is no longer at hand. An informational head (1xx) is not the response: another
//! one may follow it.
//!
//! "Elsewhere" has one exception, [`may_repeat`]: a pooled connection that breaks in silence.

/// What may be retried, as configured.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Attempts per request at most, the first one included; from 1.
    pub max_attempts: u32,
    /// No attempt begins later than this after the whole request arrived, in milliseconds.
    pub budget_ms: u64,
    /// Statuses (500 to 599) that count as a failed attempt.
    pub statuses: Vec<u16>,
    /// Whether an upstream may be tried twice by one request when no other is left.
    pub wrap: bool,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, unreachable, or out of local resources.
    ConnectError,
    /// No connection in time.
    ConnectTimeout,
    /// The connection broke before the response was complete.
    Reset,
    /// The upstream was silent for too long.
    Timeout,
    /// The response cannot be understood.
    BadResponse,
    /// The response has this status.
    Status(u16),
}

impl Failure {
    /// The word used in metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectError => "connect_error",
            Self::ConnectTimeout => "connect_timeout",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::BadResponse => "bad_response",
            Self::Status(_) => "status",
        }
    }

    /// Whether it proves that no byte of the request was sent.
    pub const fn before_request(self) -> bool {
        matches!(self, Self::ConnectError | Self::ConnectTimeout)
    }

    /// Whether time ran out, rather than something broke.
    pub const fn is_timeout(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::Timeout)
    }
}

/// The state of a request whose attempt just failed.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Whether the method is idempotent (RFC 9110, 9.2.2).
    pub idempotent: bool,
    /// Whether all of the body that was sent can be sent again.
    pub replayable: bool,
    /// Whether a byte of the response, other than informational heads, went to the client.
    pub response_begun: bool,
    /// Attempts made, the failed one included.
    pub attempts: u32,
    /// Since the whole request arrived, in milliseconds.
    pub elapsed_ms: u64,
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The status is not among those retried.
    NotAFailure,
    /// The client has part of the response.
    ResponseBegun,
    /// The upstream may have acted on the request, and acting twice is not the same as once.
    NotIdempotent,
    /// The body is too large to be kept for a second time.
    BodyNotReplayable,
    /// All attempts are used up.
    Attempts,
    /// The time is used up.
    Budget,
}

/// Whether another attempt may be made.
///
/// # Errors
/// The first reason against it, the more fundamental ones first.
pub fn may_retry(failure: Failure, progress: Progress, rules: &Rules) -> Result<(), Stop> {
    if let Failure::Status(status) = failure
        && !rules.statuses.contains(&status)
    {
        return Err(Stop::NotAFailure);
    }
    if progress.response_begun {
        return Err(Stop::ResponseBegun);
    }
    if !failure.before_request() {
        if !progress.idempotent {
            return Err(Stop::NotIdempotent);
        }
        if !progress.replayable {
            return Err(Stop::BodyNotReplayable);
        }
    }
    if progress.attempts >= rules.max_attempts {
        return Err(Stop::Attempts);
    }
    if progress.elapsed_ms >= rules.budget_ms {
        return Err(Stop::Budget);
    }
    Ok(())
}

/// What is known of the connection on which an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It was made for the attempt, or was to be made.
    New,
    /// It came from the pool, and no head came on it.
    Pooled,
    /// A head came on it, if only an informational one.
    Heard,
}

/// Whether the upstream of the failed attempt may be asked once more, on a new connection, when no other can
/// be. This is about where; whether there may be another attempt at all is for [`may_retry`].
///
/// An upstream may close a connection at any time that nobody uses it, and that can cross with a request. So
/// a pooled connection that breaks in silence says nothing about its upstream. Once per request is enough: the
/// next connection is new.
pub const fn may_repeat(failure: Failure, connection: Connection, repeated: bool) -> bool {
    matches!((failure, connection, repeated), (Failure::Reset, Connection::Pooled, false))
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
