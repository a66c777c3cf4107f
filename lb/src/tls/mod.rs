//! TLS towards clients: certificates from files, chosen by the server name that a client asks for (SNI, RFC 6066,
//! section 3), and changed without a restart.
//!
//! TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1 by ALPN (RFC 7301); sessions are resumed by tickets (RFC 8446,
//! section 4.6.1, and RFC 5077), and by session id for older clients. It refuses early data, whose requests an
//! attacker could send again (RFC 8446, section 8), and has no client certificates.

mod certificate;
mod names;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use self::names::Names;
use crate::config::Tls;

/// What is spoken within TLS, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Sessions kept for clients without tickets, per listener.
const KEPT_SESSIONS: usize = 4096;

/// Why certificates cannot be used. Each names the entry of the configuration and the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or is too large to be what it should be.
    #[error("{key}: cannot read {path}: {source}")]
    Read {
        /// The key that names the file, such as `tls[1].certificate`.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not PEM, or has nothing of use in it.
    #[error("{key}: {path}: {message}")]
    Content {
        /// The key that names the file.
        key: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A key belongs to another certificate.
    #[error("{key}: {path} is not the private key of the certificate in {certificate}")]
    OtherKey {
        /// The key of the configuration that names the file.
        key: String,
        /// The file with the private key.
        path: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
    /// A certificate that no client would ever be shown.
    #[error("{key}: {path} names no DNS name, so only the first certificate of a listener can be like that")]
    NoName {
        /// The key that names the file.
        key: String,
        /// The file.
        path: PathBuf,
    },
    /// A reload with other listeners.
    #[error("tls: the listeners cannot change without a restart")]
    Listeners,
    /// The system has no randomness for the keys of tickets, or the like.
    #[error("tls: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificates of all listeners.
#[derive(Debug)]
pub struct Certificates {
    listeners: BTreeMap<SocketAddr, Listener>,
}

#[derive(Debug)]
struct Listener {
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
}

impl Certificates {
    /// Reads and checks all files.
    ///
    /// # Errors
    /// The first thing wrong with them.
    pub fn load(entries: &[Tls]) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let mut listeners = BTreeMap::new();
        for (addr, names) in read(entries)? {
            let shown = Arc::new(Shown(ArcSwap::from_pointee(names)));
            let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_cert_resolver(Arc::<Shown>::clone(&shown));
            config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
            config.ticketer = ring::Ticketer::new()?;
            config.session_storage = ServerSessionMemoryCache::new(KEPT_SESSIONS);
            listeners.insert(addr, Listener { shown, config: Arc::new(config) });
        }
        Ok(Self { listeners })
    }

    /// Reads and checks all files again and, if nothing is wrong, shows these certificates from the next
    /// handshake on. Connections and sessions stay.
    ///
    /// # Errors
    /// The first thing wrong with them. Nothing has changed then.
    pub fn reload(&self, entries: &[Tls]) -> Result<(), Error> {
        let new = read(entries)?;
        if !new.keys().eq(self.listeners.keys()) {
            return Err(Error::Listeners);
        }
        for (listener, names) in self.listeners.values().zip(new.into_values()) {
            listener.shown.0.store(Arc::new(names));
        }
        Ok(())
    }

    /// The addresses to listen on, as configured, each once.
    pub fn listeners(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.keys().copied()
    }

    /// What makes TLS of connections to the listener with this configured address.
    pub fn acceptor(&self, listen: SocketAddr) -> Option<TlsAcceptor> {
        let listener = self.listeners.get(&listen)?;
        Some(Arc::clone(&listener.config).into())
    }
}

/// The certificates of each address.
fn read(entries: &[Tls]) -> Result<BTreeMap<SocketAddr, Names>, Error> {
    let mut all = BTreeMap::<_, Names>::new();
    for (index, entry) in entries.iter().enumerate() {
        let certificate = certificate::read(index, entry)?;
        let names = all.entry(entry.listen).or_default();
        if !names.is_empty() && certificate.names.is_empty() {
            let key = format!("tls[{index}].certificate");
            return Err(Error::NoName { key, path: entry.certificate.clone() });
        }
        names.add(&certificate.names, &Arc::new(certificate.key));
    }
    Ok(all)
}

/// What is shown on one listener, replaced as a whole.
#[derive(Debug)]
struct Shown(ArcSwap<Names>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.0.load().choose(hello.server_name(), |key| key.key.choose_scheme(schemes).is_some())
    }
}

#[cfg(test)]
mod tests;
