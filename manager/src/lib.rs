//! The daemon on each host that creates, watches, heals and removes VMs.
//!
//! Decisions are made in the `manager-core` crate; this one does what they ask for. [`driver`] is the loop
//! between the two; [`hypervisor`] and [`net`] reach the machine, [`push`] and [`stream`] the VMs and the
//! peers, [`cluster`] joins the managers to one, [`vip`] sees to the public address, [`api`] is how others reach the manager, and [`cli`] is the
//! administrator's side of that.

pub mod api;
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
pub mod run;
pub mod stream;
pub mod vip;
