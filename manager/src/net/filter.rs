//! The packet filter's part of a second chance ([`super::plan::vip`]): marks the packets of connections that began
//! elsewhere.
//!
//! It is told through `nft` (package nftables), whose language is stabler than the kernel's interface to it. Our table
//! is replaced in one transaction, and other tables are not looked at. The marks themselves are on the tracked
//! connections, so they outlive the table.
//!
//! While the table exists the kernel tracks all connections of this host (one entry each, `nf_conntrack_max` at
//! most); without it, this module causes no tracking.

use std::fmt::Write;
use std::io;
use std::process::{Output, Stdio};
use std::sync::{Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tracing::debug;

use super::plan::vip::{Filter, FilterSpec, MARK};

/// Our table's name, in the family `ip`.
pub const FILTER_TABLE: &str = "phalanx_vip";

/// What was installed, and how `nft` shows it.
#[derive(Debug, Default)]
enum Memory {
    #[default]
    Nothing,
    /// The listing is taken at the first look: the address is not to wait for it.
    Installed(FilterSpec, Option<String>),
    /// A table of an earlier life, or one that could not be installed for sure.
    Unknown,
}

/// The table, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Nft {
    memory: Mutex<Memory>,
}

impl Nft {
    /// Looks for a table of an earlier life. Without `nft` there is none.
    pub(super) async fn open() -> io::Result<Self> {
        let nft = Self::default();
        if list().await?.is_some() {
            nft.remember(Memory::Unknown);
        }
        Ok(nft)
    }

    /// How the table should be now if nobody touched it. Costs nothing.
    pub(super) fn remembered(&self) -> Filter {
        match &*self.memory.lock().unwrap_or_else(PoisonError::into_inner) {
            Memory::Nothing => Filter::Absent,
            Memory::Installed(spec, _) => Filter::Is(*spec),
            Memory::Unknown => Filter::Unknown,
        }
    }

    /// Looks whether somebody touched the table. Starts a process, unless there should be no table.
    pub(super) async fn look(&self) -> io::Result<Filter> {
        if self.remembered() == Filter::Absent {
            return Ok(Filter::Absent);
        }
        let now = list().await?;
        let memory = &mut *self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(now) = now else {
            *memory = Memory::Nothing;
            return Ok(Filter::Absent);
        };
        if let Memory::Installed(spec, then) = memory
            && *then.get_or_insert_with(|| now.clone()) == now
        {
            return Ok(Filter::Is(*spec));
        }
        *memory = Memory::Unknown;
        Ok(Filter::Unknown)
    }

    /// Installs or replaces the table. If it is cancelled, the next look says that its state is unknown.
    pub(super) async fn install(&self, spec: &FilterSpec) -> io::Result<()> {
        self.remember(Memory::Unknown);
        check(&run(&["-f", "-"], &script(spec)).await?)?;
        self.remember(Memory::Installed(*spec, None));
        Ok(())
    }

    /// Removes the table, if there is one.
    pub(super) async fn remove(&self) -> io::Result<()> {
        self.remember(Memory::Unknown);
        // To add it first makes this succeed without a table too.
        let script = format!("table ip {FILTER_TABLE}\ndelete table ip {FILTER_TABLE}\n");
        check(&run(&["-f", "-"], &script).await?)?;
        self.remember(Memory::Nothing);
        Ok(())
    }

    fn remember(&self, memory: Memory) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = memory;
    }
}

/// The transaction that makes the table, whatever was there before.
fn script(spec: &FilterSpec) -> String {
    let FilterSpec { vip, except_from } = spec;
    let except = except_from.map_or(String::new(), |mac| format!("ether saddr {mac} return\n"));
    let mut script = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        script,
        "table ip {FILTER_TABLE}
delete table ip {FILTER_TABLE}
table ip {FILTER_TABLE} {{
chain second_chance {{
type filter hook prerouting priority -150; policy accept;
ip daddr != {vip} return
{except}tcp flags & (syn | ack) == syn ct mark {MARK:#x} ct mark set 0
tcp flags & (syn | ack) == syn return
meta l4proto tcp ct state new ct mark set {MARK:#x}
ct mark {MARK:#x} meta mark set {MARK:#x}
}}
}}
"
    );
    script
}

/// The table as `nft` shows it, without counters, with the handles that tell one rule from its like.
async fn list() -> io::Result<Option<String>> {
    let output = match run(&["-s", "-a", "-n", "list", "table", "ip", FILTER_TABLE], "").await {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            debug!(%error, "no second chances");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && complaint.contains("No such file or directory") {
        return Ok(None);
    }
    check(&output)?;
    Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Runs `nft`. If it is cancelled, `nft` is killed.
async fn run(args: &[&str], input: &str) -> io::Result<Output> {
    let mut command = Command::new("nft");
    command.args(args).env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot run nft (package nftables): {e}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()).await {
            // It has ended, and says why on its own.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    child.wait_with_output().await
}

fn check(output: &Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let first = complaint.lines().next().unwrap_or("without a word").trim();
    Err(io::Error::other(format!("nft: {first}")))
}

#[cfg(test)]
mod tests;
