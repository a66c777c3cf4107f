//! Probes, at sockets that answer as they please.

use std::net::SocketAddr;
use std::time::Duration;

use manager_core::vip::Timing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::is_there;
use crate::identity::{Purpose, Secret};
use crate::vip::Peer;

/// A way to the manager at `addr`.
fn peer(addr: SocketAddr) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let token = Secret::load(&path).unwrap().token(Purpose::Peer);
    let SocketAddr::V4(addr) = addr else { unreachable!() };
    Peer::new(addr, &token, &Timing::default())
}

/// Probes a server that says `answer` and then nothing; what it was asked, and what the probe concludes.
async fn probe(answer: &'static str) -> (String, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // The time a probe may take is not what is tested.
    let mut peer = peer(listener.local_addr().unwrap());
    peer.probe.set_limit(Duration::from_secs(60));
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(socket.read_u8().await.unwrap());
        }
        socket.write_all(answer.as_bytes()).await.unwrap();
        (String::from_utf8(asked).unwrap(), (!answer.is_empty()).then_some(socket))
    });
    let there = is_there(&peer.probe, "host2").await;
    (server.await.unwrap().0, there)
}

#[tokio::test]
async fn any_answer_shows_that_somebody_is_there_and_none_shows_more() {
    // The report of an owner that nobody can outbid, which an impostor would like to be believed.
    let owner = "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n\
        {\"state\":\"active\",\"ballot\":{\"epoch\":9007199254740991,\"node\":\"host2\"}";
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n", true),
        (owner, true),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\n", true),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", false),
        ("", false),
    ] {
        let (asked, there) = probe(answer).await;
        assert_eq!(there, expected, "{answer}");
        assert!(asked.starts_with("GET /healthz HTTP/1.1\r\n"), "{asked}");
        // Whoever answers in a peer's place must not get what opens that peer.
        assert!(!asked.to_ascii_lowercase().contains("authorization"), "{asked}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    assert!(!is_there(&peer(addr).probe, "host2").await);
}

#[tokio::test]
async fn who_takes_the_connection_and_says_nothing_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert!(!is_there(&peer(listener.local_addr().unwrap()).probe, "host2").await);
}
