//! A node's table as key-values, as the gossip carries it.
//!
//! The account is split so that a change of one service is a change of one short value: one value per service,
//! and a head that says how many there are. Gossip may deliver any part of a change first, so each value
//! carries the `(boot, revision)` it was written at, and the head is written last: a table is read only when
//! head and services fit together; until then the table before counts.
//!
//! There is no I/O here. What a value means, beyond its shape, is its reader's to judge.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use wire::{PeerService, PeerServices};

/// The longest value.
pub const VALUE_MAX_BYTES: usize = 1_024;
/// The most services of one node: the first exchange of a whole table, compressed, is one datagram still.
pub const SERVICES_MAX: usize = 512;

const POOL: &str = "pool";
const HEAD: &str = "account";
const SERVICE: &str = "service/";
const VIP: &str = "vip";
const LOAD: &str = "load";
const FORGOTTEN: &str = "forgotten/";

/// What one node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its account of its services.
    pub account: PeerServices,
    /// Its part in the public address; opaque here, at most 1,024 bytes.
    pub vip: String,
    /// Its load and what it can bear; opaque here, at most 1,024 bytes.
    pub load: String,
}

/// Why a table cannot be carried or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value is too long.
    #[error("{key}: has {bytes} bytes; {VALUE_MAX_BYTES} are permitted")]
    TooLong {
        /// Which value.
        key: String,
        /// How long it is.
        bytes: usize,
    },
    /// Too many services.
    #[error("account.services: there are {0}; {SERVICES_MAX} are permitted")]
    TooMany(usize),
    /// A value has not the right shape.
    #[error("{key}: {reason}")]
    Malformed {
        /// Which value.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The account without its services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    boot: u64,
    revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lb: Option<SocketAddr>,
    services: usize,
}

/// The key-values that say `table`, in the order in which they are to be written, given those `before`. A service
/// that did not change keeps its value. Keys of `before` that are missing are to be deleted before anything is written.
///
/// # Errors
/// If a value is too long or there are too many services.
pub fn encode(table: &Table, before: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, Error> {
    let account = &table.account;
    if account.services.len() > SERVICES_MAX {
        return Err(Error::TooMany(account.services.len()));
    }
    let mut values = Vec::with_capacity(account.services.len() + 3);
    for service in &account.services {
        let key = format!("{SERVICE}{}", service.id);
        let json = json(&key, service)?;
        let value = match before.get(&key) {
            Some(value) if value.split_once(' ').is_some_and(|(_, was)| was == json) => value.clone(),
            _ => format!("{}.{} {json}", account.boot, account.revision),
        };
        values.push((key, value));
    }
    values.push((VIP.to_owned(), table.vip.clone()));
    values.push((LOAD.to_owned(), table.load.clone()));
    let (boot, revision) = (account.boot, account.revision);
    let head = Head { boot, revision, lb: account.lb, services: account.services.len() };
    values.push((HEAD.to_owned(), json(HEAD, &head)?));
    match values.iter().find(|(_, value)| value.len() > VALUE_MAX_BYTES) {
        Some((key, value)) => Err(Error::TooLong { key: key.clone(), bytes: value.len() }),
        None => Ok(values),
    }
}

/// Whether `key` belongs to a table: [`encode`] says all of those each time, and nothing of the others.
pub fn is_of_table(key: &str) -> bool {
    key.starts_with(SERVICE) || [HEAD, VIP, LOAD].contains(&key)
}

/// The table that `values` say; none if they are part of a change whose rest has yet to come.
///
/// # Errors
/// If a value has not the right shape.
pub fn decode<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Option<Table>, Error> {
    let mut services = Vec::new();
    let (mut head, mut vip, mut load) = (None, String::new(), String::new());
    let mut newest = (0, 0);
    for (key, value) in values {
        if value.len() > VALUE_MAX_BYTES {
            return Err(Error::TooLong { key: key.to_owned(), bytes: value.len() });
        }
        if let Some(id) = key.strip_prefix(SERVICE) {
            let (written, service) = service(key, id, value)?;
            newest = newest.max(written);
            services.push(service);
        } else if key == HEAD {
            head = Some(parse::<Head>(key, value)?);
        } else if key == VIP {
            value.clone_into(&mut vip);
        } else if key == LOAD {
            value.clone_into(&mut load);
        }
    }
    let Some(Head { boot, revision, lb, services: count }) = head else { return Ok(None) };
    if count > SERVICES_MAX {
        return Err(Error::TooMany(count));
    }
    if count != services.len() || newest > (boot, revision) {
        return Ok(None);
    }
    services.sort_by_key(|service| service.addr);
    Ok(Some(Table { account: PeerServices { boot, revision, lb, services }, vip, load }))
}

fn service(key: &str, id: &str, value: &str) -> Result<((u64, u64), PeerService), Error> {
    let malformed = |reason: &str| Error::Malformed { key: key.to_owned(), reason: reason.to_owned() };
    let (written, text) =
        value.split_once(' ').ok_or_else(|| malformed("says nothing behind its revision"))?;
    let written = written
        .split_once('.')
        .and_then(|(boot, revision)| Some((boot.parse().ok()?, revision.parse().ok()?)));
    let written = written.ok_or_else(|| malformed("does not begin with boot and revision"))?;
    let service: PeerService = parse(key, text)?;
    if service.id != id {
        return Err(malformed("describes another service"));
    }
    Ok((written, service))
}

fn json(key: &str, value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::Malformed { key: key.to_owned(), reason: error.to_string() })
}

fn parse<'a, T: Deserialize<'a>>(key: &str, value: &'a str) -> Result<T, Error> {
    serde_json::from_str(value)
        .map_err(|error| Error::Malformed { key: key.to_owned(), reason: error.to_string() })
}

/// The value that says this node's pool.
pub fn encode_pool(pool: Ipv4Net) -> (String, String) {
    (POOL.to_owned(), pool.to_string())
}

/// The pool that `values` say, if they do.
///
/// # Errors
/// If the value is no network.
pub fn decode_pool<'a>(
    values: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Option<Ipv4Net>, Error> {
    let pool = values.into_iter().find(|(key, _)| *key == POOL);
    pool.map(|(key, value)| {
        let malformed = |_| Error::Malformed { key: key.to_owned(), reason: "is no network".to_owned() };
        value.parse().map_err(malformed)
    })
    .transpose()
}

/// The key that says that `node` is forgotten; its value is the last generation that is.
pub fn forgotten_key(node: &str) -> String {
    format!("{FORGOTTEN}{node}")
}

/// The nodes that `values` say are forgotten, and the last generation of each that is.
pub fn decode_forgotten<'a>(
    values: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> impl Iterator<Item = (&'a str, u64)> {
    values.into_iter().filter_map(|(key, value)| Some((key.strip_prefix(FORGOTTEN)?, value.parse().ok()?)))
}

#[cfg(test)]
mod tests;
