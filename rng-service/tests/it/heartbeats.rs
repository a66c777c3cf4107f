//! The stream of heartbeats: its events, its readers, its limits.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use wire::Status;

use crate::support::{Raw, Reader, Service};

#[tokio::test]
async fn the_first_event_comes_at_once() {
    // With a minute between events, only the immediate one can arrive within the test's patience.
    let service = Service::start("heartbeat.interval_ms = 60000").await;
    let mut reader = Reader::open(service.addr).await;
    let event = reader.next().await.expect("an event");
    assert_eq!(event.status, Status::Ok);
    assert_eq!(event.load.expect("figures").requests_total, 0);
}

#[tokio::test]
async fn events_go_on_and_carry_the_load() {
    let service = Service::start("heartbeat.interval_ms = 10").await;
    let mut reader = Reader::open(service.addr).await;
    for _ in 0..3 {
        assert_eq!(service.get("/int").await.status, 200);
    }
    let mut open = Raw::open(service.addr).await;
    open.write("GET /int HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n1").await;
    // The stream itself is not in flight; the request whose body is not complete is.
    loop {
        let load = reader.next().await.expect("an event").load.expect("figures");
        if load.in_flight == 1 && load.requests_total == 3 {
            break;
        }
        assert!(load.in_flight <= 1, "{load:?}");
    }
    open.write("2").await;
    assert!(open.rest().await.starts_with("HTTP/1.1 200 "));
    loop {
        let load = reader.next().await.expect("an event").load.expect("figures");
        if load.in_flight == 0 && load.requests_total == 4 {
            break;
        }
    }
}

#[tokio::test]
async fn a_slow_reader_delays_nobody_and_is_dropped() {
    let service = Service::start(
        "heartbeat.interval_ms = 10\nlimits.write_timeout_ms = 300\nlimits.send_buffer_bytes = 4096",
    )
    .await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(1).expect("the smallest buffer");
    let mut slow = socket.connect(service.addr).await.expect("connected");
    slow.write_all(b"GET /heartbeat HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    service.until("rng_heartbeat_readers", "", 1.0).await;

    let mut reader = Reader::open(service.addr).await;
    assert_eq!(service.metric("rng_heartbeat_readers", ""), 2.0);
    // The other reader gets event after event all the while until the slow one is cut.
    let mut events = 0;
    while service.metric("rng_connections_cut_total", "reason=stalled") < 1.0 {
        assert!(reader.next().await.is_some());
        events += 1;
    }
    assert!(events >= 5, "the slow reader was cut after {events} events of the other");
    service.until("rng_heartbeat_readers", "", 1.0).await;
    assert!(reader.next().await.is_some());
}

#[tokio::test]
async fn a_reader_that_leaves_makes_room() {
    let service = Service::start("heartbeat = { interval_ms = 10, max_readers = 2 }").await;
    let mut first = Reader::open(service.addr).await;
    let second = Reader::open(service.addr).await;
    let reply = service.get("/heartbeat").await;
    assert_eq!((reply.status, reply.error().error.code.as_str()), (503, "too_many_readers"));
    drop(second);
    service.until("rng_heartbeat_readers", "", 1.0).await;
    let mut third = Reader::open(service.addr).await;
    assert!(third.next().await.is_some());
    assert!(first.next().await.is_some());
    assert_eq!(service.get("/int").await.status, 200);
}

#[tokio::test]
async fn draining_is_said_at_once() {
    let mut service = Service::start("heartbeat.interval_ms = 60000\ndrain.linger_ms = 600000").await;
    let mut reader = Reader::open(service.addr).await;
    assert_eq!(reader.next().await.expect("an event").status, Status::Ok);
    service.begin_shutdown();
    assert_eq!(reader.next().await.expect("an event").status, Status::Draining);
    // A reader that comes later learns it from its first event.
    let mut late = Reader::open(service.addr).await;
    assert_eq!(late.next().await.expect("an event").status, Status::Draining);
    assert!(tokio::time::timeout(Duration::from_millis(1), late.next()).await.is_err());
}
