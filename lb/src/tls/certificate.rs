//! A certificate and its private key, from two PEM files (RFC 7468) that fit together.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::Error;
use crate::config::Tls;

/// The largest file, and the longest chain.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const MAX_CHAIN: usize = 16;

/// A certificate with its key, and whom it is for.
pub(super) struct Certificate {
    /// Its DNS names (subjectAltName), wildcards among them.
    pub(super) names: Vec<String>,
    /// The chain and the key.
    pub(super) key: CertifiedKey,
}

/// Reads the files of the entry with this index.
pub(super) fn read(index: usize, entry: &Tls) -> Result<Certificate, Error> {
    let (names, chain) = read_chain(index, &entry.certificate)?;
    let name = format!("tls[{index}].key");
    let wrong = |message| Error::Content { key: name.clone(), path: entry.key.clone(), message };
    let bytes = read_file(&name, &entry.key)?;
    let der = PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| match e {
        pem::Error::NoItemsFound => wrong("there is no private key in it that is not encrypted".to_owned()),
        e => wrong(not_pem(&e)),
    })?;
    let key = ring::sign::any_supported_type(&der).map_err(|e| wrong(e.to_string()))?;
    let key = CertifiedKey::new(chain, key);
    key.keys_match().map_err(|e| match e {
        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => Error::OtherKey {
            key: name.clone(),
            path: entry.key.clone(),
            certificate: entry.certificate.clone(),
        },
        e => wrong(e.to_string()),
    })?;
    Ok(Certificate { names, key })
}

fn read_chain(index: usize, path: &Path) -> Result<(Vec<String>, Vec<CertificateDer<'static>>), Error> {
    let name = format!("tls[{index}].certificate");
    let wrong = |message| Error::Content { key: name.clone(), path: path.to_owned(), message };
    let bytes = read_file(&name, path)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).take(MAX_CHAIN + 1).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| wrong(not_pem(&e)))?;
    if chain.len() > MAX_CHAIN {
        return Err(wrong(format!("more than {MAX_CHAIN} certificates are in it")));
    }
    for (i, der) in chain.iter().enumerate().skip(1) {
        // A wrong one further on fails at clients only, and not at all of them.
        EndEntityCert::try_from(der).map_err(|e| wrong(format!("certificate {} in it: {e}", i + 1)))?;
    }
    let first = chain.first().ok_or_else(|| wrong("there is no certificate in it".to_owned()))?;
    let parsed =
        EndEntityCert::try_from(first).map_err(|e| wrong(format!("not a valid certificate: {e}")))?;
    let names = parsed.valid_dns_names().map(str::to_owned).collect();
    Ok((names, chain))
}

fn not_pem(e: &pem::Error) -> String {
    format!("not valid PEM: {e}")
}

fn read_file(key: &str, path: &Path) -> Result<Vec<u8>, Error> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes")));
        }
        Ok(bytes)
    };
    read().map_err(|source| Error::Read { key: key.to_owned(), path: path.to_owned(), source })
}
