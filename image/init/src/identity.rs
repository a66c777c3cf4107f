//! Checks an identity as a whole and turns it into what the VM has to do.
//!
//! Nothing is done here: an identity either passes completely or is refused with the field at fault.

use std::net::Ipv4Addr;

use wire::{Identity, Role};

/// Environment variables at most, and bytes of one at most.
const MAX_ENV: usize = 64;
const MAX_ENV_BYTES: usize = 4096;
/// Seed bytes: the least that is worth crediting, and the most the kernel's pool takes.
const SEED_BYTES: std::ops::RangeInclusive<usize> = 32..=512;
/// 2020-01-01 to 2100-01-01: a clock outside of it is a mistake.
const UNIX_MS: std::ops::Range<u64> = 1_577_836_800_000..4_102_444_800_000;
/// What the program learns about itself; not to be set from outside.
const RESERVED_ENV: [&str; 3] = ["PHALANX_INSTANCE", "PHALANX_ADDR", "PHALANX_INCARNATION"];

/// A checked identity, in the form in which it is put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Which program to run.
    pub(crate) role: Role,
    /// The host name.
    pub(crate) hostname: String,
    /// The VM's address, a /32.
    pub(crate) addr: Ipv4Addr,
    /// Where all packets go.
    pub(crate) gateway: Ipv4Addr,
    /// The gateway's MAC, when it need not be asked for.
    pub(crate) gateway_mac: Option<[u8; 6]>,
    /// The public address, a /32 on `lo`; load balancers only.
    pub(crate) vip: Option<Ipv4Addr>,
    /// The program's configuration.
    pub(crate) config: String,
    /// The program's environment, all of it.
    pub(crate) env: Vec<(String, String)>,
    /// The wall clock, in milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// Random bytes for the kernel.
    pub(crate) seed: Vec<u8>,
}

/// Why an identity is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("assign.{field}: {problem}")]
pub(crate) struct IdentityError {
    field: &'static str,
    problem: String,
}

fn refuse<T>(field: &'static str, problem: impl Into<String>) -> Result<T, IdentityError> {
    Err(IdentityError { field, problem: problem.into() })
}

/// Whether both are the same identity. The clock and the seed do not count: they differ in every message.
pub(crate) fn same(a: &Identity, b: &Identity) -> bool {
    let strip = |identity: &Identity| Identity { unix_ms: 0, seed: String::new(), ..identity.clone() };
    strip(a) == strip(b)
}

/// Checks every field.
///
/// # Errors
/// The first field that is wrong, and what is wrong with it.
pub(crate) fn check(identity: &Identity) -> Result<Plan, IdentityError> {
    check_id(&identity.id)?;
    if identity.incarnation == 0 {
        return refuse("incarnation", "counts from 1");
    }
    if !is_label(&identity.hostname) {
        return refuse("hostname", "not an RFC 1123 label (1 to 63 of a-z, A-Z, 0-9 and inner hyphens)");
    }
    check_addr("addr", identity.addr)?;
    check_addr("gateway", identity.gateway)?;
    if identity.addr == identity.gateway {
        return refuse("gateway", "is the VM's own address");
    }
    check_vip(identity)?;
    if identity.config.contains('\0') {
        return refuse("config", "contains a NUL byte");
    }
    if !UNIX_MS.contains(&identity.unix_ms) {
        return refuse("unix_ms", format!("{} is not between the years 2020 and 2100", identity.unix_ms));
    }
    Ok(Plan {
        role: identity.role,
        hostname: identity.hostname.clone(),
        addr: identity.addr,
        gateway: identity.gateway,
        gateway_mac: identity.gateway_mac.as_deref().map(parse_mac).transpose()?,
        vip: identity.vip,
        config: identity.config.clone(),
        env: environment(identity)?,
        unix_ms: identity.unix_ms,
        seed: parse_seed(&identity.seed)?,
    })
}

fn check_id(id: &str) -> Result<(), IdentityError> {
    let word = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match id.split_once('/') {
        Some((node, name)) if word(node) && word(name) => Ok(()),
        _ => refuse("id", "not <node>/<name> (each 1 to 63 letters, digits, '-', '_' and '.')"),
    }
}

fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn check_addr(field: &'static str, addr: Ipv4Addr) -> Result<(), IdentityError> {
    let unusable =
        addr.octets()[0] == 0 || addr.is_loopback() || addr.is_multicast() || addr.octets()[0] >= 240;
    if unusable { refuse(field, format!("{addr} is not an address of a host")) } else { Ok(()) }
}

fn check_vip(identity: &Identity) -> Result<(), IdentityError> {
    let Some(vip) = identity.vip else { return Ok(()) };
    check_addr("vip", vip)?;
    if identity.role != Role::Lb {
        return refuse("vip", "the public address is for load balancers only");
    }
    if vip == identity.addr || vip == identity.gateway {
        return refuse("vip", format!("{vip} is the VM's own address or its gateway"));
    }
    Ok(())
}

fn parse_mac(text: &str) -> Result<[u8; 6], IdentityError> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut mac {
        let parsed = parts
            .next()
            .filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|part| u8::from_str_radix(part, 16).ok());
        match parsed {
            Some(value) => *octet = value,
            None => return refuse("gateway_mac", "not six octets like 02:00:00:00:00:01"),
        }
    }
    if parts.next().is_some() {
        return refuse("gateway_mac", "not six octets like 02:00:00:00:00:01");
    }
    if mac[0] & 1 == 1 || mac == [0; 6] {
        return refuse("gateway_mac", "not the address of one station");
    }
    Ok(mac)
}

fn parse_seed(text: &str) -> Result<Vec<u8>, IdentityError> {
    if !SEED_BYTES.contains(&(text.len() / 2)) {
        return refuse("seed", format!("{} bytes are not {SEED_BYTES:?}", text.len() / 2));
    }
    base16ct::lower::decode_vec(text)
        .or_else(|_| refuse("seed", "not lowercase hexadecimal with two digits a byte"))
}

fn environment(identity: &Identity) -> Result<Vec<(String, String)>, IdentityError> {
    if identity.env.len() > MAX_ENV {
        return refuse("env", format!("{} variables, at most {MAX_ENV} are taken", identity.env.len()));
    }
    let mut env = vec![
        ("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOME".to_owned(), "/".to_owned()),
    ];
    for (name, value) in &identity.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return refuse("env", format!("{name:?} cannot be a variable"));
        }
        if name.len() + value.len() > MAX_ENV_BYTES {
            return refuse("env", format!("a variable has more than {MAX_ENV_BYTES} bytes"));
        }
        if RESERVED_ENV.contains(&name.as_str()) {
            return refuse("env", format!("{name} is set by init"));
        }
        env.retain(|(default, _)| default != name);
        env.push((name.clone(), value.clone()));
    }
    let own = [identity.id.clone(), identity.addr.to_string(), identity.incarnation.to_string()];
    env.extend(RESERVED_ENV.map(str::to_owned).into_iter().zip(own));
    Ok(env)
}

#[cfg(test)]
pub(crate) mod tests;
