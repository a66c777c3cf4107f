mod serve;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What an upstream does.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// Answers each request on a connection that stays open, with `<id> <connection> <body length>`.
    Serves,
    /// The same, but each answer waits until the gate is open.
    ServesWhen(watch::Receiver<bool>),
    /// The same, but each answer takes this time.
    ServesAfter(Duration),
    /// Has the port, and listens on it not.
    Refuses,
    /// Listens, but its queue is full: nothing is ever accepted.
    Ignores,
    /// Closes each connection at once.
    ClosesAtOnce,
    /// Reads a request and closes.
    ClosesAfterRequest,
    /// Reads a request's head and closes.
    ClosesAfterHead,
    /// Reads a request and says nothing, until the other side closes.
    Hangs,
    /// Answers these bytes to each request.
    Says(&'static str),
    /// Answers these bytes and resets the connection.
    SaysAndResets(&'static str),
    /// Answers these bytes, waits until the gate is open, and then does this.
    Begins(&'static str, watch::Receiver<bool>, Then),
    /// The same as `Serves`, but the second request on a connection makes it close that connection.
    ServesOnce,
    /// Reads a request's head, says `100 Continue`, and closes.
    ContinuesAndCloses,
    /// Answers the head and half of the body, and the rest after this time.
    Pauses(Duration),
    /// Answers a head byte by byte that never ends.
    Drips,
}

/// How an answer that has begun goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    Says(&'static str),
    Closes,
    Resets,
}

/// An upstream on a port of its own. It stops when dropped.
pub(crate) struct Upstream {
    pub(crate) id: String,
    pub(crate) addr: SocketAddr,
    seen: Arc<Seen>,
    task: Option<JoinHandle<()>>,
    /// What keeps the port as it is.
    _held: Vec<Box<dyn Any + Send + Sync>>,
}

struct Seen {
    does: Mutex<Does>,
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<Received>>,
    serving: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
}

impl Upstream {
    pub(crate) async fn new(name: &str, does: Does) -> Self {
        let seen = Arc::new(Seen {
            does: Mutex::new(does.clone()),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            requests: Mutex::default(),
            serving: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        });
        let id = format!("host1/{name}");
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = socket.local_addr().unwrap();
        let mut held: Vec<Box<dyn Any + Send + Sync>> = Vec::new();
        let mut task = None;
        match does {
            Does::Refuses => held.push(Box::new(socket)),
            Does::Ignores => {
                held.push(Box::new(socket.listen(1).unwrap()));
                // The queue takes one more than it says. Connections beyond it are never answered.
                for _ in 0..2 {
                    held.push(Box::new(TcpStream::connect(addr).await.unwrap()));
                }
            }
            _ => {
                let listener = socket.listen(1024).unwrap();
                task = Some(tokio::spawn(serve::accept(listener, id.clone(), Arc::clone(&seen))));
            }
        }
        Self { id, addr, seen, task, _held: held }
    }

    /// From the next request on it does this. Not for those that refuse or ignore.
    pub(crate) fn now(&self, does: Does) {
        *self.seen.does.lock().unwrap() = does;
    }

    /// As a load balancer is told of it.
    pub(crate) fn json(&self) -> Value {
        json!({"id": self.id, "incarnation": 1, "addr": self.addr})
    }

    /// As a load balancer is told of it, with other values.
    pub(crate) fn with(&self, other: &Value) -> Value {
        let mut all = self.json();
        for (key, value) in other.as_object().unwrap() {
            all[key] = value.clone();
        }
        all
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections now.
    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// The most requests that it had at a time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.seen.most_at_once.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.seen.requests.lock().unwrap().len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Seen {
    fn does(&self) -> Does {
        self.does.lock().unwrap().clone()
    }

    fn got(&self, request: Received) {
        self.requests.lock().unwrap().push(request);
    }
}

/// Counts while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> (Self, usize) {
        let now = counter.fetch_add(1, Ordering::SeqCst) + 1;
        (Self(counter), now)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
