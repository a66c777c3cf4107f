//! What a set of upstreams must look like before it may come into force.

use std::collections::HashMap;

use wire::PutUpstreams;

use crate::patience;

/// The first thing wrong with a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Invalid {
    /// The field at fault, such as `upstreams[2].addr`.
    pub path: String,
    /// What is wrong with its value.
    pub message: String,
}

/// 2^53 - 1, the greatest integer that every JSON reader can hold. A greater one would be the last: nothing is above it.
pub const MAX_GENERATION: u64 = (1 << 53) - 1;

/// The longest id, in bytes.
const MAX_ID_BYTES: usize = 128;

/// Checks a whole set.
///
/// # Errors
/// The first thing wrong with it.
pub fn validate(set: &PutUpstreams, max_upstreams: usize) -> Result<(), Invalid> {
    let fail = |path: String, message: String| Err(Invalid { path, message });
    if set.generation == 0 {
        return fail("generation".to_owned(), "must be at least 1".to_owned());
    }
    if set.generation > MAX_GENERATION {
        let message = format!("{}: must be at most {MAX_GENERATION}", set.generation);
        return fail("generation".to_owned(), message);
    }
    if set.upstreams.len() > max_upstreams {
        let n = set.upstreams.len();
        return fail("upstreams".to_owned(), format!("{n} upstreams, at most {max_upstreams} are allowed"));
    }
    let mut ids = HashMap::with_capacity(set.upstreams.len());
    let mut addrs = HashMap::with_capacity(set.upstreams.len());
    for (i, upstream) in set.upstreams.iter().enumerate() {
        patience::after(i);
        let at = |field: &str| format!("upstreams[{i}].{field}");
        if let Err(message) = check_id(&upstream.id) {
            return fail(at("id"), message);
        }
        if let Some(first) = ids.insert(&upstream.id, i) {
            return fail(at("id"), format!("{:?} is the id of upstreams[{first}] too", upstream.id));
        }
        if upstream.incarnation == 0 {
            return fail(at("incarnation"), "must be at least 1".to_owned());
        }
        if upstream.addr.port() == 0 {
            return fail(at("addr"), format!("{}: the port must not be 0", upstream.addr));
        }
        if upstream.addr.ip().is_unspecified() || upstream.addr.ip().is_multicast() {
            return fail(at("addr"), format!("{}: not the address of a host", upstream.addr));
        }
        if let Some(first) = addrs.insert(upstream.addr, i) {
            return fail(at("addr"), format!("{} is the address of upstreams[{first}] too", upstream.addr));
        }
        if !(1..=1000).contains(&upstream.weight) {
            return fail(at("weight"), format!("{}: must be 1 to 1000", upstream.weight));
        }
    }
    Ok(())
}

/// One word or two, as in `<node>/<name>`: each of letters, digits, `-`, `_` and `.`, beginning with a letter or
/// digit.
fn check_id(id: &str) -> Result<(), String> {
    let word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let (node, name) = id.split_once('/').unwrap_or(("node", id));
    if id.len() > MAX_ID_BYTES {
        Err(format!("longer than {MAX_ID_BYTES} bytes"))
    } else if word(node) && word(name) {
        Ok(())
    } else {
        Err(format!("{id:?} is neither <name> nor <node>/<name>, each of letters, digits, '-', '_' and '.'"))
    }
}
