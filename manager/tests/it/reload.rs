//! Nodes join and leave while the others run: whole managers, each in a network namespace of its own on a common LAN.
//! There is no libvirt there, so no VM runs; everything else does.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path as Route, State};
use manager::config::{Config, Peer};
use manager::driver;
use manager::identity::Secret;
use manager::journal::Journal;
use manager::metrics::Metrics;
use manager::net::{Net, Settings};
use manager_core::{Desired, Event};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use wire::{PeerAck, PeerServices};

use crate::libvirtd::{is_root, wait_for};
use crate::net_lan::{Lan, Namespace};

/// One exchange with a manager; one that stands still is asked again.
const EXCHANGE: Duration = Duration::from_secs(5);

fn peer(number: u8) -> String {
    format!(
        "[[peers]]\nnode = \"host{number}\"\napi = \"10.77.0.{number}:7700\"\npool = \"10.77.{number}.0/24\"\n"
    )
}

fn write_secret(dir: &Path) -> PathBuf {
    let path = dir.join("secret");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A manager that runs, and ends with the test.
struct Manager {
    namespace: Namespace,
    number: u8,
    dir: tempfile::TempDir,
    child: Child,
    /// Kept open; nobody reads it from the start on, or a thread does.
    stderr: Option<ChildStderr>,
}

impl Manager {
    fn start(lan: &Lan, number: u8, rest: &str) -> Self {
        let namespace = Namespace::new();
        lan.plug(&namespace, &format!("host{number}"), &format!("10.77.0.{number}"));
        let dir = tempfile::tempdir().unwrap();
        write_secret(dir.path());
        for file in ["vmlinuz", "initramfs"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let config = dir.path().join("manager.toml");
        std::fs::write(&config, text(dir.path(), number, rest)).unwrap();
        let mut child = namespace.run(move || async move {
            Command::new(env!("CARGO_BIN_EXE_manager"))
                .arg("--config")
                .arg(&config)
                .args(["--log-format", "json"])
                .env_remove("RUST_LOG")
                .stderr(Stdio::piped())
                .spawn()
                .expect("the manager")
        });
        let stderr = child.stderr.take();
        let manager = Self { namespace, number, dir, child, stderr };
        wait_for("the manager's API", || manager.get("/healthz"));
        manager
    }

    /// What is written on standard error is in the returned place.
    fn read_log(&mut self) -> Arc<Mutex<String>> {
        let (log, stderr) =
            (Arc::new(Mutex::new(String::new())), self.stderr.take().expect("nobody reads it"));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = lines.lock().unwrap();
                lines.push_str(&line);
                lines.push('\n');
            }
        });
        log
    }

    fn write_config(&self, rest: &str) {
        std::fs::write(self.dir.path().join("manager.toml"), text(self.dir.path(), self.number, rest))
            .unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Has it read another configuration.
    fn reload(&self, rest: &str) {
        self.write_config(rest);
        self.signal(Signal::SIGHUP);
    }

    /// The answer's body; none if there is no good one.
    fn get(&self, path: &str) -> Option<String> {
        let (addr, path) = (SocketAddr::from(([10, 77, 0, self.number], 7700)), path.to_owned());
        self.namespace.run(move || async move {
            let exchange = async {
                let mut stream = TcpStream::connect(addr).await?;
                let request = format!("GET {path} HTTP/1.1\r\nHost: manager\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                std::io::Result::Ok(answer)
            };
            let answer = tokio::time::timeout(EXCHANGE, exchange).await.ok()?.ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            head.starts_with("HTTP/1.1 200 ").then(|| body.to_owned())
        })
    }

    fn peers(&self) -> Vec<String> {
        let view: Value = serde_json::from_str(&self.get("/v1/cluster").expect("an answer")).unwrap();
        let peers = view["peers"].as_array().unwrap().iter();
        peers.map(|peer| peer["node"].as_str().unwrap().to_owned()).collect()
    }

    fn vip_peers(&self) -> Vec<(String, bool)> {
        let status: Value = serde_json::from_str(&self.get("/v1/vip").expect("an answer")).unwrap();
        let peers = status["peers"].as_array().unwrap().iter();
        peers.map(|peer| (peer["node"].as_str().unwrap().to_owned(), peer["report"].is_object())).collect()
    }

    fn events(&self) -> String {
        self.get("/v1/events?follow=false").unwrap_or_default()
    }

    fn said(&self, text: &str) {
        wait_for(text, || self.events().contains(text).then_some(()));
    }

    fn routes(&self) -> String {
        self.namespace.ip("-4 route show proto 0x50")
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(dir: &Path, number: u8, rest: &str) -> String {
    let dir = dir.display();
    format!(
        r#"
node = "host{number}"
secret_file = "{dir}/secret"
state_dir = "{dir}/state"
runtime_dir = "{dir}/run"
[api]
listen = "10.77.0.{number}:7700"
[network]
interface = "lan0"
pool = "10.77.{number}.0/24"
[hypervisor]
uri = "qemu+unix:///system?socket={dir}/no-libvirt"
accel = "tcg"
[image]
kernel = "{dir}/vmlinuz"
initramfs = "{dir}/initramfs"
[vip]
addr = "10.77.0.100"
{rest}"#
    )
}

#[test]
fn nodes_join_and_leave_and_nobody_restarts() {
    if !is_root() {
        return;
    }
    let lan = Lan::new();
    let mut one = Manager::start(&lan, 11, "");
    let log = one.read_log();
    let two = Manager::start(&lan, 12, &peer(11));
    // Nobody is learned from the network.
    one.said("is not among the peers of host11");
    assert_eq!((one.peers(), one.vip_peers()), (vec![], vec![]));

    one.reload(&peer(12));
    one.said("host12 at 10.77.0.12:7700 with pool 10.77.12.0/24 joins");
    one.said("live by gossip");
    two.said("live by gossip");
    assert_eq!(one.peers(), ["host12"]);
    for (manager, other) in [(&one, "host12"), (&two, "host11")] {
        let heard = || (manager.vip_peers() == [(other.to_owned(), true)]).then_some(());
        wait_for("a beat", heard);
    }
    wait_for("a route", || one.routes().contains("10.77.12.0/24 via 10.77.0.12 dev lan0").then_some(()));

    // A third joins: both are told, in any order.
    let three = Manager::start(&lan, 13, &(peer(11) + &peer(12)));
    two.reload(&(peer(11) + &peer(13)));
    one.reload(&(peer(12) + &peer(13)));
    for manager in [&one, &two, &three] {
        wait_for("two peers that are heard", || {
            (manager.vip_peers().iter().filter(|(_, heard)| *heard).count() == 2).then_some(())
        });
    }

    // And the second leaves.
    drop(two);
    one.reload(&peer(13));
    three.reload(&peer(11));
    one.said("host12 leaves");
    three.said("host12 leaves");
    for (manager, rest) in [(&one, "host13"), (&three, "host11")] {
        wait_for("one peer", || (manager.vip_peers() == [(rest.to_owned(), true)]).then_some(()));
        assert_eq!(manager.peers(), [rest]);
        wait_for("no route", || (!manager.routes().contains("10.77.12.0/24")).then_some(()));
    }
    assert!(one.routes().contains("10.77.13.0/24 via 10.77.0.13"));
    drop(three);
    one.signal(Signal::SIGTERM);
    let status = wait_for("the end", || one.child.try_wait().unwrap());
    assert!(status.success(), "{}", log.lock().unwrap());
    let log = log.lock().unwrap();
    assert_eq!(log.matches("manager starts").count(), 1, "{log}");
}

#[test]
fn a_configuration_that_cannot_be_is_not_taken_and_one_that_needs_a_restart_says_so() {
    if !is_root() {
        return;
    }
    let lan = Lan::new();
    let mut one = Manager::start(&lan, 11, &peer(12));
    let log = one.read_log();
    let overlapping = peer(12) + &peer(13).replace("10.77.13.0/24", "10.77.12.128/25");
    let of_the_pool = peer(12) + &peer(13).replace("10.77.0.13", "10.77.13.13");
    for (rest, why) in [
        ("nod = 1", "unknown field `nod`"),
        (&overlapping, "peers[1].pool: 10.77.12.128/25 overlaps peers[0].pool (10.77.12.0/24)"),
        (&of_the_pool, "peers[1].api: 10.77.13.13 is not an address on the LAN: a pool contains it"),
        (&peer(13).replace("10.77.0.13", "10.77.0.100"), "vip.addr: 10.77.0.100 is host13's own address"),
    ] {
        one.reload(rest);
        one.said(why);
        assert_eq!(
            (one.peers(), one.vip_peers()),
            (vec!["host12".to_owned()], vec![("host12".to_owned(), false)])
        );
    }
    // Its peers fit the pool it names, and not the one that is in use until the restart.
    one.write_config(&peer(11).replace("host11", "host13").replace("10.77.0.11:", "10.77.0.13:"));
    let path = one.dir.path().join("manager.toml");
    let moved = std::fs::read_to_string(&path).unwrap().replacen(
        "pool = \"10.77.11.0/24\"",
        "pool = \"10.77.99.0/24\"",
        1,
    );
    std::fs::write(&path, moved).unwrap();
    one.signal(Signal::SIGHUP);
    one.said("the peers do not fit the configuration that this manager runs with: peers[0].pool: 10.77.11.0/24 overlaps");
    assert_eq!(one.peers(), ["host12"]);

    let said = |text: &str| wait_for(text, || log.lock().unwrap().contains(text).then_some(()));
    said("\"level\":\"ERROR\"");
    let rest = format!("silence_ms = 400\n[heartbeat]\nretries = 9\n{}", peer(13));
    one.reload(&rest);
    one.said("host13 at 10.77.0.13:7700 with pool 10.77.13.0/24 joins, host12 leaves");
    said("\"keys\":\"heartbeat.retries, vip.silence_ms\"");
    assert_eq!(one.vip_peers(), [("host13".to_owned(), false)]);
    one.reload(&rest);
    said("the peers are the same");
}

/// Its standard error is a pipe with room for a few lines.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    if !is_root() {
        return;
    }
    let lan = Lan::new();
    let mut one = Manager::start(&lan, 11, "");
    let stderr = one.stderr.as_ref().expect("nobody reads it");
    rustix::pipe::fcntl_setpipe_size(stderr, 4096).unwrap();
    for round in 0..100 {
        let number = 12 + round % 2;
        one.reload(&peer(number));
        wait_for("the peer", || (one.peers() == [format!("host{number}")]).then_some(()));
    }
    one.signal(Signal::SIGTERM);
    let status = wait_for("the end", || one.child.try_wait().unwrap());
    assert!(status.success());
}

type Accounts = Arc<Mutex<Vec<PeerServices>>>;

/// A peer that takes every account, and remembers it.
async fn taker(accounts: Accounts) -> SocketAddr {
    let put = async |State(accounts): State<Accounts>,
                     Route(node): Route<String>,
                     Json(account): Json<PeerServices>| {
        assert_eq!(node, "host11");
        let ack = PeerAck { boot: account.boot, revision: account.revision };
        accounts.lock().unwrap().push(account);
        Json(ack)
    };
    let router =
        axum::Router::new().route("/v1/peers/{node}/services", axum::routing::put(put)).with_state(accounts);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}

#[test]
fn those_who_are_peers_are_told_what_this_node_serves_and_nobody_else() {
    if !is_root() {
        return;
    }
    Namespace::new().run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::load(&write_secret(dir.path())).unwrap();
        let mut config: Config = toml::from_str(&text(dir.path(), 11, "")).unwrap();
        // Where the accounts come from.
        config.api.listen = "127.0.0.1:7700".parse().unwrap();
        let settings = Settings {
            interface: "lo".to_owned(),
            bridge: "phx0".to_owned(),
            pool: config.network.pool,
            host_addr: config.pool().unwrap().host(),
            peers: Vec::new(),
            vip: None,
        };
        let net = Arc::new(Net::open(settings).await.unwrap());
        let (states, _written) = tokio::sync::watch::channel((0, manager::disk::State::default()));
        let (driver, handle) = driver::new(driver::Parts {
            config: Arc::new(config),
            secret,
            net,
            metrics: Arc::new(Metrics::new().unwrap()),
            boot: 1,
            journal: Journal::new("host11"),
            state: states,
        })
        .unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(driver.run(stop.clone()));
        handle.event(Event::Inventory { running: vec![], desired: Desired::default() }).await;

        let accounts: [Accounts; 2] = Default::default();
        let addrs = [taker(Arc::clone(&accounts[0])).await, taker(Arc::clone(&accounts[1])).await];
        let peer = |index: usize| {
            let SocketAddr::V4(api) = addrs[index] else { unreachable!() };
            let number = 12 + index;
            Peer { node: format!("host{number}"), api, pool: format!("10.77.{number}.0/24").parse().unwrap() }
        };
        let boots = |index: usize| -> Vec<u64> {
            accounts[index].lock().unwrap().iter().map(|account| account.boot).collect()
        };
        let told = async |index: usize, boot: u64| {
            let told = async {
                while !boots(index).contains(&boot) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(EXCHANGE * 4, told).await.expect("an account");
        };
        handle.set_peers(vec![peer(0)]).await;
        told(0, 1).await;
        handle.set_peers(vec![peer(0), peer(1)]).await;
        told(1, 1).await;
        handle.set_peers(vec![peer(1)]).await;
        // News, and then the repetition of it two seconds later: the one who left hears neither.
        handle.outbid(1).await;
        told(1, 2).await;
        let repeated = boots(1).len() + 1;
        let again = async {
            while boots(1).len() < repeated {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(EXCHANGE * 4, again).await.expect("a repetition");
        assert!(!boots(0).contains(&2), "{:?}", boots(0));

        // The same name at another address is told there.
        let moved = Peer { api: peer(0).api, ..peer(1) };
        handle.set_peers(vec![moved]).await;
        told(0, 2).await;
        stop.cancel();
        running.await.unwrap();
    });
}
