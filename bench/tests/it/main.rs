//! The prober against servers that misbehave on purpose, and the real program's output.

mod outcomes;
mod program;
mod rig;
mod server;
