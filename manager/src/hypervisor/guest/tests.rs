use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixListener;
use wire::{Identity, Role, Stages};

use super::*;

struct Guest {
    port: GuestPort,
    stream: UnixStream,
    _dir: tempfile::TempDir,
}

/// A port and the other end of its socket.
async fn guest() -> Guest {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let port = connect(&path).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut hello = [0; HELLO.len()];
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(hello, HELLO);
    Guest { port, stream, _dir: dir }
}

fn assign(config: String) -> ToGuest {
    ToGuest::Assign(Box::new(Identity {
        id: "host1/svc-11".into(),
        role: Role::Service,
        incarnation: 3,
        hostname: "svc-11".into(),
        addr: Ipv4Addr::new(10, 77, 11, 11),
        gateway: Ipv4Addr::new(10, 77, 11, 1),
        gateway_mac: None,
        vip: None,
        config,
        env: BTreeMap::new(),
        unix_ms: 1,
        seed: "00".repeat(32),
    }))
}

#[tokio::test]
async fn lines_go_both_ways() {
    let mut guest = guest().await;
    let mut lines =
        b"\n{\"waiting\":{\"init_ms\":5,\"ready_ms\":9,\"assigned_ms\":0,\"started_ms\":0}}\n".to_vec();
    lines.extend(b"\"draining\"\r\n{\"exited\":{\"status\":\"signal 9\"");
    guest.stream.write_all(&lines).await.unwrap();
    let waiting = FromGuest::Waiting(Stages { init_ms: 5, ready_ms: 9, ..Stages::default() });
    assert_eq!(guest.port.recv().await.unwrap(), Some(waiting));
    assert_eq!(guest.port.recv().await.unwrap(), Some(FromGuest::Draining));
    guest.stream.write_all(b",\"backoff_ms\":100}}\n").await.unwrap();
    let exited = FromGuest::Exited { status: "signal 9".into(), backoff_ms: 100 };
    assert_eq!(guest.port.recv().await.unwrap(), Some(exited));

    let message = assign("listen = \"0.0.0.0:8080\"\n".into());
    guest.port.send(&message).await.unwrap();
    guest.port.send(&ToGuest::Drain { timeout_ms: 5 }).await.unwrap();
    let mut sent = BufReader::new(guest.stream).lines();
    let first = sent.next_line().await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<ToGuest>(&first).unwrap(), message);
    assert_eq!(sent.next_line().await.unwrap().unwrap(), r#"{"drain":{"timeout_ms":5}}"#);

    drop(sent);
    assert_eq!(guest.port.recv().await.unwrap(), None, "QEMU is gone");
}

#[tokio::test]
async fn a_dropped_recv_loses_nothing() {
    let mut guest = guest().await;
    for part in ["\"dra", "ining\"", "\n\"dr"] {
        guest.stream.write_all(part.as_bytes()).await.unwrap();
        // Polled until it has taken what is there, then dropped in the middle of a line.
        for _ in 0..100 {
            tokio::select! {
                biased;
                message = guest.port.recv() => assert_eq!(message.unwrap(), Some(FromGuest::Draining)),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    guest.stream.write_all(b"aining\"\n").await.unwrap();
    assert_eq!(guest.port.recv().await.unwrap(), Some(FromGuest::Draining));
}

#[tokio::test]
async fn nonsense_is_refused_and_the_next_line_is_read() {
    let mut guest = guest().await;
    guest.stream.write_all(b"login:\n{\"hello\":1}\n\xff\xfe\n\"draining\"\n").await.unwrap();
    for part in ["login:", "hello", "\u{fffd}"] {
        let error = guest.port.recv().await.unwrap_err();
        assert!(matches!(&error, Error::Malformed { line, .. } if line.contains(part)), "{error}");
    }
    assert_eq!(guest.port.recv().await.unwrap(), Some(FromGuest::Draining));
}

#[tokio::test]
async fn a_line_has_a_limit_in_both_directions() {
    let mut guest = guest().await;
    let error = guest.port.send(&assign("x".repeat(MAX_LINE))).await.unwrap_err();
    assert!(matches!(error, Error::TooLong));

    let writer = tokio::spawn(async move {
        let result = guest.stream.write_all(&vec![b'x'; MAX_LINE + 1]).await;
        (guest.stream, result)
    });
    assert!(matches!(guest.port.recv().await.unwrap_err(), Error::TooLong));
    assert!(matches!(guest.port.recv().await.unwrap_err(), Error::TooLong), "and it stays so");
    drop(guest.port);
    let _unread = writer.await.unwrap();
}

#[tokio::test]
async fn a_vm_that_does_not_read_is_not_waited_for() {
    let mut guest = guest().await;
    let message = assign("x".repeat(MAX_LINE / 2));
    let error = loop {
        if let Err(error) = guest.port.send_within(&message, Duration::from_millis(20)).await {
            break error;
        }
    };
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_socket_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = connect(&dir.path().join("b.sock")).await.unwrap_err().to_string();
    assert!(error.contains("b.sock"), "{error}");
}
