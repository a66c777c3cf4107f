//! The service as a client sees it: in process on a port of the kernel's choice, and as the real program.

mod bad_input;
mod floods;
mod heartbeats;
mod limits;
mod log;
mod program;
mod support;
mod values;
mod way_out;
