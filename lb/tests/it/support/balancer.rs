use std::net::SocketAddr;
use std::thread::JoinHandle;

use lb::Addresses;
use lb::config::Config;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Answer, Upstream, http};

pub(crate) const TOKEN: &str = "a-token-for-the-tests";

/// A load balancer on a thread of its own. It stops when dropped.
pub(crate) struct Balancer {
    pub(crate) traffic: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), lb::Error>>>,
}

impl Balancer {
    /// With these keys before the tables and these tables beyond `[admin]`.
    pub(crate) async fn start(top: &str, tables: &str) -> Self {
        let admin = if tables.contains("[admin]") { "" } else { "[admin]\n" };
        let tables = tables.replacen(
            "[admin]\n",
            &format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n"),
            1,
        );
        let admin =
            admin.replace("[admin]\n", &format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n"));
        let drain =
            if tables.contains("[drain]") { "" } else { "[drain]\nlinger_ms = 0\ntimeout_ms = 1000\n" };
        let text = format!("listen = \"127.0.0.1:0\"\nworkers = 2\n{top}\n{admin}{tables}\n{drain}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let config = Config::load(file.path()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let stop = CancellationToken::new();
        let (ready, addresses) = oneshot::channel::<Addresses>();
        let stopped = stop.clone().cancelled_owned();
        let thread = std::thread::spawn(move || {
            lb::run(config, prometheus::Registry::new(), stopped, |addresses| {
                ready.send(addresses).unwrap();
            })
        });
        let Addresses { traffic, admin } = addresses.await.unwrap();
        Self { traffic, admin, stop, thread: Some(thread) }
    }

    /// Defaults, but for a short time-out of reads.
    pub(crate) async fn simple() -> Self {
        Self::start("", "[upstream]\nread_timeout_ms = 300\n").await
    }

    /// Puts these upstreams in force, under their names.
    pub(crate) async fn set(&self, generation: u64, upstreams: &[&Upstream]) {
        let list: Vec<Value> = upstreams.iter().map(|upstream| upstream.json()).collect();
        self.set_json(generation, list).await;
    }

    pub(crate) async fn set_json(&self, generation: u64, upstreams: Vec<Value>) {
        let answer = self.put(&json!({"generation": generation, "upstreams": upstreams})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    pub(crate) async fn put(&self, body: &Value) -> Answer {
        self.write("PUT", "/v1/upstreams", &body.to_string()).await
    }

    /// A write with the token.
    pub(crate) async fn write(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = [("Authorization", format!("Bearer {TOKEN}"))];
        http(self.admin, method, path, &headers, body.as_bytes().to_vec()).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        http(self.admin, "GET", path, &[], Vec::new()).await.unwrap()
    }

    /// The value of one line of the metrics.
    pub(crate) async fn metric(&self, line: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text();
        let rest = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '))?;
        Some(rest.parse().unwrap())
    }

    /// What was counted about one upstream.
    pub(crate) async fn status_of(&self, upstream: &Upstream) -> Value {
        let view = self.get("/v1/upstreams").await.json();
        let list = view["upstreams"].as_array().unwrap();
        list.iter().find(|status| status["id"] == *upstream.id).cloned().unwrap_or(Value::Null)
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(move || thread.join().unwrap().unwrap()).await.unwrap();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}
