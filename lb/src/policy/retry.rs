//! Whether a failed attempt may be made again, at another upstream: nginx's `proxy_next_upstream` as a table.
//!
//! Three questions, in this order. Is a retry safe? RFC 9110, section 9.2.2: a proxy must not send a request
//! again on its own unless the method is idempotent, or it knows that the first one was never applied. Only
//! one thing proves the latter: no byte of the request was sent. `non_idempotent` is the administrator's word
//! that applying a request twice does no harm. Then, is it wanted? The conditions say so. Last, is it within
//! the limits, `tries` and `timeout_ms`?
//!
//! No configuration makes it retry once a byte of the response is on its way to the client, or when a part of
//! the request's body that was sent is no longer at hand. An informational head (1xx) is not the response:
//! another one may follow it.
//!
//! It refuses to know which upstreams there are. So `tries` 0, every upstream once, is the caller's to end by
//! running out of upstreams, and so is the retry budget, for the failures that [`needs_budget`] names.

mod conditions;

pub use self::conditions::{Condition, Conditions, InvalidConditions};

/// What may be retried, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Which failures.
    pub on: Conditions,
    /// Attempts per request at most, the first one included; 0: every upstream once
    /// (`proxy_next_upstream_tries`).
    pub tries: u32,
    /// No attempt begins later than this after the first one could, in milliseconds; 0: no limit
    /// (`proxy_next_upstream_timeout`).
    pub timeout_ms: u64,
    /// Whether a request is sent again although its method is not idempotent. The condition of that name says
    /// the same.
    pub non_idempotent: bool,
}

impl Rules {
    /// Whether a request is sent again although its method is not idempotent and an upstream may have acted on it.
    pub const fn repeats_all_methods(&self) -> bool {
        self.non_idempotent || self.on.contains(Condition::NonIdempotent)
    }
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
    /// The upstream was silent for longer than the read time-out.
    Timeout,
    /// No byte of the response came before the adaptive deadline of the attempt.
    FirstByteTimeout,
    /// The response cannot be understood.
    BadResponse,
    /// The response has this status.
    Status(u16),
    /// The upstream left the set while the attempt was under way.
    Cut,
}

impl Failure {
    /// The word used in metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectError => "connect_error",
            Self::ConnectTimeout => "connect_timeout",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::BadResponse => "bad_response",
            Self::Status(_) => "status",
            Self::Cut => "cut",
        }
    }

    /// Whether it proves that no byte of the request was sent.
    pub const fn before_request(self) -> bool {
        matches!(self, Self::ConnectError | Self::ConnectTimeout)
    }

    /// Whether time ran out, rather than something broke.
    pub const fn is_timeout(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::Timeout | Self::FirstByteTimeout)
    }

    /// The condition it meets; none for a status that no condition names.
    pub const fn condition(self) -> Option<Condition> {
        match self {
            Self::ConnectError | Self::Reset | Self::Cut => Some(Condition::Error),
            Self::ConnectTimeout | Self::Timeout | Self::FirstByteTimeout => Some(Condition::Timeout),
            Self::BadResponse => Some(Condition::InvalidHeader),
            Self::Status(status) => Condition::of_status(status),
        }
    }
}

/// The state of a request whose attempt just failed.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Whether the method is idempotent (RFC 9110, section 9.2.2).
    pub idempotent: bool,
    /// Whether no byte of the request was sent in the failed attempt. What earlier attempts sent was sent
    /// under the same rules, and nothing changed since.
    pub nothing_sent: bool,
    /// Whether all of the body that was sent can be sent again.
    pub replayable: bool,
    /// Whether a byte of the response, other than informational heads, went to the client.
    pub response_begun: bool,
    /// Attempts made, the failed one included. One that [`may_repeat`] allowed is not counted.
    pub attempts: u32,
    /// Since the first attempt could begin, in milliseconds.
    pub elapsed_ms: u64,
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The failure is not among the conditions.
    NotListed,
    /// The client has part of the response.
    ResponseBegun,
    /// The upstream may have acted on the request, and acting twice is not the same as once.
    NotIdempotent,
    /// The body is too large to be kept for a second time.
    BodyNotReplayable,
    /// All tries are used up.
    Tries,
    /// The time is used up.
    Time,
}

