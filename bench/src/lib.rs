//! Measures what clients see: the truth at the client's end of the connection, without retries and without
//! waiting for slow answers before the next question. Where systems are compared, all of them run on this
//! machine, one after the other, in namespaces made for it.
//!
//! It refuses to believe the system under test: its metrics and logs count for nothing. Only answers do, and what
//! the kernel says of processor time and memory.

pub mod balancer;
pub mod churn;
pub mod contract;
pub mod options;
pub mod probe;
pub mod proxy;
pub mod record;
pub mod report;
pub mod rig;
pub mod samples;
pub mod stats;
pub mod timeline;
pub mod upstream_loss;
pub mod vip;

mod alarm;
mod client;
