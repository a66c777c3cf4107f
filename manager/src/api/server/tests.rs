//! Clients that take connections and say nothing, on real sockets. `127.0.0.1` is a member, its neighbours are not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{HEAD_TIMEOUT, serve};
use crate::api::places::Places;
use crate::push::client;

/// A state that does not come about within this time never will. Nothing is concluded from how long it took.
const NEVER: Duration = Duration::from_secs(60);
const MEMBER: Ipv4Addr = Ipv4Addr::LOCALHOST;

async fn start() -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind((MEMBER, 0)).await.unwrap();
    let (addr, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let router = Router::new().route("/healthz", get(async || "ok\n"));
    tokio::spawn(serve(listener, router, Places::new([IpAddr::V4(MEMBER)], BTreeMap::new()), stop.clone()));
    (addr, stop)
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// What `GET /healthz` is answered with over `socket`.
async fn ask(socket: &mut TcpStream) -> String {
    // Who is refused may find the connection closed.
    let _ = socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    rest(socket).await
}

/// All that comes until the other side closes.
async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = timeout(NEVER, socket.read_to_end(&mut answer)).await.expect("an answer or the end");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn silent_strangers_keep_neither_members_nor_the_next_stranger_waiting() {
    let (addr, _stop) = start().await;
    let mut silent = Vec::new();
    for last in 2..=5 {
        for _ in 0..32 {
            silent.push(connect(Ipv4Addr::new(127, 0, 0, last), addr).await);
        }
    }
    let refused = rest(&mut connect(Ipv4Addr::new(127, 0, 0, 6), addr).await).await;
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    assert!(refused.contains("\"too_many_connections\""), "{refused}");
    assert!(refused.contains("128 already of clients that are no managers"), "{refused}");
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    for _ in 0..100 {
        let answer = ask(&mut connect(MEMBER, addr).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
    }
}

#[tokio::test]
async fn one_address_has_no_more_than_its_part_and_what_it_closes_is_free_again() {
    let (addr, _stop) = start().await;
    let from = Ipv4Addr::new(127, 0, 0, 2);
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(connect(from, addr).await);
    }
    let refused = rest(&mut connect(from, addr).await).await;
    assert!(refused.contains("127.0.0.2 has 32 already, as many as one address may have"), "{refused}");
    let other = ask(&mut connect(Ipv4Addr::new(127, 0, 0, 3), addr).await).await;
    assert!(other.ends_with("ok\n"), "{other}");
    held.pop();
    let served = async {
        while !ask(&mut connect(from, addr).await).await.ends_with("ok\n") {
            tokio::task::yield_now().await;
        }
    };
    timeout(NEVER, served).await.expect("a place is given back");
}

#[tokio::test]
async fn who_says_nothing_does_not_stay() {
    assert!((client::IDLE..=Duration::from_secs(5)).contains(&HEAD_TIMEOUT), "managers must not be cut off");
    let (addr, _stop) = start().await;
    let from = Ipv4Addr::new(127, 0, 0, 2);
    let mut sockets = Vec::new();
    for said in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut socket = connect(from, addr).await;
        socket.write_all(said.as_bytes()).await.unwrap();
        sockets.push((said, socket));
    }
    for (said, mut socket) in sockets {
        let answer = rest(&mut socket).await;
        assert_eq!(answer.ends_with("ok\n"), said.ends_with("\r\n\r\n"), "{said}: {answer}");
    }
}
