//! The packet filter's part of a second chance ([`super::plan::vip`]): marks the packets of connections that began
//! elsewhere.
//!
//! It is told through `nft` (package nftables), whose language is stabler than the kernel's interface to it. Our table
//! is replaced in one transaction, and other tables are not looked at. The marks themselves are on the tracked
//! connections, so they outlive the table.
//!
//! `nft` is a process, and may fail or hang. It never runs while somebody waits for more than the address's own limit
//! ([`HASTE`]), one runs at a time, and what it was last told wins.
//!
//! While the table exists the kernel tracks all connections of this host (one entry each, `nf_conntrack_max` at
//! most); without it, this module causes no tracking.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tracing::{debug, warn};

use super::plan::Change;
use super::plan::vip::{Filter, FilterSpec, MARK};

/// Our table's name, in the family `ip`.
pub const FILTER_TABLE: &str = "phalanx_vip";

/// How long `nft` may take while the public address waits for it. It takes 10 ms on an idle machine.
pub(super) const HASTE: Duration = Duration::from_millis(300);

/// How long it may take while nobody waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What was installed, and how `nft` shows it.
#[derive(Debug, Default)]
enum Memory {
    #[default]
    Nothing,
    /// The listing is taken at the first look: the address is not to wait for it.
    Installed(FilterSpec, Option<String>),
    /// `nft` did not install this, and why.
    Refused(FilterSpec, String),
    /// A table of an earlier life, or one that is being changed, or one whose change failed.
    Unknown,
}

#[derive(Debug, Default)]
struct State {
    memory: Memory,
    /// Orders so far; only the last one is carried out.
    orders: u64,
    /// Grows with each order, and with its end.
    version: u64,
}

/// A change of the table that was decided and not yet made. While there is one, the table's state is unknown.
#[derive(Debug)]
#[must_use]
pub(super) struct Order {
    number: u64,
    /// None: there shall be no table.
    spec: Option<FilterSpec>,
}

/// The table, as far as this process knows.
#[derive(Debug)]
pub(super) struct Nft {
    program: PathBuf,
    state: Mutex<State>,
    /// Of the processes that change the table.
    turn: tokio::sync::Mutex<()>,
}

impl Nft {
    /// Looks for a table of an earlier life. Without `nft` there is none. With one that fails there may be one, which is
    /// removed later if the table is `used` at all.
    pub(super) async fn open(program: PathBuf, used: bool) -> Self {
        let nft = Self { program, state: Mutex::default(), turn: tokio::sync::Mutex::default() };
        let found = match within(PATIENCE, nft.list()).await {
            Ok(table) => table.is_some(),
            Err(error) => {
                warn!(%error, "cannot look for the packet filter's table of an earlier life");
                used
            }
        };
        if found {
            nft.state().memory = Memory::Unknown;
        }
        nft
    }

    /// How the table should be now if nobody touched it. Costs nothing.
    pub(super) fn remembered(&self) -> Filter {
        match &self.state().memory {
            Memory::Nothing => Filter::Absent,
            Memory::Installed(spec, _) => Filter::Is(*spec),
            Memory::Refused(..) | Memory::Unknown => Filter::Unknown,
        }
    }

    /// Why the last try to install just this failed, if it did.
    pub(super) fn refused(&self, wanted: &FilterSpec) -> Option<String> {
        match &self.state().memory {
            Memory::Refused(spec, reason) if spec == wanted => Some(reason.clone()),
            Memory::Refused(..) | Memory::Nothing | Memory::Installed(..) | Memory::Unknown => None,
        }
    }

    /// Looks whether somebody touched the table; [`Nft::remembered`] knows afterwards. Starts a process, unless there
    /// should be no table. If that fails, nothing is known to have changed.
    pub(super) async fn look(&self) -> io::Result<()> {
        let version = {
            let state = self.state();
            if matches!(state.memory, Memory::Nothing) {
                return Ok(());
            }
            state.version
        };
        let now = within(PATIENCE, self.list()).await?;
        let mut state = self.state();
        // What was seen is of before or after an order, nobody knows which.
        if state.version != version {
            return Ok(());
        }
        match (&mut state.memory, now) {
            (Memory::Nothing | Memory::Refused(..), _) | (Memory::Unknown, Some(_)) => {}
            (Memory::Installed(..) | Memory::Unknown, None) => state.memory = Memory::Nothing,
            (Memory::Installed(_, then), Some(now)) => {
                if *then.get_or_insert_with(|| now.clone()) != now {
                    state.memory = Memory::Unknown;
                }
            }
        }
        Ok(())
    }

    /// Takes `step` for the last word about the table, if it is about it.
    pub(super) fn order(&self, step: &Change) -> Option<Order> {
        let spec = match step {
            Change::InstallFilter(spec) => Some(*spec),
            Change::RemoveFilter => None,
            _ => return None,
        };
        let mut state = self.state();
        state.orders += 1;
        state.version += 1;
        state.memory = Memory::Unknown;
        Some(Order { number: state.orders, spec })
    }

    /// Makes the table what was ordered, unless there is a newer order: then it returns `false`. If it is cancelled, the
    /// table's state stays unknown.
    pub(super) async fn carry_out(&self, order: Order, limit: Duration) -> io::Result<bool> {
        let Order { number, spec } = order;
        let script = spec.as_ref().map_or_else(
            // To add it first makes this succeed without a table too.
            || format!("table ip {FILTER_TABLE}\ndelete table ip {FILTER_TABLE}\n"),
            script,
        );
        let done = within(limit, async {
            let _turn = self.turn.lock().await;
            if self.state().orders != number {
                return Ok(false);
            }
            check(&self.run(&["-f", "-"], &script).await?)?;
            Ok(true)
        });
        let done = done.await;
        let mut state = self.state();
        state.version += 1;
        if state.orders == number {
            state.memory = match (&done, spec) {
                (Ok(_), Some(spec)) => Memory::Installed(spec, None),
                (Ok(_), None) => Memory::Nothing,
                (Err(error), Some(spec)) => Memory::Refused(spec, error.to_string()),
                (Err(_), None) => Memory::Unknown,
            };
        }
        done
    }

    /// The table as `nft` shows it, without counters, with the handles that tell one rule from its like.
    async fn list(&self) -> io::Result<Option<String>> {
        let output = match self.run(&["-s", "-a", "-n", "list", "table", "ip", FILTER_TABLE], "").await {
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
    async fn run(&self, args: &[&str], input: &str) -> io::Result<Output> {
        let mut command = Command::new(&self.program);
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let why = format!("nft did not answer within {} ms", limit.as_millis());
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    })
}

/// The transaction that makes the table, whatever was there before.
///
/// A connection that is seen first by its end is not tracked at all (`tcp_conntracks` in the kernel's
/// `nf_conntrack_proto_tcp.c` calls a FIN without a connection invalid), so those packets are marked one by one.
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
tcp flags & (fin | rst) != 0 ct state invalid meta mark set {MARK:#x}
meta l4proto tcp ct state new ct mark set {MARK:#x}
ct mark {MARK:#x} meta mark set {MARK:#x}
}}
}}
"
    );
    script
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
