//! The decisions of the data path, as pure functions: which upstream comes next, whether one is fit to be
//! asked, whether a failed attempt may be made again elsewhere, and how long an attempt may stay silent.
//!
//! Nothing here does I/O, reads a clock, draws a random number or knows the proxy's types, so that every data
//! path can share it.

pub mod budget;
pub mod deadline;
pub mod health;
pub mod retry;
pub mod select;
pub mod slow_start;
