//! SIGHUP: what an administrator changes in files comes into force, or nothing does.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::program::Program;
use super::support::{Does, Upstream, until};

/// A certificate for `localhost` in two files.
pub(crate) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    pub(crate) der: CertificateDer<'static>,
}

impl Certificate {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = |kind: &str, text: String| {
            let path = dir.join(format!("{name}.{kind}"));
            fs::write(&path, text).unwrap();
            path
        };
        Self {
            certificate: file("pem", made.cert.pem()),
            key: file("key", made.signing_key.serialize_pem()),
            der: made.cert.der().clone(),
        }
    }

    /// The keys of a `[[tls]]` entry that name the files.
    pub(crate) fn keys(&self) -> String {
        format!("certificate = \"{}\"\nkey = \"{}\"\n", self.certificate.display(), self.key.display())
    }
}

/// The certificate that is shown there. Only these are trusted.
pub(crate) async fn presented(addr: SocketAddr, trusted: &[&Certificate]) -> CertificateDer<'static> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.der.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_rules_certificates_and_log() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Certificate::new(dir.path(), "old"), Certificate::new(dir.path(), "new"));
    let tables = |on: &str, certificate: &Certificate| {
        format!(
            "[retry]\non = [{on}]\n[upstream]\nmax_fails = 0\n[access_log]\npath = \"{{dir}}/access\"\n\
             [[tls]]\nlisten = \"127.0.0.1:0\"\n{}",
            certificate.keys()
        )
    };
    let fails = Upstream::new("fails", Does::Says("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")).await;
    let serves = Upstream::new("serves", Does::Serves).await;
    let mut program = Program::start_in(dir, "", &tables("\"error\"", &old)).await;
    let tls = program.tls.unwrap();
    program.put(1, vec![fails.json(), serves.json()]).await;
    let mut statuses = [program.get("/1").await.status, program.get("/2").await.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 500]);
    assert_eq!(presented(tls, &[&old, &new]).await, old.der);
    let access = program.dir().join("access");
    let aside = program.dir().join("access.1");
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    until("logged", async || read(&access).lines().count() == 2).await;

    fs::rename(&access, &aside).unwrap();
    program.configure("", &tables("\"error\", \"http_500\"", &new));
    program.signal(Signal::HUP);
    program.logged("configuration reloaded").await;
    for path in ["/3", "/4"] {
        assert_eq!(program.get(path).await.status, 200);
    }
    assert_eq!(presented(tls, &[&old, &new]).await, new.der);
    until("logged anew", async || read(&access).lines().count() == 2).await;
    assert_eq!(read(&aside).lines().count(), 2);
    assert!(read(&access).contains("us=\"500, 200\""), "{}", read(&access));

    // What is wrong is said with file and key, and changes nothing.
    let wrong_key = tables("\"error\"", &new).replace("new.key", "old.key");
    for (case, (text, says)) in [
        (program_text(&program, &tables("\"error\", \"http_599\"", &old)), "http_599"),
        ("listen = [".to_owned(), "lb.toml"),
        (program_text(&program, &wrong_key), "is not the private key"),
    ]
    .into_iter()
    .enumerate()
    {
        program.configure_raw(&text);
        program.signal(Signal::HUP);
        program.logged(says).await;
        assert_eq!(presented(tls, &[&old, &new]).await, new.der, "{case}");
        assert_eq!(program.get("/5").await.status, 200);
    }
    fs::remove_file(program.dir().join("lb.toml")).unwrap();
    program.signal(Signal::HUP);
    program.logged("cannot read").await;
    assert_eq!(program.get("/6").await.status, 200);
}

fn program_text(program: &Program, tables: &str) -> String {
    super::program::config(program.dir(), "", tables)
}
