//! The drain, in process: what is answered, what is closed, and in which order.

use tokio::net::TcpStream;
use wire::Status;

use crate::support::{Connection, Raw, Reader, Service, soon};

const OPEN_REQUEST: &str = "GET /int?min=3&max=3 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n1";

#[tokio::test]
async fn open_requests_finish_before_streams_end() {
    let mut service = Service::start("drain = { linger_ms = 50, timeout_ms = 60000 }").await;
    let mut reader = Reader::open(service.addr).await;
    let mut open = Raw::open(service.addr).await;
    open.write(OPEN_REQUEST).await;
    service.until("rng_requests_in_flight", "", 1.0).await;
    let mut idle = Connection::open(service.addr).await;
    assert_eq!(idle.ask("GET", "/int", &[]).await.status, 200);
    let mut fresh = Raw::open(service.addr).await;

    service.begin_shutdown();
    idle.closed().await;
    assert_eq!(fresh.rest().await, "");
    soon("closed listener", async { while TcpStream::connect(service.addr).await.is_ok() {} }).await;

    // All that could end has ended. The open request holds the rest, heartbeats included.
    let mut last = Status::Ok;
    for _ in 0..10 {
        last = reader.next().await.expect("the stream goes on").status;
    }
    assert_eq!(last, Status::Draining);
    open.write("2").await;
    let answer = open.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"value\":3"), "{answer}");
    while reader.next().await.is_some() {}
    assert_eq!(service.ended().await.cut, 0);
}

#[tokio::test]
async fn new_requests_are_answered_while_it_lingers() {
    let mut service = Service::start("drain.linger_ms = 600000").await;
    let mut reader = Reader::open(service.addr).await;
    let mut kept = Connection::open(service.addr).await;
    assert_eq!(kept.ask("GET", "/int", &[]).await.header("connection"), "");
    service.begin_shutdown();
    while reader.next().await.expect("an event").status == Status::Ok {}
    let reply = kept.ask("GET", "/int", &[]).await;
    assert_eq!((reply.status, reply.header("connection")), (200, "close"));
    kept.closed().await;
    let reply = service.get("/double").await;
    assert_eq!((reply.status, reply.header("connection")), (200, "close"));
    let reply = service.get("/healthz").await;
    assert_eq!((reply.status, reply.error().error.code.as_str()), (503, "draining"));
    assert_eq!(service.metric("rng_draining", ""), 1.0);
}

#[tokio::test]
async fn what_is_still_open_at_the_timeout_is_cut() {
    let mut service = Service::start("drain = { linger_ms = 0, timeout_ms = 50 }").await;
    let mut open = Raw::open(service.addr).await;
    open.write(OPEN_REQUEST).await;
    service.until("rng_requests_in_flight", "", 1.0).await;
    service.begin_shutdown();
    assert_eq!(open.rest().await, "");
    assert_eq!(service.ended().await.cut, 1);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_does_not_hold_the_end() {
    let mut service = Service::start("drain.linger_ms = 0\nheartbeat.interval_ms = 10").await;
    let mut reader = Raw::open(service.addr).await;
    reader.write("GET /heartbeat HTTP/1.1\r\nhost: a\r\n\r\n").await;
    service.until("rng_heartbeat_readers", "", 1.0).await;
    service.begin_shutdown();
    assert_eq!(service.ended().await.cut, 0);
    let all = reader.rest().await;
    assert!(all.contains("DRAINING") && all.ends_with("0\r\n\r\n"), "the stream ends in order: {all:?}");
}

#[tokio::test]
async fn requests_in_a_row_survive_the_drain() {
    let mut service = Service::start("drain.linger_ms = 300").await;
    let addr = service.addr;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let mut answered = 0_u32;
                // Every connection that is accepted gets its answer, until none is accepted any more.
                while let Ok(probe) = TcpStream::connect(addr).await {
                    drop(probe);
                    let Ok(stream) = TcpStream::connect(addr).await else { break };
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let (mut sender, connection) =
                        hyper::client::conn::http1::handshake(io).await.expect("handshake");
                    tokio::spawn(connection);
                    let request =
                        http::Request::get("/int").header("host", "a").body(String::new()).expect("valid");
                    match sender.send_request(request).await {
                        Ok(answer) => assert_eq!(answer.status(), 200),
                        // Only the last connections, opened while the listener closed, may fail.
                        Err(error) => {
                            let listening = TcpStream::connect(addr).await.is_ok();
                            assert!(!listening, "a request failed while the service listened: {error}");
                            break;
                        }
                    }
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    service.until("rng_draining", "", 0.0).await;
    while service.metric("rng_requests_total", "route=int") < 50.0 {
        tokio::task::yield_now().await;
    }
    service.begin_shutdown();
    for client in clients {
        assert!(soon("end of a client", client).await.expect("no failure") > 0);
    }
    assert_eq!(service.ended().await.cut, 0);
}
