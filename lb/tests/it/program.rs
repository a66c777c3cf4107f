//! The program itself, as an administrator runs it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{Answer, TOKEN, http, until};

/// A running program and its successors. All are killed when it is dropped.
pub(crate) struct Program {
    dir: TempDir,
    child: Child,
    pub(crate) traffic: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) admin: SocketAddr,
    /// Of the program and its successors, which write to the same end.
    log: Arc<Mutex<Vec<Value>>>,
}

impl Program {
    /// With these keys before the tables, these tables, and what every test needs. `{dir}` is a folder of its own.
    pub(crate) async fn start(top: &str, tables: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), top, tables).await
    }

    /// The same, in this folder.
    pub(crate) async fn start_in(dir: TempDir, top: &str, tables: &str) -> Self {
        Self::spawn(dir, top, tables, |command| command.env_remove("NOTIFY_SOCKET")).await
    }

    /// With these tables and a service manager that listens there.
    pub(crate) async fn start_notifying(dir: TempDir, tables: &str, socket: &Path) -> Self {
        Self::spawn(dir, "", tables, |command| command.env("NOTIFY_SOCKET", socket)).await
    }

    async fn spawn(
        dir: TempDir,
        top: &str,
        tables: &str,
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        write_config(dir.path(), top, tables);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
        command.arg("--config").arg(dir.path().join("lb.toml")).args(["--log-format", "json"]);
        prepare(&mut command);
        let mut child = command.env_remove("RUST_LOG").stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::<Mutex<Vec<Value>>>::default();
        let kept = Arc::clone(&log);
        // It ends when the last process that has the other end does.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|_| json!({"message": line}));
                kept.lock().unwrap().push(line);
            }
        });
        let none: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let mut program = Self { dir, child, traffic: none, tls: None, admin: none, log };
        let line = program.logged("listening").await;
        let addr = |name: &str| line[name].as_str().unwrap().parse();
        (program.traffic, program.admin) = (addr("traffic").unwrap(), addr("admin").unwrap());
        program.tls = addr("tls").ok();
        program
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Another configuration for the next reload or successor.
    pub(crate) fn configure(&self, top: &str, tables: &str) {
        write_config(self.dir.path(), top, tables);
    }

    /// The same, with a file of this content.
    pub(crate) fn configure_raw(&self, text: &str) {
        fs::write(self.dir.path().join("lb.toml"), text).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(self.child.id(), signal).unwrap();
    }

    /// All lines so far with this message.
    pub(crate) fn lines(&self, message: &str) -> Vec<Value> {
        let has = |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains(message));
        self.log.lock().unwrap().iter().filter(has).cloned().collect()
    }

    /// Waits for so many lines with this message. Answers the last one.
    pub(crate) async fn logged_times(&mut self, message: &str, times: usize) -> Value {
        let mut lines = Vec::new();
        until(&format!("logged {times} times: {message}"), async || {
            lines = self.lines(message);
            lines.len() >= times
        })
        .await;
        lines.pop().unwrap()
    }

    pub(crate) async fn logged(&mut self, message: &str) -> Value {
        self.logged_times(message, 1).await
    }

    /// Whether the first process has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the first process has ended. Answers its exit code.
    pub(crate) async fn exit(&mut self) -> Option<i32> {
        let mut status = None;
        until("exited", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code()
    }

    /// The processes that its successors are.
    pub(crate) fn successors(&self) -> Vec<u32> {
        let pid = |line: &Value| u32::try_from(line["pid"].as_u64()?).ok();
        self.lines("draining").iter().filter_map(pid).collect()
    }

    pub(crate) async fn put(&self, generation: u64, upstreams: Vec<Value>) -> Answer {
        let headers = [("Authorization", format!("Bearer {TOKEN}"))];
        let body = json!({"generation": generation, "upstreams": upstreams}).to_string().into_bytes();
        http(self.admin, "PUT", "/v1/upstreams", &headers, body).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        http(self.traffic, "GET", path, &[], Vec::new()).await.unwrap()
    }

    pub(crate) async fn view(&self) -> Value {
        http(self.admin, "GET", "/v1/upstreams", &[], Vec::new()).await.unwrap().json()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.successors() {
            // It may have ended long ago. It is no child of this process, so it cannot be waited for.
            let _ = send_signal(pid, Signal::KILL);
        }
    }
}

/// The text of a configuration, with a folder in place of `{dir}`.
pub(crate) fn config(dir: &Path, top: &str, tables: &str) -> String {
    let listen = if top.contains("listen") { "" } else { "listen = \"127.0.0.1:0\"\n" };
    let text = format!("{listen}{top}\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n{tables}");
    text.replace("{dir}", &dir.display().to_string())
}

fn write_config(dir: &Path, top: &str, tables: &str) -> PathBuf {
    let path = dir.join("lb.toml");
    fs::write(&path, config(dir, top, tables)).unwrap();
    path
}

pub(crate) fn send_signal(pid: u32, signal: Signal) -> rustix::io::Result<()> {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal)
}
