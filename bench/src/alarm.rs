//! Waking at an instant to within microseconds. tokio's own timers know milliseconds only, which is as long as
//! a whole request takes, and would hide what a prober wants to see.
#![allow(unsafe_code, reason = "one promise about who owns a descriptor")]

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// One timer of the kernel's, for one waiter at a time.
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    /// A timer that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // SAFETY: an `OwnedFd` has one descriptor for its whole life and closes it only when it is dropped; the
        // `AsyncFd` owns it, hands out no more than references, and removes its registration first.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self { timer })
    }

    /// Returns at `deadline`, at once if that has passed. Dropping the future is safe: the next call sets anew.
    pub(crate) async fn until(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // The loop around this must let others run, however far behind it is.
            tokio::task::consume_budget().await;
            return Ok(());
        }
        let value = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Setting it also forgets an expiry that nobody has read.
        timerfd_settime(
            self.timer.get_ref(),
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: interval, it_value: value },
        )?;
        while Instant::now() < deadline {
            let mut ready = self.timer.readable().await?;
            let mut expiries = [0; 8];
            match rustix::io::read(self.timer.get_ref(), &mut expiries) {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
