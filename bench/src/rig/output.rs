//! A result's file.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Writes a result as JSON for people and programs.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, result: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(result)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("--out: cannot write {}", path.display()))
}

/// That the file can be written, before minutes are spent.
///
/// # Errors
/// When it cannot.
pub fn check_writable(path: Option<&Path>) -> Result<()> {
    if let Some(path) = path {
        let opened = fs::OpenOptions::new().append(true).create(true).open(path);
        opened.with_context(|| format!("--out: cannot write {}", path.display()))?;
    }
    Ok(())
}
