//! The daemon on each host that creates, watches, heals and removes VMs.
//!
//! Decisions are made in the `manager-core` crate; this one does what they ask for. [`driver`] is the loop
//! between the two; [`hypervisor`] and [`net`] reach the machine, [`push`] and [`stream`] the VMs and the
//! peers, [`cluster`] joins the managers to one, [`scale`] spreads service VMs over them, [`vip`] sees to the public
//! address, [`reload`] takes a changed configuration into effect, [`api`] is how others reach the manager, and [`cli`] is the administrator's side of that.

pub mod api;
pub mod capacity;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod disk;
pub mod driver;
pub mod hypervisor;
pub mod identity;
pub mod journal;
pub mod members;
pub mod metrics;
pub mod net;
pub mod push;
pub mod reload;
pub mod run;
pub mod scale;
pub mod stream;
pub mod vip;
