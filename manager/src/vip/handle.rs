//! How everybody else speaks to the loop.

use std::collections::BTreeMap;
use std::time::Duration;

use manager_core::core::LbTarget;
use manager_core::vip::{Event, Handed, HandoverError};
use tokio::sync::{mpsc, oneshot};
use wire::{VipNomination, VipNominationAnswer, VipStatus};

use super::{Message, Peer, check};

/// A handover to the last of several peers takes several nominations.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(10);
/// Everything else is answered at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The address did not move.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// No answer in time, or the manager is stopping.
    #[error("the manager is stopping, or too busy to answer: look again")]
    Unavailable,
}

/// A way to speak to the loop.
#[derive(Debug, Clone)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
}

impl Handle {
    pub(super) const fn new(messages: mpsc::Sender<Message>) -> Self {
        Self { messages }
    }

    /// A peer asks this node to take the address. Answered when it has, or will not.
    ///
    /// # Errors
    /// If the loop does not answer.
    pub async fn nominated(
        &self,
        from: String,
        nomination: VipNomination,
    ) -> Result<VipNominationAnswer, RequestError> {
        self.ask(ANSWER_TIMEOUT, |reply| Message::Nominated(from, nomination, reply)).await
    }

    /// Hands the address over; `None` leaves the choice.
    ///
    /// # Errors
    /// If it did not move; the address is served as before then.
    pub async fn handover(&self, to: Option<String>) -> Result<Handed, RequestError> {
        Ok(self.ask(HANDOVER_TIMEOUT, |reply| Message::Handover(to, reply)).await??)
    }

    /// Hands the address over before this manager leaves for good.
    ///
    /// # Errors
    /// If nobody takes it.
    pub async fn leave(&self) -> Result<Handed, RequestError> {
        Ok(self.ask(HANDOVER_TIMEOUT, Message::Leave).await??)
    }

    /// The other managers are these from now on.
    ///
    /// # Errors
    /// If the loop does not answer; it may still take them.
    pub async fn set_peers(&self, peers: BTreeMap<String, Peer>) -> Result<(), RequestError> {
        self.ask(ANSWER_TIMEOUT, |reply| Message::Peers(peers, reply)).await
    }

    /// The address as this node sees it.
    ///
    /// # Errors
    /// If the loop does not answer.
    pub async fn status(&self) -> Result<VipStatus, RequestError> {
        self.ask(ANSWER_TIMEOUT, Message::Status).await
    }

    pub(super) async fn event(&self, event: Event) {
        let _ = self.messages.send(Message::Event(event)).await;
    }

    pub(super) async fn checked(&self, target: LbTarget, verdict: check::Verdict) {
        let _ = self.messages.send(Message::Checked { target, verdict }).await;
    }

    async fn ask<T>(
        &self,
        limit: Duration,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.messages.send(message(reply)).await.map_err(|_| RequestError::Unavailable)?;
            answer.await.map_err(|_| RequestError::Unavailable)
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(RequestError::Unavailable))
    }
}
