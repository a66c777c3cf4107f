//! The manager's decisions, and nothing else.
//!
//! Everything here is a state machine or a function without I/O: the time comes in as an argument, what shall
//! be done comes out as [`Action`]s, and the driver in the `manager` crate does it. So each decision can be
//! tested by a table, and a whole cluster's history by replaying events.
//!
//! - [`heartbeat`]: is this VM alive?
//! - [`slot`]: one address and the succession of VMs that hold it.
//! - [`pool`]: which addresses are there, and which is next?
//! - [`peers`]: what do the other managers say they serve?
//! - [`scale`]: which node shall have how many of the cluster's service VMs?
//! - [`vip`]: who answers for the public address?
//! - [`core`]: all of it together: [`Core::step`] takes an [`Event`] and emits [`Action`]s.
//!
//! What is *not* here: sockets, libvirt, clocks, files, logging, random numbers.

pub mod backoff;
pub mod core;
pub mod desired;
pub mod heartbeat;
pub mod peers;
pub mod pool;
pub mod scale;
pub mod slot;
pub mod time;
pub mod vip;

pub use crate::core::{Action, Config, Core, Event, Observed, Transition};
pub use crate::desired::{Desired, DesiredVm};
pub use crate::time::Time;
