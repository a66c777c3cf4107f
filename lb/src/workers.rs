//! The threads that carry traffic.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::listeners::Listeners;
use crate::traffic::{Listener, Traffic};

/// The threads.
pub(crate) struct Workers {
    threads: Vec<JoinHandle<()>>,
    /// The accept loops of all threads.
    accepting: TaskTracker,
    left: CancellationToken,
    stop: CancellationToken,
}

impl Workers {
    /// Starts so many threads, each of which takes connections from all sockets.
    ///
    /// # Errors
    /// When a thread, its runtime or its view of a socket cannot be had.
    pub(crate) fn start(traffic: &Traffic, listeners: &Listeners, threads: usize) -> Result<Self, Error> {
        let (left, stop) = (CancellationToken::new(), CancellationToken::new());
        let mut workers = Self { threads: Vec::new(), accepting: TaskTracker::new(), left, stop };
        for index in 0..threads {
            let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Threads)?;
            let guard = runtime.enter();
            for (listening, tls) in listeners.traffic() {
                // All are the same socket, so a connection goes to whoever is free.
                let listener = Listener { socket: listening.to_tokio()?, tls: tls.cloned() };
                let accept = traffic.clone().accept(listener, index);
                let left = workers.left.clone();
                drop(workers.accepting.spawn(async move { left.run_until_cancelled(accept).await }));
            }
            drop(tokio::spawn(traffic.clone().sweep(index)));
            drop(guard);
            let stop = workers.stop.clone();
            let thread = thread::Builder::new().name(format!("lb-traffic-{index}"));
            let thread = thread.spawn(move || {
                runtime.block_on(stop.cancelled());
                runtime.shutdown_timeout(Duration::from_millis(100));
            });
            workers.threads.push(thread.map_err(Error::Threads)?);
        }
        workers.accepting.close();
        Ok(workers)
    }

    /// No thread takes connections from now on: those that wait are left to whoever else has the sockets.
    pub(crate) fn leave(&self) {
        self.left.cancel();
    }

    /// Done when no thread takes connections any more.
    pub(crate) async fn accepted(&self) {
        self.accepting.wait().await;
    }

    /// Ends the threads with all they have.
    pub(crate) fn stop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A panic there was logged there.
            let _ = thread.join();
        }
    }
}

/// Threads that were started are not left behind by an error.
impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}
