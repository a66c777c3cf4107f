//! Long work on the control thread lets requests go first.
//!
//! A processor that works on a large upstream set for a millisecond is one that requests wait for: a woken thread does
//! not always get another one. So such work gives way after each piece of it. Small sets are never held up: a removal
//! has to be quick, whatever else the machine does. It refuses to know what the work is.

/// Upstreams that are worked on in one piece: some 50 µs.
const PIECE: usize = 128;

/// To be called when `done` of the upstreams of a set have been worked on: after each piece, whoever is ready to run
/// goes first (`sched_yield(2)`).
pub(crate) fn after(done: usize) {
    if done > 0 && done.is_multiple_of(PIECE) {
        std::thread::yield_now();
    }
}

/// To be called between two pieces of work on a whole set of this size.
pub(crate) fn between(upstreams: usize) {
    if upstreams >= PIECE {
        std::thread::yield_now();
    }
}
