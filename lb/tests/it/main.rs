//! The load balancer against real upstreams that misbehave, on loopback.

mod admin;
mod expect;
mod forward;
mod heartbeat;
mod hidden;
mod membership;
mod process;
mod retry;
mod reuse;
mod state;
mod support;
mod timeouts;
