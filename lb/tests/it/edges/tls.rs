//! TLS towards clients.

use lb::Order;
use lb::config::Config;
use tokio_rustls::client::TlsStream;

use super::support::{Backend, Files, H2Client, Wire, connect_tls, head_of, pair, soon};
use crate::support::{Balancer, until};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

type Tls = TlsStream<tokio::net::TcpStream>;

fn certificate(stream: &Tls) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn start(files: &Files, names: &[&str]) -> (Balancer, Backend) {
    let tables: String = names.iter().map(|name| files.table(name)).collect();
    pair(&tables).await
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_1_within_tls() {
    let mut files = Files::new();
    files.make("a", &["a.example"]);
    let (lb, backend) = start(&files, &["a"]).await;
    // With and without asking for it.
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let stream = connect_tls(lb.tls.unwrap(), &files, "a.example", alpn).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), alpn.first().copied());
        let mut client = Wire::new(stream);
        let mut server = None;
        for _ in 0..3 {
            client.send(GET).await;
            let server = match &mut server {
                Some(server) => server,
                None => server.insert(backend.accept().await),
            };
            let asked = server.request().await;
            assert_eq!(asked.value("x-forwarded-proto"), Some("https"));
            server.send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n").await;
            server.send(vec![b'x'; 300_000]).await;
            assert_eq!(client.answer().await.body.len(), 300_000);
        }
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        let server = server.as_mut().unwrap();
        server.request().await;
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        assert_eq!(client.answer().await.text(), "ok");
        // With the goodbye of TLS, without which this would be an error.
        client.ends().await;
    }
    assert_eq!(lb.metric("lb_bad_connections_total").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_by_agreement() {
    let mut files = Files::new();
    files.make("a", &["a.example"]);
    let (lb, backend) = start(&files, &["a"]).await;
    for alpn in [&[&b"h2"[..]][..], &[b"http/1.1", b"h2"]] {
        let stream = connect_tls(lb.tls.unwrap(), &files, "a.example", alpn).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut client = H2Client::new(stream).await;
        let (response, _) = client.start(head_of("GET", "/", &[]), true).await;
        let mut server = backend.accept().await;
        assert_eq!(server.request().await.value("x-forwarded-proto"), Some("https"));
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        assert_eq!(soon("an answer", response).await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_protocol_in_common() {
    let mut files = Files::new();
    files.make("a", &["a.example"]);
    let (lb, _backend) = start(&files, &["a"]).await;
    assert!(connect_tls(lb.tls.unwrap(), &files, "a.example", &[b"spdy/3"]).await.is_err());
    until("counted", async || lb.metric("lb_bad_connections_total").await == Some(1.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_the_one_for_the_name() {
    let mut files = Files::new();
    let a = files.make("a", &["a.example"]);
    let b = files.make("b", &["b.example", "*.b.example"]);
    let (lb, _backend) = start(&files, &["a", "b"]).await;
    for (name, expected) in [("a.example", &a), ("b.example", &b), ("x.b.example", &b)] {
        let stream = connect_tls(lb.tls.unwrap(), &files, name, &[]).await.unwrap();
        assert_eq!(&certificate(&stream), expected, "{name}");
    }
    // An unknown name is shown the first, which the client then refuses.
    let error = connect_tls(lb.tls.unwrap(), &files, "c.example", &[]).await.unwrap_err();
    assert!(error.to_string().contains("a.example"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_without_a_restart() {
    let mut files = Files::new();
    let old = files.make("a", &["a.example"]);
    let (lb, backend) = start(&files, &["a"]).await;
    let stream = connect_tls(lb.tls.unwrap(), &files, "a.example", &[]).await.unwrap();
    assert_eq!(certificate(&stream), old);
    let mut before = Wire::new(stream);
    let new = files.make("a", &["a.example"]);
    let file = files.path("lb.toml");
    std::fs::write(&file, format!("queue_ms = 0\n{}", files.table("a"))).unwrap();
    lb.orders.send(Order::Reload(Box::new(Config::load(&file).unwrap()))).await.unwrap();
    until("the new certificate", async || {
        certificate(&connect_tls(lb.tls.unwrap(), &files, "a.example", &[]).await.unwrap()) == new
    })
    .await;
    // One that cannot be read changes nothing.
    std::fs::write(files.path("a.key"), "no key").unwrap();
    lb.orders.send(Order::Reload(Box::new(Config::load(&file).unwrap()))).await.unwrap();
    lb.orders.send(Order::Reload(Box::new(Config::load(&file).unwrap()))).await.unwrap();
    let stream = connect_tls(lb.tls.unwrap(), &files, "a.example", &[]).await.unwrap();
    assert_eq!(certificate(&stream), new);
    // Connections stay.
    before.send(GET).await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send(OK).await;
    assert_eq!(before.answer().await.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_not_for_this_port() {
    let mut files = Files::new();
    files.make("a", &["a.example"]);
    let (lb, backend) = start(&files, &["a"]).await;
    let mut client = Wire::connect(lb.tls.unwrap()).await;
    client.send(GET).await;
    client.is_over().await;
    until("counted", async || lb.metric("lb_bad_connections_total").await == Some(1.0)).await;
    assert!(!backend.is_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_is_no_orderly_end() {
    let mut files = Files::new();
    files.make("a", &["a.example"]);
    let (lb, backend) = start(&files, &["a"]).await;
    let mut client = Wire::new(connect_tls(lb.tls.unwrap(), &files, "a.example", &[]).await.unwrap());
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.request().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    client.until("half").await.unwrap();
    drop(server);
    client.breaks().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_within_tls() {
    let mut files = Files::new();
    files.make("a", &["a.example"]);
    let (lb, backend) = start(&files, &["a"]).await;
    let mut client =
        Wire::new(connect_tls(lb.tls.unwrap(), &files, "a.example", &[b"http/1.1"]).await.unwrap());
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly").await;
    let mut server = backend.accept().await;
    server.request().await;
    server
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(client.bare().await.status(), 101);
    assert_eq!(server.exactly(5).await.unwrap(), b"early");
    server.send("late").await;
    server.end().await;
    assert_eq!(client.rest().await, b"late");
}
