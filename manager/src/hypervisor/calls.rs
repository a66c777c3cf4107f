//! Runs blocking calls with a limit on how many there are and how long anybody waits for one.
//!
//! A call to a libvirtd that hangs cannot be interrupted: its thread stays until libvirtd answers or ends. So
//! each call has a thread of its own (the runtime's blocking pool would make a shutdown wait for it), a thread
//! keeps its slot as long as it lives, and when all slots are taken callers are turned away.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// Why a call brought no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoResult {
    /// All slots were taken by calls that have not come back.
    Busy,
    /// It has not come back in time, and may still have its effect.
    Late,
    /// Its thread could not be started, or panicked.
    Lost,
}

/// Slots for blocking calls.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    slots: Arc<Semaphore>,
    timeout: Duration,
}

impl Calls {
    pub(super) fn new(slots: usize, timeout: Duration) -> Self {
        Self { slots: Arc::new(Semaphore::new(slots)), timeout }
    }

    /// Runs `call`. If nobody waits any more when it comes back, its result goes to `undo`, on its thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
        undo: impl FnOnce(T) + Send + 'static,
    ) -> Result<T, NoResult> {
        let deadline = Instant::now() + self.timeout;
        let slot = timeout_at(deadline, Arc::clone(&self.slots).acquire_owned()).await;
        let slot = slot.map_err(|_| NoResult::Busy)?.map_err(|_| NoResult::Lost)?;
        let (sender, mut receiver) = oneshot::channel();
        let thread = thread::Builder::new().name("libvirt".to_owned()).spawn(move || {
            let _slot = slot;
            if let Err(unwanted) = sender.send(call()) {
                undo(unwanted);
            }
        });
        thread.map_err(|_| NoResult::Lost)?;
        match timeout_at(deadline, &mut receiver).await {
            Ok(result) => result.map_err(|_| NoResult::Lost),
            Err(_) => {
                // From here on the thread sees that nobody waits; what it sent before is still to be had.
                receiver.close();
                receiver.try_recv().map_err(|_| NoResult::Late)
            }
        }
    }
}

#[cfg(test)]
mod tests;
