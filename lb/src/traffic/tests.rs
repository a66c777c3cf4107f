//! The end of the listener.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Listener, Traffic};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::proxy::Proxy;

fn traffic(connections: usize) -> Traffic {
    let text = format!(
        "listen = \"127.0.0.1:0\"\nqueue_ms = 0\n[limits]\nconnections = {connections}\nheader_timeout_ms = 60000\n"
    );
    let config: Config = toml::from_str(&text).unwrap();
    let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
    let pool = Pool::new(crate::control::settings(&config), 1, Arc::clone(&metrics));
    let proxy = Arc::new(Proxy::new(config.clone(), pool, Arc::clone(&metrics), None));
    Traffic::new(&config, proxy, metrics)
}

/// The answer on a connection that only waited in the kernel's queue when the listener was told to end.
async fn answers(connections: usize, clients: usize) -> Vec<String> {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    let mut streams = Vec::new();
    for _ in 0..clients {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        streams.push(stream);
    }
    let traffic = traffic(connections);
    traffic.stop_accepting();
    traffic.clone().accept(Listener { socket, tls: None }, 0).await;
    assert!(TcpStream::connect(addr).await.is_err(), "the listener is closed");
    let mut answers = Vec::new();
    for mut stream in streams {
        let mut text = String::new();
        // A reset is the answer of those without a place.
        let _ = stream.read_to_string(&mut text).await;
        answers.push(text);
    }
    answers
}

#[tokio::test]
async fn what_waits_already_is_served() {
    for answer in answers(10, 5).await {
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("no_upstream"), "{answer:?}");
    }
}

#[tokio::test]
async fn but_not_beyond_the_limit() {
    let answers = answers(2, 5).await;
    assert_eq!(answers.iter().filter(|answer| answer.contains("no_upstream")).count(), 2, "{answers:?}");
}

#[tokio::test]
async fn a_quiet_listener_holds_no_place() {
    let traffic = traffic(1);
    let mut addrs = Vec::new();
    let mut loops = tokio::task::JoinSet::new();
    for thread in 0..4 {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addrs.push(socket.local_addr().unwrap());
        loops.spawn(traffic.clone().accept(Listener { socket, tls: None }, thread));
    }
    // Not in the order in which those who wait would get the place in turn.
    for _ in 0..2 {
        for addr in addrs.iter().rev() {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut text = String::new();
            let read = stream.read_to_string(&mut text);
            tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer").unwrap();
            assert!(text.contains("no_upstream"), "{text:?}");
        }
    }
}
