//! The demonstration service: random values over HTTP/1.1, on one listener.
//!
//! It exists to be killed, drained and measured, so its interface is small and strict: a value is either
//! right and in range, or the answer is an error that names the parameter at fault. It keeps no state that
//! a client could miss: any instance can answer any request.
//!
//! It refuses to terminate TLS, to authenticate, and to seed its generator from a request.

pub mod accept;
pub mod config;
pub mod query;
pub mod value;

mod answer;
mod connection;
mod heartbeat;
mod load;
mod metrics;
mod origin;
mod routes;
mod serve;

pub use config::Config;
pub use serve::{Drained, ServeError, serve};
