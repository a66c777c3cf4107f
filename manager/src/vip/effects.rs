//! Does what the machine asks for, each thing in a task of its own.

use std::sync::Arc;

use http::Method;
use manager_core::vip::{Action, Event, Outcome, Record};
use tracing::{debug, warn};
use wire::{VipNomination, VipNominationAnswer};

use super::Driver;
use crate::push::client::Client;

/// Whether anything speaks HTTP where `node`'s manager should be. Whoever can redirect the LAN's traffic can answer, so
/// nothing is asked for, nothing of the answer is believed, and no token is shown: see [`super::Peer::new`].
async fn is_there(probe: &Client, node: &str) -> bool {
    let answer = probe.answers("/healthz").await;
    if let Err(error) = &answer {
        debug!(node, %error, "a silent peer does not answer");
    }
    answer.is_ok()
}

impl Driver {
    pub(super) fn execute(&mut self, action: Action) {
        match action {
            Action::Persist(record) => self.persist(record),
            Action::ProbePeer { round, node } => self.probe_peer(round, node),
            Action::ProbeAddress { round } => self.probe_address(round),
            Action::Nominate { node, epoch, drain } => self.nominate(node, epoch, drain),
            Action::AnswerNomination { id, outcome } => self.answer_nomination(id, outcome),
            Action::AnswerHandover { id, result } => {
                if let Some(reply) = self.handovers.remove(&id) {
                    let _ = reply.send(result);
                }
            }
            Action::Announce => self.parts.announcer.start(),
            Action::StopAnnouncing => self.parts.announcer.stop(),
            Action::Beat => self.say(&self.vip.report()),
            Action::Log { from, to, reason } => self.log(from, to, &reason),
            Action::Note(text) => self.note(&text),
        }
    }

    fn persist(&self, record: Record) {
        let (disk, handle, metrics) =
            (self.parts.disk.clone(), self.handle.clone(), Arc::clone(&self.parts.metrics));
        tokio::spawn(async move {
            let epoch = record.epoch();
            let written = tokio::task::spawn_blocking(move || disk.store_vip(&record)).await;
            let error = match written {
                Ok(Ok(())) => return handle.event(Event::Persisted { epoch }).await,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            metrics.persist_failures.with_label_values(&["vip"]).inc();
            warn!(error, epoch, "cannot write the record of the public address");
            handle.event(Event::PersistFailed { epoch, error }).await;
        });
    }

    fn probe_peer(&self, round: u64, node: String) {
        let Some(peer) = self.parts.peers.get(&node) else { return };
        let (client, handle) = (peer.probe.clone(), self.handle.clone());
        tokio::spawn(async move {
            let reachable = is_there(&client, &node).await;
            handle.event(Event::PeerProbed { round, reachable }).await;
        });
    }

    fn probe_address(&self, round: u64) {
        let (announcer, handle) = (Arc::clone(&self.parts.announcer), self.handle.clone());
        let stations = self.stations();
        tokio::spawn(async move {
            match announcer.probe().await {
                Ok(answer) => {
                    let answer = match answer {
                        Some(mac) => Some(stations.at(mac).await),
                        None => None,
                    };
                    handle.event(Event::AddressProbed { round, answer }).await;
                }
                // What could not be asked was not answered: the machine asks again by itself.
                Err(error) => debug!(%error, "cannot ask who has the address"),
            }
        });
    }

    fn nominate(&self, node: String, epoch: u64, drain: bool) {
        let Some(peer) = self.parts.peers.get(&node) else { return };
        let (client, handle) = (peer.nominate.clone(), self.handle.clone());
        let path = format!("/v1/peers/{}/vip/nomination", self.parts.config.node);
        tokio::spawn(async move {
            let nomination = VipNomination { epoch, drain };
            let answer = client.send::<VipNominationAnswer>(Method::POST, &path, &nomination).await;
            let outcome = match answer {
                Ok(VipNominationAnswer { accepted: true, .. }) => Outcome::Accepted,
                Ok(VipNominationAnswer { reason, highest, .. }) => Outcome::Refused {
                    reason: reason.unwrap_or_else(|| "no reason given".to_owned()),
                    highest,
                },
                Err(error) => Outcome::Failed { reason: error.to_string() },
            };
            handle.event(Event::NominationAnswered { node, epoch, outcome }).await;
        });
    }
}

#[cfg(test)]
mod tests;
