//! The tables of the configuration file.

use serde::Deserialize;

use super::values::{CheckPath, Count, Millis};
use super::words::{self, LogFormat, LogTarget, Protocol};
use crate::policy::retry::Conditions;

/// Further attempts (nginx: `proxy_next_upstream` and its kin).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// What makes an attempt one that may be made again elsewhere.
    #[serde(deserialize_with = "words::conditions")]
    pub on: Conditions,
    /// Attempts per request, the first one included; 0: every upstream once.
    pub tries: Count<0, 1_000, 0>,
    /// No attempt begins later than this after the first; 0: no limit.
    pub timeout_ms: Millis<0, 3_600_000, 0>,
    /// Whether requests that are not idempotent are sent again although an upstream may have acted on them.
    pub non_idempotent: bool,
    /// How much of a request's body is kept to be sent again. A longer one is sent once.
    pub body_limit_bytes: Count<0, 16_777_216, 65_536>,
    /// Further attempts, in percent of the requests.
    pub budget_percent: Count<0, 100, 20>,
    /// Further attempts per second that are always allowed.
    pub budget_min_per_second: Count<0, 1_000_000, 10>,
}

/// One attempt.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attempt {
    /// For a connection to be there.
    pub connect_timeout_ms: Millis<1, 600_000, 250>,
    /// The shortest wait for the first byte of a response, while another upstream could be asked.
    pub first_byte_min_ms: Millis<1, 600_000, 25>,
    /// The longest such wait.
    pub first_byte_max_ms: Millis<1, 600_000, 1_000>,
    /// The wait between these bounds, in percent of the 99th percentile of what was observed lately. With 100, one
    /// request in a hundred would be made again without need.
    pub first_byte_multiple_percent: Count<110, 10_000, 300>,
    /// The last attempt's wait for the head of the response, and any wait between two pieces of a body.
    pub read_timeout_ms: Millis<1, 3_600_000, 60_000>,
    /// For a piece of a request to be taken.
    pub write_timeout_ms: Millis<1, 3_600_000, 60_000>,
}

impl Attempt {
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let (min, max) = (self.first_byte_min_ms.get(), self.first_byte_max_ms.get());
        if min > max {
            let message = format!("{min} is more than attempt.first_byte_max_ms, which is {max}");
            return Err(("attempt.first_byte_min_ms".to_owned(), message));
        }
        Ok(())
    }
}

/// Upstreams, each of them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// Unused connections kept, per upstream and thread; 0: none.
    pub keepalive: Count<0, 65_536, 128>,
    /// Failures within `fail_timeout_ms` that eject an upstream; 0: it is never ejected.
    pub max_fails: Count<0, 1_000_000, 1>,
    /// The time in which failures are counted, and for which an upstream is then out.
    pub fail_timeout_ms: Millis<1, 3_600_000, 10_000>,
    /// How long a new incarnation takes to get its full share; 0: it has it at once.
    pub slow_start_ms: Millis<0, 3_600_000, 0>,
    /// What is spoken with upstreams.
    pub protocol: Protocol,
    /// How long an unused connection is kept.
    pub idle_timeout_ms: Millis<1, 3_600_000, 30_000>,
    /// How long the upstream's kernel may leave data unacknowledged. A machine that is gone shows here, long
    /// before a program that is slow would time out.
    pub ack_timeout_ms: Millis<1, 600_000, 1_000>,
}

/// Sizes and numbers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest head of a request.
    pub header_bytes: Count<256, 1_048_576, 32_768>,
    /// For all of a request's head, from its first byte; for the first head of a connection, from its start.
    pub header_timeout_ms: Millis<1, 600_000, 10_000>,
    /// The largest body of a request.
    pub body_bytes: Count<0, 1_099_511_627_776, 16_777_216>,
    /// Connections of clients at a time, of all listeners; more wait in the kernel's queue.
    pub connections: Count<1, 1_000_000, 10_000>,
    /// Requests served at a time; more are answered with 503. Each may take a connection to an upstream.
    pub requests: Count<1, 10_000_000, 20_000>,
    /// Requests per second from one client, which is an IPv4 address or an IPv6 network of 64 bits; 0: no limit.
    pub requests_per_second_per_client: Count<0, 1_000_000, 0>,
    /// The largest upstream set.
    pub upstreams: Count<1, 16_384, 4_096>,
}

/// Clients' connections.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// From the end of one response to the first byte of the next request.
    pub idle_timeout_ms: Millis<1, 3_600_000, 60_000>,
    /// Between two pieces of a request's body. A slower client gets 408.
    pub read_timeout_ms: Millis<1, 600_000, 10_000>,
    /// For a piece of a response to be taken.
    pub write_timeout_ms: Millis<1, 600_000, 30_000>,
    /// Requests on one connection.
    pub requests: Count<1, 4_294_967_295, 100_000>,
    /// HTTP/2 streams open at a time on one connection.
    pub h2_streams: Count<1, 65_536, 128>,
    /// Whether the `X-Forwarded-*` that a client sends are kept and extended, rather than replaced.
    pub trust_forwarded: bool,
}

/// The load balancer's own checks of its upstreams.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// What is asked for.
    pub path: CheckPath,
    /// Between the beginnings of two checks of one upstream.
    pub interval_ms: Millis<10, 3_600_000, 1_000>,
    /// For the whole check.
    pub timeout_ms: Millis<1, 600_000, 500>,
    /// Good checks in a row that bring an upstream back.
    pub rise: Count<1, 1_000, 2>,
    /// Bad checks in a row that take an upstream out.
    pub fall: Count<1, 1_000, 2>,
    /// The status of a good answer.
    pub expect_status: Count<100, 599, 200>,
}

/// The access log.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// Where it is written.
    pub path: LogTarget,
    /// How a line looks.
    pub format: LogFormat,
    /// One request in this many is logged.
    pub sample: Count<1, 1_000_000, 1>,
    /// Records that may wait to be written; more are dropped and counted.
    pub queue: Count<1, 65_536, 4_096>,
}

/// The heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heartbeat {
    /// Between two events.
    pub interval_ms: Millis<1, 60_000, 100>,
}

/// The end.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long new connections are still taken after the end was announced.
    pub linger_ms: Millis<0, 600_000, 1_000>,
    /// How long open requests may then take.
    pub timeout_ms: Millis<0, 3_600_000, 10_000>,
    /// The same, when a successor serves already, so that nobody waits for the end.
    pub upgrade_timeout_ms: Millis<0, 86_400_000, 3_600_000>,
}
