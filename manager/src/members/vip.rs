//! What all nodes must believe alike of the public address. Each says it in its table, and compares.
//!
//! It only finds differences; which side is right, an administrator must know.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::config;

/// The part of `[vip]` that must be the same on all nodes. Times are in ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipSettings {
    addr: Ipv4Addr,
    silence_ms: u64,
    hold_down_ms: u64,
    release_ms: u64,
}

impl VipSettings {
    /// That part of `vip`.
    pub const fn of(vip: &config::Vip) -> Self {
        let config::Vip { addr, silence_ms, hold_down_ms, release_ms, .. } = *vip;
        Self { addr, silence_ms, hold_down_ms, release_ms }
    }
}

/// As a table carries it; a node without a public address says so.
pub(super) fn encode(vip: Option<&VipSettings>) -> Result<String, serde_json::Error> {
    serde_json::to_string(&vip)
}

/// In what a node, with its table's word, differs from this one, in words that name both. A node that says nothing
/// differs in nothing.
pub(super) fn difference(
    (here, ours): (&str, Option<&VipSettings>),
    (there, word): (&str, &str),
) -> Option<String> {
    if word.is_empty() {
        return None;
    }
    let theirs: Option<VipSettings> = match serde_json::from_str(word) {
        Ok(theirs) => theirs,
        Err(error) => return Some(format!("what {there} says of its [vip] cannot be understood: {error}")),
    };
    let (ours, theirs) = match (ours, &theirs) {
        (None, None) => return None,
        (Some(ours), None) => return Some(missing(there, here, ours)),
        (None, Some(theirs)) => return Some(missing(here, there, theirs)),
        (Some(ours), Some(theirs)) => (ours, theirs),
    };
    let fields: [(&str, [&dyn std::fmt::Display; 2]); 4] = [
        ("vip.addr", [&ours.addr, &theirs.addr]),
        ("vip.silence_ms", [&ours.silence_ms, &theirs.silence_ms]),
        ("vip.hold_down_ms", [&ours.hold_down_ms, &theirs.hold_down_ms]),
        ("vip.release_ms", [&ours.release_ms, &theirs.release_ms]),
    ];
    let texts = fields.map(|(field, values)| (field, values.map(ToString::to_string)));
    let differ = texts.iter().filter(|(_, [ours, theirs])| ours != theirs);
    let words: Vec<_> = differ
        .map(|(field, [ours, theirs])| format!("{field} is {ours} on {here} and {theirs} on {there}"))
        .collect();
    (!words.is_empty()).then(|| format!("{}; it must be the same on all nodes", words.join(", ")))
}

fn missing(without: &str, with: &str, vip: &VipSettings) -> String {
    format!(
        "{with} has the public address {} and {without} has none: [vip] must be the same on all nodes",
        vip.addr
    )
}

#[cfg(test)]
mod tests;