impl Stop {
    /// The word used in metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotListed => "not_listed",
            Self::ResponseBegun => "response_begun",
            Self::NotIdempotent => "not_idempotent",
            Self::BodyNotReplayable => "body_not_replayable",
            Self::Tries => "tries",
            Self::Time => "time",
        }
    }
}

/// Whether another attempt may be made.
///
/// A cut is no fault of the upstream's and not among nginx's conditions: it is retried under any of them, but
/// for `off`. The limits hold for it as well.
///
/// # Errors
/// The first reason against it, in the order of [`Stop`].
pub const fn may_retry(failure: Failure, progress: Progress, rules: &Rules) -> Result<(), Stop> {
    if !is_listed(failure, rules) {
        return Err(Stop::NotListed);
    }
    if progress.response_begun {
        return Err(Stop::ResponseBegun);
    }
    if !(failure.before_request() || progress.nothing_sent) {
        if !progress.idempotent && !rules.repeats_all_methods() {
            return Err(Stop::NotIdempotent);
        }
        if !progress.replayable {
            return Err(Stop::BodyNotReplayable);
        }
    }
    if rules.tries > 0 && progress.attempts >= rules.tries {
        return Err(Stop::Tries);
    }
    if rules.timeout_ms > 0 && progress.elapsed_ms >= rules.timeout_ms {
        return Err(Stop::Time);
    }
    Ok(())
}

const fn is_listed(failure: Failure, rules: &Rules) -> bool {
    match (failure, failure.condition()) {
        (Failure::Cut, _) => !rules.on.is_off(),
        (_, Some(condition)) => rules.on.contains(condition),
        (_, None) => false,
    }
}

/// Whether a request that was at every upstream may go to one of them again. So it is when `tries` says how
/// often: nginx, too, goes round then.
pub const fn may_wrap(rules: &Rules) -> bool {
    rules.tries > 0
}

/// Whether a response with this status is a failed attempt, rather than the client's answer.
pub const fn is_failure_status(status: u16, rules: &Rules) -> bool {
    is_listed(Failure::Status(status), rules)
}

/// Whether it counts towards `max_fails`, as nginx documents "unsuccessful attempts": `error`, `timeout` and
/// `invalid_header` always, `http_500` to `http_504` and `http_429` if listed, `http_403` and `http_404`
/// never. A cut says nothing about the upstream that requests could not say better.
pub const fn counts_as_fail(failure: Failure, rules: &Rules) -> bool {
    match failure {
        Failure::Cut | Failure::Status(403 | 404) => false,
        Failure::Status(status) => is_failure_status(status, rules),
        _ => true,
    }
}

/// Whether a retry after it adds load to a service that may be slow for having too much of it, so that a retry
/// budget must allow it. An attempt that never connected took nobody's time, and an upstream that is gone, or
/// broke the connection, is not slow: when one with many requests dies, all of them have to go elsewhere.
pub const fn needs_budget(failure: Failure) -> bool {
    !matches!(failure, Failure::ConnectError | Failure::ConnectTimeout | Failure::Cut | Failure::Reset)
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

/// Whether the upstream of the failed attempt may be asked once more, on a new connection, without this being
/// a try. This is about where and how often; whether the request may be sent again at all is for
/// [`may_retry`].
///
/// An upstream may close a connection at any time that nobody uses it, and that can cross with a request. So
/// a pooled connection that breaks in silence says nothing about its upstream. Once per request is enough: the
/// next connection is new.
pub const fn may_repeat(failure: Failure, connection: Connection, repeated: bool) -> bool {
    matches!((failure, connection, repeated), (Failure::Reset, Connection::Pooled, false))
}

#[cfg(test)]
#[path = "retry/tests.rs"]
mod tests;
