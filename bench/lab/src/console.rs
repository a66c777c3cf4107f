//! Ends the programs in a VM without ending the VM, and without a way in: there is no shell in a VM, and its only port is
//! its manager's.
//!
//! The kernel takes a break on the serial console, and the key after it, as a magic system request: `i` kills and `e`
//! terminates every process but PID 1 (Documentation/admin-guide/sysrq.rst). For as long as that takes, QEMU's console
//! leads to a socket instead of its log.

use std::env;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::ns::path_in_host;
use crate::plan::HostPlan;

#[cfg(test)]
mod tests;

/// libvirt's name of a domain's first serial port.
const CHARDEV: &str = "charserial0";
/// Where the console leads meanwhile, as the host sees it.
const SOCKET: &str = "/run/lab-console.sock";
/// How long libvirt may take for a command.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);
/// How long the guest's kernel may take to say that it has obeyed.
const OBEYED_WITHIN: Duration = Duration::from_secs(5);
/// The most of the console's words that are kept, in bytes.
const MAX_WORDS: usize = 64 << 10;

/// A magic system request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    key: u8,
    /// What the kernel says when it obeys.
    echo: &'static str,
}

fn order(signal: Signal) -> Result<Order> {
    match signal {
        Signal::KILL => Ok(Order { key: b'i', echo: "Kill All Tasks" }),
        Signal::TERM => Ok(Order { key: b'e', echo: "Terminate All Tasks" }),
        _ => bail!("--signal: a program in a VM can get KILL or TERM only"),
    }
}

/// Sends a signal to the programs in the VM of this libvirt domain, and returns when its kernel has done so.
pub(crate) async fn signal_programs(host: &HostPlan, domain: &str, signal: Signal) -> Result<()> {
    let order = order(signal)?;
    let console = console_file(&virsh(host, &["dumpxml", domain]).await?)?;
    let socket = json!({"type": "unix", "data": {"path": SOCKET}});
    lead_console(
        host,
        domain,
        json!({"type": "socket", "data": {"addr": socket, "server": true, "wait": false}}),
    )
    .await?;
    let obeyed = give(host, domain, order).await;
    let back =
        lead_console(host, domain, json!({"type": "file", "data": {"out": console, "append": true}})).await;
    // QEMU has removed it, or there never was one.
    let _ = path_in_host(&host.name, SOCKET).map(std::fs::remove_file);
    obeyed?;
    back.context("the console's log ends here")
}

async fn give(host: &HostPlan, domain: &str, order: Order) -> Result<()> {
    let path = path_in_host(&host.name, SOCKET)?;
    let mut serial = UnixStream::connect(&path).await.context("cannot reach the console")?;
    monitor(host, domain, &json!({"execute": "chardev-send-break", "arguments": {"id": CHARDEV}})).await?;
    serial.write_all(&[order.key]).await.context("cannot write to the console")?;
    let echo = async {
        let mut words = Vec::new();
        while !String::from_utf8_lossy(&words).contains(order.echo) {
            ensure!(words.len() < MAX_WORDS, "the console says too much");
            let count = serial.read_buf(&mut words).await.context("cannot read the console")?;
            ensure!(count > 0, "the console was closed");
        }
        Ok(())
    };
    timeout(OBEYED_WITHIN, echo).await.unwrap_or_else(|_| Err(anyhow!("the VM's kernel did not obey")))
}

async fn lead_console(host: &HostPlan, domain: &str, backend: Value) -> Result<()> {
    let arguments = json!({"id": CHARDEV, "backend": backend});
    monitor(host, domain, &json!({"execute": "chardev-change", "arguments": arguments})).await
}

/// A command to QEMU itself.
async fn monitor(host: &HostPlan, domain: &str, command: &Value) -> Result<()> {
    let answer = virsh(host, &["qemu-monitor-command", domain, &command.to_string()]).await?;
    let answer: Value = serde_json::from_str(&answer).with_context(|| format!("QEMU said: {answer}"))?;
    ensure!(answer.get("return").is_some(), "{command}: {answer}");
    Ok(())
}

/// Runs `virsh` on a host; what it prints.
async fn virsh(host: &HostPlan, args: &[&str]) -> Result<String> {
    let own = env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(own);
    command.args(["enter", &host.name, "--", "virsh", "--quiet", "--connect", "qemu:///system"]).args(args);
    let output = timeout(COMMAND_WITHIN, command.stdin(Stdio::null()).kill_on_drop(true).output())
        .await
        .map_err(|_| anyhow!("no end within {} s", COMMAND_WITHIN.as_secs()))
        .and_then(|output| Ok(output?))
        .with_context(|| format!("{}: virsh {}", host.name, args.join(" ")))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: virsh {}: {}", host.name, args.join(" "), stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The file that a domain's serial console is written to, by libvirt's description of it.
fn console_file(xml: &str) -> Result<String> {
    let serial = xml.split_once("<serial type='file'>").map(|(_, rest)| rest);
    let source = serial.and_then(|rest| rest.split_once("<source path='")).map(|(_, rest)| rest);
    let path = source.and_then(|rest| rest.split_once('\'')).map(|(path, _)| path);
    let path = path.context("the domain's console is no file")?;
    ensure!(!path.contains('&'), "the console's file has a name that is not understood: {path}");
    Ok(path.to_owned())
}
