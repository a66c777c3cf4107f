//! Certificates in files, and a client that verifies what it is shown.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::soon;

/// Certificates that vouch for themselves, and a client's trust in them.
pub(crate) struct Files {
    dir: TempDir,
    roots: RootCertStore,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), roots: RootCertStore::empty() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes the two files, and answers the certificate.
    pub(crate) fn make(&mut self, file: &str, names: &[&str]) -> Vec<u8> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
        self.roots.add(certificate.der().clone()).unwrap();
        certificate.der().to_vec()
    }

    /// The table of the configuration for a file.
    pub(crate) fn table(&self, file: &str) -> String {
        let path = |end: &str| self.path(&format!("{file}.{end}")).display().to_string();
        format!(
            "[[tls]]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            path("pem"),
            path("key")
        )
    }
}

/// Connects for this name, offering these protocols.
pub(crate) async fn connect(
    addr: SocketAddr,
    files: &Files,
    name: &str,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    connect_on(TcpStream::connect(addr).await.unwrap(), files, name, alpn).await
}

/// The same on a connection that is there.
pub(crate) async fn connect_on(
    stream: TcpStream,
    files: &Files,
    name: &str,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(files.roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon("TLS", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}
