//! What commands ask of the supervisor: one JSON line each way on a unix socket that only root can open.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::state::control_socket;
use crate::units::{Kind, UnitView};

/// The longest line either side accepts, in bytes.
const MAX_LINE: u64 = 64 << 10;
/// How long a command waits for the supervisor.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the supervisor waits for a command's line.
pub(crate) const REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// What runs?
    Status,
    /// Run this.
    Start {
        /// On which host.
        host: String,
        /// What.
        kind: Kind,
    },
    /// End this, and do not start it again.
    Stop {
        /// On which host.
        host: String,
        /// What.
        kind: Kind,
    },
    /// Remove the whole lab and end.
    Down,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// What runs.
    Units(Vec<UnitView>),
    /// It was not done.
    Error(String),
}

/// Asks the supervisor.
pub(crate) async fn ask(request: &Request) -> Result<Vec<UnitView>> {
    ask_within(request, ANSWER_WITHIN).await
}

/// Asks the supervisor something that may take its time.
pub(crate) async fn ask_within(request: &Request, limit: Duration) -> Result<Vec<UnitView>> {
    match timeout(limit, exchange(&control_socket(), request)).await {
        Ok(Ok(Answer::Units(units))) => Ok(units),
        Ok(Ok(Answer::Error(message))) => bail!(message),
        Ok(Err(error)) => Err(error),
        Err(_) => bail!("the supervisor did not answer within {} s", limit.as_secs()),
    }
}

async fn exchange(path: &Path, request: &Request) -> Result<Answer> {
    let mut stream = UnixStream::connect(path).await.context("the lab's supervisor does not run")?;
    write_line(&mut stream, request).await?;
    read_line(stream).await
}

/// Reads one line.
pub(crate) async fn read_line<T: DeserializeOwned>(stream: impl tokio::io::AsyncRead + Unpin) -> Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line).await.context("cannot read")?;
    if !line.ends_with('\n') {
        bail!("the line is longer than {MAX_LINE} bytes or not complete");
    }
    serde_json::from_str(&line).context("the line is not understood")
}

/// Writes one line.
pub(crate) async fn write_line(stream: &mut UnixStream, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await.context("cannot write")
}
