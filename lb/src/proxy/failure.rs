//! What pingora's errors mean: which of them are an upstream's failures, and what the client is told.

use pingora::{Error, ErrorSource, ErrorType};

use super::answer::Answer;
use crate::config::Config;
use crate::flow::Flow;
use crate::policy::retry::Failure;

/// An error while connecting.
pub(super) const fn connecting(etype: &ErrorType) -> Failure {
    match etype {
        ErrorType::ConnectTimedout => Failure::ConnectTimeout,
        _ => Failure::ConnectError,
    }
}

/// An error on an established connection; none when it is not the upstream's fault.
pub(super) fn proxying(error: &Error, request_complete: bool) -> Option<Failure> {
    if *error.esource() != ErrorSource::Upstream {
        return None;
    }
    match error.etype() {
        // Waiting for an answer while the client is still sending is waiting for the client.
        ErrorType::ReadTimedout if !request_complete => None,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Some(Failure::Timeout),
        ErrorType::InvalidHTTPHeader => Some(Failure::BadResponse),
        _ => Some(Failure::Reset),
    }
}

/// What the client is told about the error that ends its request; none when it is not there any more.
pub(super) fn answer(error: &Error, flow: &Flow, config: &Config) -> Option<Answer> {
    if let Some((failure, why)) = flow.failure() {
        return Some(Answer::Failed { failure, why, attempts: flow.attempts() });
    }
    match (error.esource(), error.etype()) {
        (_, ErrorType::HTTPStatus(413)) => {
            Some(Answer::BodyTooLarge { limit: config.limits.max_body_bytes.get() })
        }
        (ErrorSource::Upstream, ErrorType::ReadTimedout)
        | (ErrorSource::Downstream, ErrorType::ReadTimedout) => Some(Answer::ClientTooSlow),
        (
            ErrorSource::Downstream,
            ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ReadError
            | ErrorType::ConnectionClosed,
        ) => None,
        (ErrorSource::Downstream, _) => Some(Answer::BadRequest),
        _ => Some(Answer::Internal),
    }
}
