//! The manager's integration tests, in one binary because linking is slow.

mod hypervisor;
mod libvirtd;
mod net;
mod net_lan;
mod net_vip;
mod reload;
