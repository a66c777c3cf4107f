//! The load balancer against real upstreams that misbehave, on loopback.

mod access_log;
mod admin;
mod balance;
mod check_config;
mod checks;
mod cut;
mod deadline;
mod edges;
mod ejection;
mod expect;
mod forward;
mod heartbeat;
mod hidden;
mod load;
mod membership;
mod process;
mod program;
mod queue;
mod reload;
mod retry;
mod reuse;
mod signals;
mod state;
mod support;
mod timeouts;
mod upgrade;
