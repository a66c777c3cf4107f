//! Sealed datagrams: what leaves and enters the cluster's UDP socket.
//!
//! XChaCha20-Poly1305 (RFC 8439, with the extended nonce of draft-irtf-cfrg-xchacha-03) under a key that HKDF
//! derives from the cluster's secret and name. A nonce of 192 random bits never repeats in practice, so no
//! counter has to survive a restart. The header is readable, and authenticated with the rest:
//!
//! ```text
//! "PHX" version | len cluster | len sender | nonce (24) | ciphertext | tag (16)
//! ```
//!
//! All members share one key: a seal shows that *a* member wrote a datagram, not which one, and not when.
//! When is [`session`](super::session)'s part. This module refuses to judge senders and addresses.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::identity::Secret;

const MAGIC: &[u8; 3] = b"PHX";
const VERSION: u8 = 1;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// The longest name of a node, as in the configuration.
pub const NODE_MAX_BYTES: usize = 20;
/// The longest name of a cluster.
pub const CLUSTER_MAX_BYTES: usize = 32;
/// What the header and the tag of the longest names add to the plain text.
pub const OVERHEAD_MAX_BYTES: usize =
    MAGIC.len() + 1 + 1 + CLUSTER_MAX_BYTES + 1 + NODE_MAX_BYTES + NONCE_BYTES + TAG_BYTES;
/// What UDP over IPv4 can carry.
pub const DATAGRAM_MAX_BYTES: usize = 65_507;

/// The key all datagrams of one cluster are sealed with.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of `cluster`.
    pub fn derive(secret: &Secret, cluster: &str) -> Self {
        Self(secret.key(&format!("datagram/{cluster}")))
    }

    /// A key of these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Why a datagram's envelope cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It ends too early, or a name in its header is none.
    #[error("is cut short or malformed")]
    Malformed,
    /// It is something else.
    #[error("is not a datagram of this protocol")]
    Foreign,
    /// Another version of this protocol.
    #[error("has version {0}; {VERSION} is spoken here")]
    Version(u8),
    /// Its tag does not fit: another secret, or it was changed on the way.
    #[error("is sealed with another secret, or was changed on the way")]
    Key,
}

/// A datagram that was read, but not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The cluster it says it is of. Not to be believed before it is opened.
    pub cluster: &'a str,
    /// The node it says it is from. Not to be believed before it is opened.
    pub sender: &'a str,
    nonce: [u8; NONCE_BYTES],
    header: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads the header of `datagram`.
    ///
    /// # Errors
    /// If it is not a datagram of this protocol and version, or cut short.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, OpenError> {
        let rest = datagram.strip_prefix(MAGIC).ok_or(OpenError::Foreign)?;
        let (&version, rest) = rest.split_first().ok_or(OpenError::Malformed)?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let (cluster, rest) = label(rest, CLUSTER_MAX_BYTES)?;
        let (sender, rest) = label(rest, NODE_MAX_BYTES)?;
        let (nonce, sealed) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        if sealed.len() < TAG_BYTES {
            return Err(OpenError::Malformed);
        }
        let header = &datagram[..datagram.len() - sealed.len()];
        Ok(Self { cluster, sender, nonce: *nonce, header, sealed })
    }
}

/// A name with its length before it.
fn label(bytes: &[u8], max: usize) -> Result<(&str, &[u8]), OpenError> {
    let (&length, rest) = bytes.split_first().ok_or(OpenError::Malformed)?;
    let (name, rest) = rest.split_at_checked(usize::from(length)).ok_or(OpenError::Malformed)?;
    let name = str::from_utf8(name).map_err(|_| OpenError::Malformed)?;
    if is_label(name, max) { Ok((name, rest)) } else { Err(OpenError::Malformed) }
}

/// Whether `name` is 1 to `max` of a-z, 0-9 and '-'.
pub fn is_label(name: &str, max: usize) -> bool {
    (1..=max).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Seals for one node and opens for it.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    /// The header up to the nonce.
    prefix: Vec<u8>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

impl Sealer {
    /// Seals as `node` of `cluster`; none if one of the names is no label of the permitted length.
    pub fn new(key: &Key, cluster: &str, node: &str) -> Option<Self> {
        if !is_label(cluster, CLUSTER_MAX_BYTES) || !is_label(node, NODE_MAX_BYTES) {
            return None;
        }
        let mut prefix = MAGIC.to_vec();
        prefix.push(VERSION);
        for name in [cluster, node] {
            prefix.push(u8::try_from(name.len()).ok()?);
            prefix.extend_from_slice(name.as_bytes());
        }
        Some(Self { cipher: XChaCha20Poly1305::new(&key.0.into()), prefix })
    }

    /// Seals `plain` under a `nonce` that was never used before. None if it does not fit into a datagram.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], plain: &[u8]) -> Option<Vec<u8>> {
        let length = self.overhead() + plain.len();
        if length > DATAGRAM_MAX_BYTES {
            return None;
        }
        let mut datagram = Vec::with_capacity(length);
        datagram.extend_from_slice(&self.prefix);
        datagram.extend_from_slice(&nonce);
        let payload = Payload { msg: plain, aad: &datagram };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).ok()?;
        datagram.extend_from_slice(&sealed);
        Some(datagram)
    }

    /// Bytes that sealing adds.
    pub const fn overhead(&self) -> usize {
        self.prefix.len() + NONCE_BYTES + TAG_BYTES
    }

    /// The plain text of `envelope`.
    ///
    /// # Errors
    /// [`OpenError::Key`] if it was sealed with another key, or changed.
    pub fn open(&self, envelope: &Envelope<'_>) -> Result<Vec<u8>, OpenError> {
        let payload = Payload { msg: envelope.sealed, aad: envelope.header };
        self.cipher.decrypt(&XNonce::from(envelope.nonce), payload).map_err(|_| OpenError::Key)
    }
}

#[cfg(test)]
mod tests;
