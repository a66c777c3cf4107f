//! Bytes in and out: connections, their buffers, and the timers that bound them. Knows nothing of HTTP.

mod buffered;
mod connect;
mod timer;
mod transport;
mod unsent;

pub(crate) use self::buffered::Buffered;
pub(crate) use self::connect::{Connector, is_out_of_resources};
pub(crate) use self::timer::Timer;
pub(crate) use self::transport::Transport;
