//! The deadline for the head of a response.
//!
//! pingora's only timer for reads begins anew with every byte, also runs while a client pauses its upload, and
//! cannot be changed within an attempt. So the head has a deadline of its own: the traffic listener, whose
//! task the request runs in, shuts down the attempt's socket when it is over, and pingora reports a broken
//! connection. Bodies are none of its business: it ends with the head, so it never cuts a response short.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rustix::net::{Shutdown, shutdown};
use tokio::time::{Instant, Sleep};

/// The deadline of a client's present attempt.
#[derive(Debug, Default)]
pub struct HeadDeadline(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// No head is awaited.
    #[default]
    Off,
    /// One is awaited on this connection until then; for ever while the request is not complete.
    Waiting { socket: OwnedFd, due: Option<Instant> },
    /// It did not come in time.
    Over,
}

impl HeadDeadline {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A head is awaited on this connection.
    pub(super) fn begin(&self, socket: OwnedFd, due: Option<Instant>) {
        *self.state() = State::Waiting { socket, due };
    }

    /// If one is awaited, then until this time.
    pub(super) fn set(&self, new: Instant) {
        if let State::Waiting { due, .. } = &mut *self.state() {
            *due = Some(new);
        }
    }

    /// No head is awaited any more. True when it did not come in time: what came after that must not be used,
    /// because its connection has been shut down.
    pub(super) fn end(&self) -> bool {
        matches!(std::mem::take(&mut *self.state()), State::Over)
    }

    fn due(&self) -> Option<Instant> {
        match *self.state() {
            State::Waiting { due, .. } => due,
            State::Off | State::Over => None,
        }
    }

    fn expire(&self) {
        let mut state = self.state();
        if let State::Waiting { socket, .. } = &*state {
            if let Err(e) = shutdown(socket, Shutdown::Both) {
                tracing::debug!("upstream gone at its deadline: {e}");
            }
            *state = State::Over;
        }
    }

    /// Shuts down the connection on which a head is overdue. To be polled whenever the request was, since it
    /// learns only then of a new deadline; `timer` is kept from one call to the next.
    pub async fn enforce(&self, mut timer: Pin<&mut Sleep>) {
        poll_fn(|cx| self.poll_enforce(timer.as_mut(), cx)).await;
    }

    fn poll_enforce(&self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due() else { return Poll::Pending };
        // Moving a timer costs more than waking up for nothing once in a while, so it only moves forward.
        if due < timer.deadline() {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                self.expire();
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
