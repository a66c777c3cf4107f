//! Over loopback, with a client that verifies what it is shown.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::{Certificates, Error};
use crate::config::Tls;

const LISTEN: &str = "127.0.0.1:0";

/// Certificates that vouch for themselves, in files, and a client's trust in them.
struct Files {
    dir: TempDir,
    roots: RootCertStore,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), roots: RootCertStore::empty() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes `<file>.pem` and `<file>.key`, and answers the certificate.
    fn make(&mut self, file: &str, names: &[&str]) -> Vec<u8> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
        self.roots.add(certificate.der().clone()).unwrap();
        certificate.der().to_vec()
    }

    fn entry(&self, file: &str) -> Tls {
        Tls {
            listen: LISTEN.parse().unwrap(),
            certificate: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        client
    }
}

/// What a client saw of a connection on which a byte went both ways.
struct Seen {
    certificate: Vec<u8>,
    alpn: Option<Vec<u8>>,
    kind: HandshakeKind,
}

async fn connect(certificates: &Certificates, client: ClientConfig, name: &str) -> std::io::Result<Seen> {
    let acceptor = certificates.acceptor(LISTEN.parse().unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let byte = stream.read_u8().await.unwrap();
            stream.write_u8(byte + 1).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    };
    let client = async {
        let stream = TcpStream::connect(addr).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await?;
        stream.write_u8(1).await?;
        assert_eq!(stream.read_u8().await?, 2);
        // Tickets come with what is read.
        assert_eq!(stream.read(&mut [0]).await?, 0);
        let connection = stream.get_ref().1;
        Ok(Seen {
            certificate: connection.peer_certificates().unwrap()[0].to_vec(),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            kind: connection.handshake_kind().unwrap(),
        })
    };
    tokio::join!(server, client).1
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate() {
    let mut files = Files::new();
    let first = files.make("first", &["first.example", "127.0.0.1"]);
    let second = files.make("second", &["second.example", "*.second.example"]);
    let certificates = Certificates::load(&[files.entry("first"), files.entry("second")]).unwrap();
    assert!(certificates.listeners().eq([LISTEN.parse().unwrap()]));
    for version in [&TLS12, &TLS13] {
        for (name, shown) in [
            ("first.example", &first),
            ("second.example", &second),
            ("www.second.example", &second),
            ("WWW.second.example", &second),
            // A client that goes by address sends no name.
            ("127.0.0.1", &first),
        ] {
            let seen = connect(&certificates, files.client(&[version]), name).await.unwrap();
            assert_eq!(&seen.certificate, shown, "{name}");
        }
        // The default is shown, and the client sees that it is not whom it asked for.
        for name in ["unknown.example", "a.b.second.example"] {
            let error = connect(&certificates, files.client(&[version]), name).await.err().unwrap();
            assert!(
                error.to_string().contains("NotValidForName")
                    || error.to_string().contains("not valid for name"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn the_protocol_is_agreed_on() {
    let mut files = Files::new();
    files.make("a", &["a.example"]);
    let certificates = Certificates::load(&[files.entry("a")]).unwrap();
    for (offered, agreed) in [
        (vec!["h2", "http/1.1"], Some("h2")),
        (vec!["http/1.1", "h2"], Some("h2")),
        (vec!["http/1.1"], Some("http/1.1")),
        (vec![], None),
    ] {
        let mut client = files.client(&[&TLS13]);
        client.alpn_protocols = offered.iter().map(|offer| offer.as_bytes().to_vec()).collect();
        let seen = connect(&certificates, client, "a.example").await.unwrap();
        assert_eq!(seen.alpn.as_deref(), agreed.map(str::as_bytes), "{offered:?}");
    }
    let mut client = files.client(&[&TLS13]);
    client.alpn_protocols = vec![b"smtp".to_vec()];
    assert!(connect(&certificates, client, "a.example").await.is_err());
}

#[tokio::test]
async fn sessions_are_resumed_also_after_a_reload() {
    let mut files = Files::new();
    files.make("a", &["a.example"]);
    let certificates = Certificates::load(&[files.entry("a")]).unwrap();
    for version in [&TLS12, &TLS13] {
        let mut client = files.client(&[version]);
        client.resumption = Resumption::in_memory_sessions(8);
        let seen = connect(&certificates, client.clone(), "a.example").await.unwrap();
        assert_eq!(seen.kind, HandshakeKind::Full);
        certificates.reload(&[files.entry("a")]).unwrap();
        let seen = connect(&certificates, client, "a.example").await.unwrap();
        assert_eq!(seen.kind, HandshakeKind::Resumed, "{version:?}");
    }
}

#[tokio::test]
async fn a_reload_shows_the_new_certificates_or_keeps_the_old() {
    let mut files = Files::new();
    let old = files.make("a", &["a.example"]);
    let certificates = Certificates::load(&[files.entry("a")]).unwrap();
    let shown = async |files: &Files| {
        connect(&certificates, files.client(&[&TLS13]), "a.example").await.unwrap().certificate
    };
    assert_eq!(shown(&files).await, old);

    let new = files.make("a", &["a.example"]);
    assert_eq!(shown(&files).await, old, "files are read when told to");
    certificates.reload(&[files.entry("a")]).unwrap();
    assert_eq!(shown(&files).await, new);

    files.make("b", &["b.example"]);
    let other = Tls { listen: "127.0.0.1:1".parse().unwrap(), ..files.entry("b") };
    assert!(matches!(certificates.reload(&[files.entry("a"), other]), Err(Error::Listeners)));
    fs::write(files.path("b.pem"), "broken").unwrap();
    fs::remove_file(files.path("a.pem")).unwrap();
    fs::rename(files.path("b.key"), files.path("a.key")).unwrap();
    assert!(matches!(certificates.reload(&[files.entry("a")]), Err(Error::Read { .. })));
    assert_eq!(shown(&files).await, new);
}

#[test]
fn whatever_is_wrong_is_named() {
    let mut files = Files::new();
    files.make("good", &["a.example"]);
    files.make("other", &["b.example"]);
    files.make("nameless", &["127.0.0.1"]);
    let pem = fs::read_to_string(files.path("good.pem")).unwrap();
    let key = fs::read_to_string(files.path("good.key")).unwrap();
    let write = |name: &str, text: &str| fs::write(files.path(name), text).unwrap();
    write("empty.pem", "");
    write("cut.pem", &pem[..pem.len() - 40]);
    write("nonsense.pem", &pem.replacen("MI", "MJ", 1));
    write("long.pem", &pem.repeat(17));
    write("wrong-chain.pem", &format!("{pem}{}", pem.replacen("MI", "MJ", 1)));
    write("huge.pem", &"x".repeat(1024 * 1024 + 1));
    write("encrypted.key", &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    write("nonsense.key", &key.replacen("MI", "MJ", 1));
    let good = || files.entry("good");
    let certificate = |name: &str| Tls { certificate: files.path(name), ..good() };
    let key = |name: &str| Tls { key: files.path(name), ..good() };
    let fails = |entries: &[Tls], field: &str, file: &Path, why: &str| {
        let error = Certificates::load(entries).unwrap_err().to_string();
        for part in [field, file.to_str().unwrap(), why] {
            assert!(error.contains(part), "{part}: {error}");
        }
    };
    for (name, why) in [
        ("missing.pem", "No such file"),
        ("empty.pem", "there is no certificate in it"),
        ("good.key", "there is no certificate in it"),
        ("cut.pem", "not valid PEM"),
        ("nonsense.pem", "not a valid certificate"),
        ("long.pem", "more than 16 certificates"),
        ("wrong-chain.pem", "certificate 2 in it"),
        ("huge.pem", "more than 1048576 bytes"),
    ] {
        fails(&[good(), certificate(name)], "tls[1].certificate: ", &files.path(name), why);
    }
    for (name, why) in [
        ("missing.key", "No such file"),
        ("good.pem", "there is no private key"),
        ("encrypted.key", "not encrypted"),
        ("nonsense.key", "key"),
    ] {
        fails(&[key(name)], "tls[0].key: ", &files.path(name), why);
    }
    let why = format!("is not the private key of the certificate in {}", good().certificate.display());
    fails(&[key("other.key")], "tls[0].key: ", &files.path("other.key"), &why);

    assert!(Certificates::load(&[files.entry("nameless"), good()]).is_ok(), "the first is the default");
    let nameless = files.path("nameless.pem");
    fails(&[good(), files.entry("nameless")], "tls[1].certificate: ", &nameless, "names no DNS name");
}
