//! The edges of the protocols, byte by byte: what reaches the upstream, what reaches the client, and what neither
//! ever sees.

mod bodies;
mod connections;
mod grpc;
mod h2_client;
mod h2_malformed;
mod h2_streams;
mod h2_upstream;
mod h2_upstream_failures;
mod heads;
mod interim;
mod limits;
mod refusals;
mod regressions;
mod support;
mod tls;
mod upgrade;
mod upstream_framing;
