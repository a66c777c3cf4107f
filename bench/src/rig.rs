//! What comparisons are made in: network namespaces, programs in them, and what the kernel says of those.
//!
//! All of it goes when its owner is dropped. A run that was killed leaves namespaces that name its process; the
//! next run removes them. It refuses to touch anything that it did not make.

pub mod admin;
pub mod environment;
pub mod interrupt;
pub mod namespace;
pub mod network;
pub mod output;
pub mod packet;
pub mod process;
pub mod tools;
pub mod usage;
pub mod wait;

pub(crate) mod ip;
