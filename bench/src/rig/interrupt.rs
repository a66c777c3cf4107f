//! SIGINT and SIGTERM end a comparison in order: the probe stops, and all that was made is removed.

use anyhow::{Context as _, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::probe::Stop;

/// Whether the user has asked to stop.
#[derive(Debug, Clone)]
pub struct Interrupt {
    order: watch::Receiver<Stop>,
}

impl Interrupt {
    /// Begins to listen, for as long as the process lives.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn listen() -> Result<Self> {
        let (sender, order) = watch::channel(Stop::Run);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                    sender.send_replace(Stop::Abandon);
                }
            });
        })?;
        Ok(Self { order })
    }

    /// What a probe is to watch.
    pub fn order(&self) -> watch::Receiver<Stop> {
        self.order.clone()
    }

    /// That nobody has asked to stop.
    ///
    /// # Errors
    /// When somebody has.
    pub fn check(&self) -> Result<()> {
        ensure!(*self.order.borrow() == Stop::Run, "interrupted");
        Ok(())
    }
}
