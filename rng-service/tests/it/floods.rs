//! What others do, the manager gets its heartbeats; and its places are not theirs.

use crate::support::{Connection, Raw, Reader, Service};

const MANAGED: &str = "manager_addr = \"127.0.0.1\"\nheartbeat = { interval_ms = 10, max_readers = 2 }\n\
                       limits = { max_connections = 4, manager_connections = 3, manager_readers = 2 }";

#[tokio::test]
async fn a_flood_of_connections_leaves_the_manager_its_own() {
    let service = Service::start(MANAGED).await;
    let mut flood = Vec::new();
    for _ in 0..4 {
        flood.push(Raw::open_from_elsewhere(service.addr).await);
    }
    service.until("rng_connections", "", 4.0).await;
    let answer = Raw::open_from_elsewhere(service.addr).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("limits.max_connections"), "{answer}");

    let mut heartbeats = Reader::open(service.addr).await;
    for _ in 0..3 {
        assert!(heartbeats.next().await.is_some());
    }
    assert_eq!(service.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn a_flood_of_readers_leaves_the_manager_its_own() {
    let service = Service::start(MANAGED).await;
    let first = Reader::open_from_elsewhere(service.addr).await;
    let second = Reader::open_from_elsewhere(service.addr).await;
    let mut third = Connection::open_from_elsewhere(service.addr).await;
    let reply = third.ask("GET", "/heartbeat", &[]).await;
    assert_eq!((reply.status, reply.error().error.path.as_deref()), (503, Some("heartbeat.max_readers")));

    let mut heartbeats = Reader::open(service.addr).await;
    for _ in 0..3 {
        assert!(heartbeats.next().await.is_some());
    }
    drop((first, second));
}

#[tokio::test]
async fn the_managers_places_have_limits_too() {
    let service = Service::start(MANAGED).await;
    let _readers = [Reader::open(service.addr).await, Reader::open(service.addr).await];
    let mut third = Connection::open(service.addr).await;
    let reply = third.ask("GET", "/heartbeat", &[]).await;
    assert_eq!((reply.status, reply.error().error.path.as_deref()), (503, Some("limits.manager_readers")));
    let answer = Raw::open(service.addr).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("limits.manager_connections"), "{answer}");
    // None of that concerns others.
    let mut other = Reader::open_from_elsewhere(service.addr).await;
    assert!(other.next().await.is_some());
}
