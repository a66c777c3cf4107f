use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use super::support::{Balancer, until};

/// A reader of the heartbeat.
pub(crate) struct Reader(BufReader<TcpStream>);

impl Reader {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET /heartbeat HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        Self(BufReader::new(stream))
    }

    /// The next event; none when the stream ends.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_at_once_and_one_on_each_change() {
    // Only the first event and those of changes can come: the interval is a minute.
    let lb = Balancer::start("", "[heartbeat]\ninterval_ms = 60000\n").await;
    let mut reader = Reader::connect(lb.admin).await;
    let event = reader.next().await.unwrap();
    assert_eq!((&event["status"], &event["generation"]), (&json!("OK"), &json!(0)));
    assert!(event["load"]["cpu_ms"].is_u64());
    for generation in [3, 7] {
        lb.set_json(generation, vec![]).await;
        assert_eq!(reader.next().await.unwrap()["generation"], generation);
    }
    let stopping = tokio::spawn(lb.stop());
    assert_eq!(reader.next().await.unwrap()["status"], "DRAINING");
    stopping.await.unwrap();
    assert_eq!(reader.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_keep_coming() {
    let lb = Balancer::start("", "[heartbeat]\ninterval_ms = 10\n").await;
    let mut reader = Reader::connect(lb.admin).await;
    for _ in 0..20 {
        assert_eq!(reader.next().await.unwrap()["status"], "OK");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_is_dropped_and_delays_nobody() {
    let lb = Balancer::start("", "[heartbeat]\ninterval_ms = 1\n").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    let mut stuck = socket.connect(lb.admin).await.unwrap();
    stuck.write_all(b"GET /heartbeat HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut reader = Reader::connect(lb.admin).await;
    until("dropped", async || {
        assert!(reader.next().await.is_some());
        lb.metric("lb_heartbeat_drops_total").await == Some(1.0)
    })
    .await;
    assert!(reader.next().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_leave_places_for_writers() {
    let lb = Balancer::start("", "[admin]\nmax_connections = 4\n[heartbeat]\ninterval_ms = 10\n").await;
    let mut readers = [Reader::connect(lb.admin).await, Reader::connect(lb.admin).await];
    for reader in &mut readers {
        assert_eq!(reader.next().await.unwrap()["status"], "OK");
    }
    let refused = lb.get("/heartbeat").await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "too_many_readers"));
    lb.set_json(1, vec![]).await;
    drop(readers);
    until("a place is free", async || {
        Reader::connect(lb.admin).await.next().await.is_some_and(|event| event["status"] == "OK")
    })
    .await;
}
