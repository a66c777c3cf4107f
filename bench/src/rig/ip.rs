//! Runs `ip`, the one tool every administrator can repeat these steps with.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What `ip ARGS` prints; its own words when it fails.
pub(crate) fn ip(args: &[&str]) -> Result<String> {
    let output =
        Command::new("ip").args(args).stdin(Stdio::null()).output().context("cannot run `ip` (iproute2)")?;
    if !output.status.success() {
        bail!("`ip {}`: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
