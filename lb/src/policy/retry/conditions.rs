//! The conditions under which a request goes to the next upstream, by the words of nginx's
//! `proxy_next_upstream`.
//!
//! A [`Conditions`] is only ever made from words that make sense together: it refuses `off` beside others, a
//! word twice, and none at all.

use std::fmt;
use std::str::FromStr;

/// One word of the list (ngx_http_proxy_module, `proxy_next_upstream`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Condition {
    /// No connection, or it broke before the response's head was complete.
    Error,
    /// One of the two took too long.
    Timeout,
    /// The response is empty or cannot be understood.
    InvalidHeader,
    /// The response has status 403.
    Http403,
    /// The response has status 404.
    Http404,
    /// The response has status 429.
    Http429,
    /// The response has status 500.
    Http500,
    /// The response has status 502.
    Http502,
    /// The response has status 503.
    Http503,
    /// The response has status 504.
    Http504,
    /// Also for a method that is not idempotent, after the request was sent.
    NonIdempotent,
    /// Never.
    Off,
}

impl Condition {
    /// All of them, in the order of nginx's documentation.
    pub const ALL: [Self; 12] = [
        Self::Error,
        Self::Timeout,
        Self::InvalidHeader,
        Self::Http403,
        Self::Http404,
        Self::Http429,
        Self::Http500,
        Self::Http502,
        Self::Http503,
        Self::Http504,
        Self::NonIdempotent,
        Self::Off,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::InvalidHeader => "invalid_header",
            Self::Http403 => "http_403",
            Self::Http404 => "http_404",
            Self::Http429 => "http_429",
            Self::Http500 => "http_500",
            Self::Http502 => "http_502",
            Self::Http503 => "http_503",
            Self::Http504 => "http_504",
            Self::NonIdempotent => "non_idempotent",
            Self::Off => "off",
        }
    }

    /// The condition that a response with this status meets, if there is one.
    pub const fn of_status(status: u16) -> Option<Self> {
        Some(match status {
            403 => Self::Http403,
            404 => Self::Http404,
            429 => Self::Http429,
            500 => Self::Http500,
            502 => Self::Http502,
            503 => Self::Http503,
            504 => Self::Http504,
            _ => return None,
        })
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Condition {
    type Err = InvalidConditions;

    fn from_str(word: &str) -> Result<Self, InvalidConditions> {
        Self::ALL
            .into_iter()
            .find(|condition| condition.as_str() == word)
            .ok_or_else(|| InvalidConditions::Unknown { word: word.to_owned() })
    }
}

/// What is wrong with a list of conditions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConditions {
    /// Not a condition.
    #[error("{word:?} is not one of {}", Condition::ALL.map(Condition::as_str).join(", "))]
    Unknown {
        /// As it was written.
        word: String,
    },
    /// One condition stands there twice.
    #[error("{condition} is listed twice")]
    Twice {
        /// Which one.
        condition: Condition,
    },
    /// `off` excludes all others.
    #[error("off must stand alone, but {with} is listed too")]
    OffWithOthers {
        /// The first of the others.
        with: Condition,
    },
    /// There is no condition.
    #[error("no condition is listed; off says that nothing is retried")]
    Empty,
}

/// A set of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions(u16);

impl Conditions {
    /// The set of these conditions.
    ///
    /// # Errors
    /// When there is none, one occurs twice, or [`Condition::Off`] is not alone.
    pub fn new(conditions: &[Condition]) -> Result<Self, InvalidConditions> {
        let mut set = Self(0);
        for &condition in conditions {
            if set.contains(condition) {
                return Err(InvalidConditions::Twice { condition });
            }
            set.0 |= condition.bit();
        }
        let other = conditions.iter().copied().find(|&condition| condition != Condition::Off);
        match (other, set.is_off()) {
            (Some(with), true) => Err(InvalidConditions::OffWithOthers { with }),
            (None, false) => Err(InvalidConditions::Empty),
            _ => Ok(set),
        }
    }

    /// Whether this one is in it.
    pub const fn contains(self, condition: Condition) -> bool {
        self.0 & condition.bit() != 0
    }

    /// Whether nothing is to be retried.
    pub const fn is_off(self) -> bool {
        self.contains(Condition::Off)
    }
}

/// `error timeout invalid_header http_502 http_503 http_504`: what says that this upstream cannot serve the
/// request, rather than that the request is at fault. nginx's own default is `error timeout`.
impl Default for Conditions {
    fn default() -> Self {
        use Condition::{Error, Http502, Http503, Http504, InvalidHeader, Timeout};
        let defaults = [Error, Timeout, InvalidHeader, Http502, Http503, Http504];
        Self(defaults.into_iter().fold(0, |bits, condition| bits | condition.bit()))
    }
}
