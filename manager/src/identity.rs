//! Who may ask for what: bearer tokens and keys, each derived from the cluster's secret for one purpose.
//!
//! HKDF-SHA256 (RFC 5869) with the purpose as `info`, so that one token or key says nothing of another or of
//! the secret. A load balancer gets its own token only, never the secret. This module is the one place that
//! knows how callers prove themselves; it refuses to know what they may do.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Shorter secrets are refused: they are somebody's password, and can be guessed.
const SECRET_MIN_BYTES: usize = 32;
/// Longer ones are somebody's mistake.
const SECRET_MAX_BYTES: usize = 4_096;

/// Why the secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("secret_file: cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Others could read it, or it is not a secret's length.
    #[error("secret_file: {path} {message}")]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// An administrator's requests to any manager.
    Api,
    /// A manager's accounts to its peers.
    Peer,
    /// A manager's pushes to its own load balancer.
    LbAdmin {
        /// The load balancer's node.
        node: &'a str,
    },
}

/// The cluster's secret.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Reads the secret; white space around it does not count.
    ///
    /// # Errors
    /// If the file cannot be read, can be read by others, or is too short or too long.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let unfit = |message: String| Error::Unfit { path: path.to_owned(), message };
        let mode = std::fs::metadata(path).map_err(read)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(unfit(format!("has mode {mode:04o}: others than its owner may use it; chmod 0600")));
        }
        let bytes = std::fs::read(path).map_err(read)?;
        let secret = bytes.trim_ascii();
        if !(SECRET_MIN_BYTES..=SECRET_MAX_BYTES).contains(&secret.len()) {
            let bounds = format!("{SECRET_MIN_BYTES} to {SECRET_MAX_BYTES}");
            return Err(unfit(format!("holds {} bytes; {bounds} are needed", secret.len())));
        }
        Ok(Self(secret.to_owned()))
    }

    /// The token for `purpose`: 64 hexadecimal digits.
    ///
    /// # Panics
    /// Never: 32 bytes are within what HKDF can give.
    pub fn token(&self, purpose: Purpose<'_>) -> Token {
        let info = match purpose {
            Purpose::Api => "api".to_owned(),
            Purpose::Peer => "peer".to_owned(),
            Purpose::LbAdmin { node } => format!("lb-admin/{node}"),
        };
        Token(base16ct::lower::encode_string(&self.derive(b"phalanx token v1", info.as_bytes())))
    }

    /// A key for `purpose`, such as `datagram/<cluster>`; no key is ever a token, whatever the purposes.
    ///
    /// # Panics
    /// Never: 32 bytes are within what HKDF can give.
    pub fn key(&self, purpose: &str) -> [u8; 32] {
        self.derive(b"phalanx key v1", purpose.as_bytes())
    }

    fn derive(&self, salt: &[u8], info: &[u8]) -> [u8; 32] {
        let mut derived = [0_u8; 32];
        let expanded = Hkdf::<Sha256>::new(Some(salt), &self.0).expand(info, &mut derived);
        // RFC 5869, 2.3: fails for more than 255 hashes' length only.
        assert!(expanded.is_ok(), "32 bytes are within HKDF's limit");
        derived
    }
}

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// The token itself, for a configuration file.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of an `Authorization` header.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether an `Authorization` header's value carries this token, in constant time.
    pub fn admits(&self, header: Option<&[u8]>) -> bool {
        let given = header.and_then(|header| header.strip_prefix(b"Bearer ")).unwrap_or_default();
        given.ct_eq(self.0.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests;
