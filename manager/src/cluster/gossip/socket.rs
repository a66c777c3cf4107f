//! The gossip's way through the cluster's socket. Datagrams that cannot be sent or read are lost, and the protocol
//! lives with that; an error means that this socket is not used any more.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::super::session::Kind;
use super::super::transport::{Endpoint, GOSSIP_MAX_BYTES, GossipMessage};

/// Opens sockets that are all the same one; only the last that was opened receives.
pub(super) struct Sealed(pub(super) Arc<Endpoint>);

#[async_trait]
impl Transport for Sealed {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(SealedSocket { endpoint: Arc::downgrade(&self.0), messages: self.0.read_gossip() }))
    }
}

struct SealedSocket {
    /// Weak, so that the socket is closed when the cluster is stopped, however long the gossip takes to notice.
    endpoint: Weak<Endpoint>,
    messages: mpsc::Receiver<GossipMessage>,
}

#[async_trait]
impl Socket for SealedSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let endpoint = self.endpoint.upgrade().ok_or_else(|| anyhow::anyhow!("the cluster is stopped"))?;
        let bytes = message.serialize_to_vec();
        if bytes.len() > GOSSIP_MAX_BYTES {
            warn!(%to, bytes = bytes.len(), most = GOSSIP_MAX_BYTES, "gossip does not fit into a datagram");
        } else if !endpoint.send_to(to, Kind::Gossip, &bytes) {
            // The gossip learns addresses from others; only configured ones are spoken to.
            debug!(%to, "gossip for an address that is no peer's");
        }
        Ok(())
    }

    /// Dropping the future loses nothing.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let (from, bytes) =
                self.messages.recv().await.ok_or_else(|| anyhow::anyhow!("replaced by another socket"))?;
            match ChitchatMessage::deserialize(&mut &bytes[..]) {
                Ok(message) => return Ok((from, message)),
                Err(error) => warn!(%from, %error, "gossip cannot be understood"),
            }
        }
    }
}
