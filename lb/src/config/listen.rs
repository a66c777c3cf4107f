//! Where traffic is taken.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::Admin;

/// The most addresses, and the most certificates.
const MAX_LISTENERS: usize = 64;
const MAX_CERTIFICATES: usize = 1024;

/// A certificate, and where it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The address.
    #[serde(deserialize_with = "one")]
    pub listen: SocketAddr,
    /// A PEM file with the certificate, followed by those that vouch for it.
    pub certificate: PathBuf,
    /// A PEM file with its private key.
    pub key: PathBuf,
}

/// An address with its port, with an error that shows what one looks like.
pub(super) fn parse(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address with a port, such as 0.0.0.0:80 or [::]:80"))
}

pub(super) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<SocketAddr>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address with a port, or a list of such")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![parse(text).map_err(E::custom)?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut addrs = Vec::new();
            while let Some(text) = seq.next_element::<String>()? {
                addrs.push(parse(&text).map_err(A::Error::custom)?);
            }
            Ok(addrs)
        }
    }

    deserializer.deserialize_any(OneOrMany)
}

/// There is a listener, and no address is asked for twice. The error is a key and what is wrong with it.
pub(super) fn check(listen: &[SocketAddr], tls: &[Tls], admin: &Admin) -> Result<(), (String, String)> {
    let fail = |key: String, message: String| Err((key, message));
    if listen.is_empty() && tls.is_empty() {
        return fail("listen".to_owned(), "there must be an address here or a [[tls]] entry".to_owned());
    }
    if listen.len() > MAX_LISTENERS {
        return fail(
            "listen".to_owned(),
            format!("{} addresses are more than {MAX_LISTENERS}", listen.len()),
        );
    }
    if tls.len() > MAX_CERTIFICATES {
        return fail("tls".to_owned(), format!("{} entries are more than {MAX_CERTIFICATES}", tls.len()));
    }
    let mut tls_addrs: Vec<SocketAddr> = tls.iter().map(|tls| tls.listen).collect();
    tls_addrs.sort_unstable();
    tls_addrs.dedup();
    if tls_addrs.len() > MAX_LISTENERS {
        let n = tls_addrs.len();
        return fail("tls".to_owned(), format!("{n} addresses are more than {MAX_LISTENERS}"));
    }
    // A port that the kernel picks is another one each time.
    let same = |a: &SocketAddr, b: &SocketAddr| a == b && a.port() != 0;
    for (i, addr) in listen.iter().enumerate() {
        if let Some(first) = listen[..i].iter().position(|other| same(other, addr)) {
            return fail(format!("listen[{i}]"), format!("{addr} is listen[{first}] too"));
        }
    }
    for (i, tls) in tls.iter().enumerate() {
        if let Some(n) = listen.iter().position(|other| same(other, &tls.listen)) {
            return fail(
                format!("tls[{i}].listen"),
                format!("{} is listen[{n}] too, without TLS", tls.listen),
            );
        }
    }
    if listen.iter().chain(&tls_addrs).any(|other| same(other, &admin.listen)) {
        return fail("admin.listen".to_owned(), format!("{} is an address for traffic too", admin.listen));
    }
    Ok(())
}
