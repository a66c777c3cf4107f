use std::net::SocketAddr;
use std::thread::JoinHandle;

use lb::config::Config;
use lb::{Addresses, Order};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use toml::{Table, toml};

use super::{Answer, Upstream, http};

pub(crate) const TOKEN: &str = "a-token-for-the-tests";

/// A configuration with these keys before the tables and these tables. What they do not mention and what would
/// act by itself, on a clock or on what happened before, is off: a test that is about it says so.
pub(crate) fn config(top: &str, tables: &str) -> Config {
    let mut given: Table = format!("{top}\n{tables}").parse().unwrap();
    let quiet = toml! {
        listen = "127.0.0.1:0"
        threads = 2
        queue_ms = 0
        [admin]
        listen = "127.0.0.1:0"
        token = "a-token-for-the-tests"
        [attempt]
        first_byte_min_ms = 600_000
        first_byte_max_ms = 600_000
        [upstream]
        max_fails = 0
        [drain]
        linger_ms = 0
        timeout_ms = 1000
    };
    fill(&mut given, quiet);
    load(&given.to_string())
}

/// The configuration that this text is.
pub(crate) fn load(text: &str) -> Config {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Config::load(file.path()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn fill(given: &mut Table, defaults: Table) {
    for (key, default) in defaults {
        match (given.get_mut(&key), default) {
            (Some(toml::Value::Table(given)), toml::Value::Table(defaults)) => fill(given, defaults),
            (Some(_), _) => {}
            (None, default) => drop(given.insert(key, default)),
        }
    }
}

/// A load balancer on a thread of its own. It stops when dropped.
pub(crate) struct Balancer {
    pub(crate) traffic: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) admin: SocketAddr,
    pub(crate) orders: mpsc::Sender<Order>,
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), lb::Error>>>,
}

impl Balancer {
    /// With this [`config`].
    pub(crate) async fn start(top: &str, tables: &str) -> Self {
        Self::run(config(top, tables)).await
    }

    pub(crate) async fn run(config: Config) -> Self {
        let stop = CancellationToken::new();
        let (ready, addresses) = oneshot::channel::<Addresses>();
        let (orders, ordered) = mpsc::channel(1);
        let stopped = stop.clone().cancelled_owned();
        let thread = std::thread::spawn(move || {
            lb::run(config, prometheus::Registry::new(), ordered, stopped, |addresses| {
                ready.send(addresses).unwrap();
            })
        });
        let Addresses { traffic, tls, admin } = addresses.await.unwrap();
        Self { traffic: traffic[0], tls: tls.first().copied(), admin, orders, stop, thread: Some(thread) }
    }

    /// With little patience for upstreams.
    pub(crate) async fn simple() -> Self {
        Self::start("", "[attempt]\nread_timeout_ms = 300\n").await
    }

    /// Puts this [`config`] in force.
    pub(crate) async fn reload(&self, top: &str, tables: &str) {
        // One order waits at a time: when the third does, the first was obeyed.
        for _ in 0..3 {
            self.orders.send(Order::Reload(Box::new(config(top, tables)))).await.unwrap();
        }
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

    /// Takes one upstream out.
    pub(crate) async fn remove(&self, generation: u64, upstream: &Upstream) {
        let path = format!("/v1/upstreams/{}?generation={generation}", upstream.id);
        assert_eq!(self.write("DELETE", &path, "").await.status, 200);
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

    /// Further attempts so far, by what was wrong with the one before.
    pub(crate) async fn retries(&self, reason: &str) -> f64 {
        self.metric(&format!("lb_retries_total{{reason=\"{reason}\"}}")).await.unwrap()
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
