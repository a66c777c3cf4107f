//! A timer that is moved far more often than it fires.
//!
//! Every request moves its connection's deadline several times, nearly always further away. Moving a timer of
//! the runtime takes a lock and a walk through its wheel, so this one only notes the new time, and moves the
//! runtime's timer when that has fired too early. A deadline nearer than the runtime's timer moves it at once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that can be set anew, cheaply.
#[derive(Debug)]
pub(crate) struct Timer {
    due: Instant,
    /// Never later than `due`, unless it has fired and was not polled since.
    sleep: Pin<Box<Sleep>>,
    fired: bool,
}

impl Timer {
    /// A timer that is due at this time.
    pub(crate) fn at(due: Instant) -> Self {
        Self { due, sleep: Box::pin(sleep_until(due)), fired: false }
    }

    /// A timer that is due after this time.
    pub(crate) fn after(duration: Duration) -> Self {
        Self::at(Instant::now() + duration)
    }

    /// From now on it is due at this time.
    pub(crate) fn set(&mut self, due: Instant) {
        self.due = due;
        if due < self.sleep.deadline() {
            self.sleep.as_mut().reset(due);
            self.fired = false;
        }
    }

    /// Ready when it is due, and as often as it is asked from then on.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.fired {
                if self.sleep.deadline() >= self.due {
                    return Poll::Ready(());
                }
                self.sleep.as_mut().reset(self.due);
                self.fired = false;
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.fired = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Timer;

    #[tokio::test(start_paused = true)]
    async fn it_fires_when_it_was_set_last() {
        let begin = Instant::now();
        let mut timer = Timer::after(Duration::from_millis(100));
        timer.set(begin + Duration::from_millis(500));
        timer.set(begin + Duration::from_millis(300));
        poll_fn(|cx| timer.poll_due(cx)).await;
        assert_eq!(begin.elapsed(), Duration::from_millis(300));
        poll_fn(|cx| timer.poll_due(cx)).await;
        timer.set(begin + Duration::from_millis(900));
        poll_fn(|cx| timer.poll_due(cx)).await;
        assert_eq!(begin.elapsed(), Duration::from_millis(900));
    }

    #[tokio::test(start_paused = true)]
    async fn a_nearer_deadline_counts_at_once() {
        let begin = Instant::now();
        let mut timer = Timer::after(Duration::from_secs(60));
        timer.set(begin + Duration::from_millis(5));
        poll_fn(|cx| timer.poll_due(cx)).await;
        assert_eq!(begin.elapsed(), Duration::from_millis(5));
    }
}
