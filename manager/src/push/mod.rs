//! Telling others: the own load balancer its upstreams, the peers our services.
//!
//! Both are told the whole truth each time, never a difference, by one task per listener that always sends the
//! latest and skips what was overtaken meanwhile.

pub mod client;
pub mod lb;
pub mod peer;
