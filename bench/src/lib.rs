//! Measures what clients see: the truth at the client's end of the connection, without retries and without
//! waiting for slow answers before the next question.
//!
//! It refuses to look at anything but answers: neither metrics nor logs of the system under test count.

pub mod contract;
pub mod options;
pub mod probe;
pub mod report;
pub mod timeline;

mod client;
