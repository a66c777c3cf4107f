//! The other nodes: whom this one tells what it serves, one task each. They come and go while the loop runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddrV4};
use std::sync::Arc;

use manager_core::{Action, Event, Time};
use tokio_util::task::AbortOnDropHandle;

use super::Driver;
use crate::config::{Config, Peer};
use crate::identity::Purpose;
use crate::push::client::Client;
use crate::push::peer;

/// Who tells whom, by the peer's name: where its API is, and the task that ends when it is dropped.
pub(super) type Tellers = BTreeMap<String, (SocketAddrV4, AbortOnDropHandle<()>)>;

impl Driver {
    /// Takes `peers` for the other nodes from now on.
    pub(super) fn set_peers(&mut self, now: Time, peers: Vec<Peer>, out: &mut Vec<Action>) {
        self.parts.config = Arc::new(Config { peers, ..(*self.parts.config).clone() });
        self.core.step(now, Event::Peers(self.parts.config.core_peers()), out);
        // Before stock has been taken there is nothing to tell.
        if self.core.ready() {
            self.tell_peers();
        }
    }

    /// Tells every peer what this node serves, and nobody else. Who is told already goes on being told.
    pub(super) fn tell_peers(&mut self) {
        let mut before = std::mem::take(&mut self.tellers);
        let config = Arc::clone(&self.parts.config);
        for Peer { node, api, .. } in &config.peers {
            let same = before.remove(node).filter(|(at, task)| at == api && !task.is_finished());
            let teller = same.unwrap_or_else(|| (*api, self.teller(node, *api)));
            self.tellers.insert(node.clone(), teller);
        }
    }

    fn teller(&self, peer: &str, api: SocketAddrV4) -> AbortOnDropHandle<()> {
        let token = self.parts.secret.token(Purpose::Peer);
        let own = IpAddr::V4(*self.parts.config.api.listen.ip());
        let client = Client::new(api.into(), Some(token), peer::EXCHANGE_TIMEOUT).from(own);
        let (account, driver) = (self.account.subscribe(), self.handle.clone());
        let (node, metrics) = (self.parts.config.node.clone(), Arc::clone(&self.parts.metrics));
        AbortOnDropHandle::new(tokio::spawn(peer::run(
            node,
            peer.to_owned(),
            client,
            account,
            driver,
            metrics,
        )))
    }
}
