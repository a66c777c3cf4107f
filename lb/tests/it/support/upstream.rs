use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What an upstream does.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// Answers each request on a connection that stays open, with `<id> <connection> <body length>`.
    Serves,
    /// The same, but each answer waits until the gate is open.
    ServesWhen(watch::Receiver<bool>),
    /// Has the port, and listens on it not.
    Refuses,
    /// Listens, but its queue is full: nothing is ever accepted.
    Ignores,
    /// Closes each connection at once.
    ClosesAtOnce,
    /// Reads a request and closes.
    ClosesAfterRequest,
    /// Reads a request and says nothing.
    Hangs,
    /// Answers these bytes to each request.
    Says(&'static str),
    /// Answers these bytes and resets the connection.
    SaysAndResets(&'static str),
    /// The same as `Serves`, but the second request on a connection makes it close that connection.
    ServesOnce,
    /// Reads a request's head, says `100 Continue`, and closes.
    ContinuesAndCloses,
    /// Answers the head and half of the body, and the rest after this time.
    Pauses(Duration),
    /// Answers a head byte by byte that never ends.
    Drips,
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

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Received>>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Upstream {
    pub(crate) async fn new(name: &str, does: Does) -> Self {
        let seen = Arc::new(Seen::default());
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
            does => {
                let listener = socket.listen(128).unwrap();
                task = Some(tokio::spawn(accept(listener, id.clone(), does, Arc::clone(&seen))));
            }
        }
        Self { id, addr, seen, task, _held: held }
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

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, id: String, does: Does, seen: Arc<Seen>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let number = seen.connections.fetch_add(1, Ordering::SeqCst) + 1;
        if !matches!(does, Does::ClosesAtOnce) {
            tokio::spawn(serve(stream, id.clone(), number, does.clone(), Arc::clone(&seen)));
        }
    }
}

async fn serve(mut stream: TcpStream, id: String, number: usize, does: Does, seen: Arc<Seen>) {
    if matches!(does, Does::ContinuesAndCloses) {
        if let Some(head) = read_head(&mut stream).await {
            seen.requests.lock().unwrap().push(Received { head, body: Vec::new() });
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        }
        return;
    }
    let mut answered = 0;
    while let Some(request) = read_request(&mut stream).await {
        let length = request.body.len();
        seen.requests.lock().unwrap().push(request);
        let served = || {
            let body = format!("{id} {number} {length}");
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let answer = match &does {
            Does::ServesOnce if answered > 0 => return,
            Does::Serves | Does::ServesOnce => served(),
            Does::Pauses(pause) => {
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").await.is_err() {
                    return;
                }
                tokio::time::sleep(*pause).await;
                "after".to_owned()
            }
            Does::Drips => {
                if stream.write_all(b"HTTP/1.1 200 OK\r\nX-Drip: ").await.is_err() {
                    return;
                }
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return;
            }
            Does::ServesWhen(gate) => {
                if gate.clone().wait_for(|open| *open).await.is_err() {
                    return;
                }
                served()
            }
            Does::Says(bytes) => (*bytes).to_owned(),
            Does::SaysAndResets(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap();
                stream.set_zero_linger().unwrap();
                return;
            }
            Does::Hangs => std::future::pending().await,
            Does::ClosesAfterRequest
            | Does::ClosesAtOnce
            | Does::ContinuesAndCloses
            | Does::Refuses
            | Does::Ignores => return,
        };
        answered += 1;
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request's head; none when the connection ends.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// The next request; none when the connection ends.
async fn read_request(stream: &mut TcpStream) -> Option<Received> {
    let head = read_head(stream).await?;
    let lower = head.to_ascii_lowercase();
    let header = |name: &str| lower.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let mut body = Vec::new();
    if header("transfer-encoding").is_some() {
        while let Some(chunk) = read_chunk(stream).await? {
            body.extend(chunk);
        }
    } else if let Some(length) = header("content-length") {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).await.ok()?;
    }
    Some(Received { head, body })
}

/// None when the connection ends, an inner none for the last chunk.
async fn read_chunk(stream: &mut TcpStream) -> Option<Option<Vec<u8>>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.ok()?);
    }
    let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk).await.ok()?;
    chunk.truncate(size);
    Some((size > 0).then_some(chunk))
}
