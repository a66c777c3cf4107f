//! Bodies in every framing, both ways, byte for byte.

use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use super::support::{Backend, Wire, balancer, pair};

/// Bytes that repeat after a prime number only, so that no piece can be taken for another.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

async fn get(lb: SocketAddr, version: &str) -> Wire {
    let mut client = Wire::connect(lb).await;
    client.send(format!("GET / HTTP/{version}\r\nHost: x\r\n\r\n")).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_gets_the_length_and_no_body() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = backend.accept().await;
    for fields in ["Content-Length: 1234\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        assert!(server.request().await.head.starts_with("HEAD / "));
        server.send(format!("HTTP/1.1 200 OK\r\n{fields}X: y\r\n\r\n")).await;
        let answer = client.bare().await;
        assert_eq!(answer.value("x"), Some("y"));
        let length = fields.starts_with("Content").then_some("1234");
        assert_eq!((answer.value("content-length"), answer.value("connection")), (length, None));
        // Would a body be awaited or sent, this answer would not be the next one.
        client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    }
    assert!(server.request().await.head.starts_with("HEAD / "));
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_without_a_body_have_none() {
    let (lb, backend) = pair("").await;
    let mut client = get(lb.traffic, "1.1").await;
    let mut server = backend.accept().await;
    for (head, length) in [
        ("204 No Content\r\n", None),
        ("204 No Content\r\nContent-Length: 0\r\n", None),
        ("304 Not Modified\r\nETag: \"x\"\r\n", None),
        ("304 Not Modified\r\nContent-Length: 99\r\n", Some("99")),
        ("205 Reset Content\r\nContent-Length: 0\r\n", Some("0")),
    ] {
        server.request().await;
        server.send(format!("HTTP/1.1 {head}\r\n")).await;
        let answer = client.bare().await;
        assert_eq!(answer.status().to_string(), head[..3]);
        assert_eq!(
            (answer.value("content-length"), answer.value("transfer-encoding")),
            (length, None),
            "{head:?}"
        );
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    }
    server.request().await;
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_and_trailers_pass_both_ways() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTrailer: A\r\nTransfer-Encoding: chunked\r\n\r\n\
             5;ext=\"1\";b\r\nhello\r\n0001\r\n \r\n5\r\nworld\r\n0;last\r\nA: 1\r\nX-Forwarded-For: 9.9.9.9\r\nB: 2\r\n\r\n",
        )
        .await;
    let mut server = backend.accept().await;
    let asked = server.request().await;
    assert_eq!(asked.text(), "hello world");
    assert_eq!(asked.trailers, "A: 1\r\nB: 2\r\n");
    assert_eq!((asked.value("te"), asked.value("trailer")), (Some("trailers"), Some("A")));
    server
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nTrailer: C\r\n\r\n3;x=y\r\nabc\r\n0\r\nC: 3\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.text(), answer.trailers.as_str(), answer.value("trailer")),
        ("abc", "C: 3\r\n", Some("C"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_with_the_upstreams_connection_ends_for_every_client() {
    let (lb, backend) = pair("").await;
    for (version, chunked) in [("1.1", Some("chunked")), ("1.0", None)] {
        let mut client = get(lb.traffic, version).await;
        let mut server = backend.accept().await;
        server.request().await;
        server.send("HTTP/1.1 200 OK\r\nX: y\r\n\r\nfirst ").await;
        if version == "1.0" {
            client.until("first ").await.unwrap();
        }
        server.send("second").await;
        server.end().await;
        if version == "1.0" {
            assert_eq!(client.rest().await, b"second");
        } else {
            let answer = client.answer().await;
            assert_eq!((answer.text(), answer.value("transfer-encoding")), ("first second", chunked));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_gets_chunks_as_plain_bytes() {
    let (lb, backend) = pair("").await;
    let mut client = Wire::connect(lb.traffic).await;
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.request().await;
    server
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n")
        .await;
    let head = client.head().await.to_lowercase();
    assert!(!head.contains("transfer-encoding") && !head.contains("keep-alive"), "{head}");
    assert_eq!(client.rest().await, b"abcde");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_clients_broken_body_is_a_reset() {
    let (lb, backend) = pair("").await;
    let mut client = get(lb.traffic, "1.0").await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    client.until("abc").await.unwrap();
    drop(server);
    client.breaks().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_megabytes_down() {
    let (lb, backend) = pair("").await;
    let body = pattern(50_000_000);
    for chunked in [false, true] {
        let mut client = get(lb.traffic, "1.1").await;
        let mut server = backend.accept().await;
        server.request().await;
        let copy = body.clone();
        let sent = tokio::spawn(async move {
            if chunked {
                server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                for piece in copy.chunks(70_001) {
                    server.send(format!("{:x}\r\n", piece.len())).await;
                    server.send(piece).await;
                    server.send("\r\n").await;
                }
                server.send("0\r\n\r\n").await;
            } else {
                server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", copy.len())).await;
                server.send(copy).await;
            }
        });
        let answer = client.answer().await;
        assert!(answer.body == body, "{} of {} bytes", answer.body.len(), body.len());
        sent.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_up() {
    let (lb, backend) = pair("[limits]\nbody_bytes = 20000000\n").await;
    let body = pattern(10_000_000);
    for chunked in [false, true] {
        let mut client = Wire::connect(lb.traffic).await;
        let copy = body.clone();
        let sent = tokio::spawn(async move {
            if chunked {
                client.send("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                for piece in copy.chunks(9_973) {
                    client.send(format!("{:x}\r\n", piece.len())).await;
                    client.send(piece).await;
                    client.send("\r\n").await;
                }
                client.send("0\r\n\r\n").await;
            } else {
                client
                    .send(format!("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", copy.len()))
                    .await;
                client.send(copy).await;
            }
            client.answer().await
        });
        let mut server = backend.accept().await;
        let asked = server.request().await;
        assert!(asked.body == body, "{} of {} bytes", asked.body.len(), body.len());
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        assert_eq!(sent.await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_its_upstream_down() {
    const LENGTH: usize = 256 * 1024 * 1024;
    // Small buffers of the kernel, so that what is taken beyond them is the load balancer's.
    let backend = Backend::with("a", |socket| socket.set_send_buffer_size(65_536).unwrap());
    let lb = balancer("").await;
    lb.set_json(1, vec![backend.json()]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(65_536).unwrap();
    let stream: TcpStream = socket.connect(lb.traffic).await.unwrap();
    let mut client = Wire::new(stream);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
    let piece = pattern(251 * 256);
    let mut sent = 0;
    // Until the upstream could send nothing for a while.
    loop {
        let part = &piece[sent % piece.len()..];
        let room = tokio::time::timeout(std::time::Duration::from_secs(1), server.io.writable()).await;
        if room.is_err() {
            break;
        }
        match server.io.try_write(&part[..part.len().min(LENGTH - sent)]) {
            Ok(n) => sent += n,
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock),
        }
        assert!(sent < 32 * 1024 * 1024, "the response is read without bound");
    }
    let rest = tokio::spawn(async move {
        while sent < LENGTH {
            let part = &piece[sent % piece.len()..];
            let part = &part[..part.len().min(LENGTH - sent)];
            server.send(part).await;
            sent += part.len();
        }
    });
    client.head().await;
    let mut received = 0;
    while received < LENGTH {
        for byte in client.some().await.unwrap() {
            assert_eq!(usize::from(byte), received % 251, "at {received}");
            received += 1;
        }
    }
    rest.await.unwrap();
}
