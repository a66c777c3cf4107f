//! Waiting until a server gives right answers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, sleep, timeout_at};

use super::namespace::Namespace;
use super::process::Program;
use crate::client::{Client, Progress};
use crate::options;

/// How long a program may take to be ready.
const READY: Duration = Duration::from_secs(15);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks `addr` from inside `namespace` until a right answer comes.
///
/// # Errors
/// When the program ends, or does not answer rightly in time; with its last words or the last failure.
pub fn until_ready(namespace: &Namespace, addr: SocketAddr, path: &str, program: &mut Program) -> Result<()> {
    let client = Client::new(options::target(&format!("http://{addr}"))?, false)?;
    let question = options::question(path)?;
    namespace.block_on(async || {
        let deadline = Instant::now() + READY;
        let mut last = "no answer".to_owned();
        loop {
            program.check()?;
            match timeout_at(deadline, client.ask(&question, &mut Progress::default())).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(failure)) => last = failure.message,
                Err(_) => bail!("{addr} is not ready after {READY:?}: {last}"),
            }
            sleep(PAUSE).await;
        }
    })
}

/// Connects to `addr` until it is there; the stream is dropped.
///
/// # Errors
/// When the program ends, or does not listen in time.
pub fn until_listening(namespace: &Namespace, addr: SocketAddr, program: &mut Program) -> Result<()> {
    namespace.block_on(async || {
        let deadline = Instant::now() + READY;
        loop {
            program.check()?;
            let connected = timeout_at(deadline, tokio::net::TcpStream::connect(addr)).await;
            match connected.with_context(|| format!("nobody listens at {addr}"))? {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => bail!("nobody listens at {addr}: {error}"),
                Err(_) => sleep(PAUSE).await,
            }
        }
    })
}
