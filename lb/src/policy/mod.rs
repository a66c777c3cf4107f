//! The decisions of the data path, as pure functions: which upstream comes next, and whether a failed attempt
//! may be made again elsewhere.
//!
//! Nothing here does I/O, reads a clock or knows the proxy's types, so that every data path can share it.

pub mod retry;
pub mod select;
