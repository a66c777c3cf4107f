//! Which certificate is for which server name.
//!
//! It refuses to match as far as a name could: a wildcard stands for exactly one label, the first (RFC 9525,
//! section 6.3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

/// The certificates of a listener. Those of one name may differ in the kind of their key.
#[derive(Debug)]
pub(super) struct Names<K = CertifiedKey> {
    /// By DNS name in lower case; a wildcard as `*.example.com`.
    by_name: HashMap<String, Vec<Arc<K>>>,
    /// All, in the order of the configuration.
    all: Vec<Arc<K>>,
}

impl<K> Default for Names<K> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), all: Vec::new() }
    }
}

impl<K> Names<K> {
    /// Whether there is no certificate.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds a certificate for these names, after those that are there.
    pub(super) fn add(&mut self, names: &[String], key: &Arc<K>) {
        for name in names {
            self.by_name.entry(name.to_ascii_lowercase()).or_default().push(Arc::clone(key));
        }
        self.all.push(Arc::clone(key));
    }

    /// The certificate for a client: one for exactly the name that it asks for, else one with a wildcard for
    /// it, else the first of all. Of several, the first whose key is of a kind that the client `knows`.
    pub(super) fn choose(&self, name: Option<&str>, knows: impl Fn(&K) -> bool) -> Option<Arc<K>> {
        let named = name.and_then(|name| self.named(name.trim_end_matches('.').to_ascii_lowercase()));
        let candidates = named.unwrap_or(&self.all);
        candidates.iter().find(|key| knows(key)).or(candidates.first()).map(Arc::clone)
    }

    fn named(&self, mut name: String) -> Option<&Vec<Arc<K>>> {
        self.by_name.get(&name).or_else(|| {
            let first = name.find('.').filter(|&end| end > 0)?;
            name.replace_range(..first, "*");
            self.by_name.get(&name)
        })
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
