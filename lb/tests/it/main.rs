//! The load balancer against real upstreams that misbehave, on loopback.

mod admin;
mod forward;
mod heartbeat;
mod membership;
mod process;
mod retry;
mod state;
mod support;
