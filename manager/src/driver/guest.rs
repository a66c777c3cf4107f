//! The talk with PID 1 of one VM, for as long as the VM lives.
//!
//! The VM says that it waits, and is told who it is; later it says when its program was started or ended. The
//! talk is opened again whenever it breaks: a VM can be without it, but a manager that knows that a program has
//! just started need not guess when to connect.

use std::convert::Infallible;
use std::path::PathBuf;

use manager_core::Event;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use wire::{FromGuest, Identity, ToGuest};

use super::Handle;
use super::actions::REOPEN;
use crate::hypervisor::guest;

/// Talks until it is dropped. `orders` are passed on in between.
pub(super) async fn talk(
    socket: PathBuf,
    id: String,
    incarnation: u64,
    identity: impl Fn() -> Identity,
    driver: Handle,
    mut orders: mpsc::Receiver<ToGuest>,
) -> Infallible {
    // One for the whole life: a VM that says twice that it waits is told twice the same.
    let mut assign = None;
    let mut last: Option<FromGuest> = None;
    loop {
        match guest::connect(&socket).await {
            Ok(mut port) => {
                loop {
                    let line = tokio::select! {
                        line = next(&mut port, &id, incarnation) => line,
                        Some(order) = orders.recv() => {
                            if let Err(error) = port.send(&order).await {
                                warn!(id, incarnation, %error, "cannot give the VM an order");
                            }
                            continue;
                        }
                    };
                    let Some(line) = line else { break };
                    if let FromGuest::Waiting(_) = line {
                        let assign = assign.get_or_insert_with(|| ToGuest::Assign(Box::new(identity())));
                        if let Err(error) = port.send(assign).await {
                            warn!(id, incarnation, %error, "cannot tell the VM its identity");
                            break;
                        }
                    }
                    // Whoever connects is told the state, and whoever asks is told it again.
                    let again = matches!(line, FromGuest::Started { .. }) && last.as_ref() == Some(&line);
                    if !again {
                        hear(&id, incarnation, &line, &driver).await;
                    }
                    if let FromGuest::Started { .. } = line {
                        last = Some(line);
                    }
                }
                debug!(id, incarnation, "the VM's port was closed");
            }
            Err(error) => debug!(id, incarnation, %error, "cannot open the VM's port"),
        }
        tokio::time::sleep(REOPEN).await;
    }
}

/// The next line, or none when the port is of no more use.
async fn next(port: &mut guest::GuestPort, id: &str, incarnation: u64) -> Option<FromGuest> {
    loop {
        match port.recv().await {
            Ok(line) => return line,
            // A newer VM may say what an older manager does not understand.
            Err(error @ guest::Error::Malformed { .. }) => {
                warn!(id, incarnation, %error, "the VM says something odd");
            }
            Err(error) => {
                debug!(id, incarnation, %error, "the VM's port failed");
                return None;
            }
        }
    }
}

async fn hear(id: &str, incarnation: u64, line: &FromGuest, driver: &Handle) {
    match line {
        FromGuest::Waiting(stages) => debug!(id, incarnation, ?stages, "waits for its identity"),
        FromGuest::Assigned { .. } => debug!(id, incarnation, "took its identity"),
        FromGuest::Rejected { message } => {
            let event = Event::GuestRefused { id: id.to_owned(), incarnation, error: message.clone() };
            driver.event(event).await;
        }
        FromGuest::Started { pid, restarts, stages } => {
            info!(id, incarnation, pid, restarts, ?stages, "program started");
            driver.program(id.to_owned(), incarnation, true).await;
            driver.event(Event::GuestStarted { id: id.to_owned(), incarnation }).await;
        }
        FromGuest::Exited { status, backoff_ms } => {
            warn!(id, incarnation, status, backoff_ms, "program ended; the VM starts it again");
            driver.program(id.to_owned(), incarnation, false).await;
        }
        FromGuest::Draining => info!(id, incarnation, "the VM drains"),
    }
}
