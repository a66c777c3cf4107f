//! The admin API: an address, or a table with all there is to say.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::values::{Allow, Count, Millis, Token};
use super::{Error, listen};

/// A longer first line is no token.
const MAX_TOKEN_BYTES: u64 = 4096;

/// The admin API.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where it listens.
    #[serde(deserialize_with = "listen::one")]
    pub listen: SocketAddr,
    /// What a write must carry as its bearer token. Without one there are no writes.
    pub token: Option<Token>,
    /// The file that `token` was read from: its first line. In the file one of the two is given.
    pub token_file: Option<PathBuf>,
    /// Networks whose addresses are answered; everyone's when empty. Connections from others are closed at
    /// once and take no place.
    pub allow: Vec<Allow>,
    /// The largest body of a write.
    pub max_body_bytes: Count<1024, 67_108_864, 4_194_304>,
    /// Connections at a time.
    pub max_connections: Count<1, 65_536, 256>,
    /// A request's head and body must have arrived within this time each.
    pub read_timeout_ms: Millis<1, 600_000, 5_000>,
    /// What is sent must have been taken within this time; the connection is cut otherwise.
    pub write_timeout_ms: Millis<1, 600_000, 5_000>,
}

impl Default for Admin {
    fn default() -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 9000).into())
    }
}

impl Admin {
    /// All but the address by default.
    fn at(listen: SocketAddr) -> Self {
        Self {
            listen,
            token: None,
            token_file: None,
            allow: Vec::new(),
            max_body_bytes: Count::default(),
            max_connections: Count::default(),
            read_timeout_ms: Count::default(),
            write_timeout_ms: Count::default(),
        }
    }

    /// Whether this address is answered.
    pub fn allows(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        self.allow.is_empty() || self.allow.iter().any(|allow| allow.0.contains(&addr))
    }

    pub(super) fn check(&self) -> Result<(), (String, String)> {
        if self.token.is_some() && self.token_file.is_some() {
            let message = "only one of admin.token and admin.token_file can be given".to_owned();
            return Err(("admin.token_file".to_owned(), message));
        }
        Ok(())
    }

    /// Reads the token from its file, if it is in one.
    pub(super) fn read_token_file(&mut self) -> Result<(), Error> {
        let Some(path) = &self.token_file else { return Ok(()) };
        let token = File::open(path)
            .and_then(first_line)
            .and_then(|line| line.parse().map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why)));
        let key = Some("admin.token_file");
        self.token = Some(token.map_err(|source| Error::Read { path: path.clone(), key, source })?);
        Ok(())
    }
}

/// The first line, without what ends it.
fn first_line(file: File) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(file.take(MAX_TOKEN_BYTES)).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// An address alone, or the whole table.
pub(super) fn address_or_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Admin, D::Error> {
    struct AddressOrTable;

    impl<'de> Visitor<'de> for AddressOrTable {
        type Value = Admin;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address with a port, or a table")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Admin, E> {
            listen::parse(text).map(Admin::at).map_err(E::custom)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Admin, A::Error> {
            Admin::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(AddressOrTable)
}
