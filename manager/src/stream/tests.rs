use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wire::{Heartbeat, Status};

use super::{Error, Events, Stream};

const LIMIT: Duration = Duration::from_secs(10);

fn parse(chunks: &[&[u8]]) -> Result<Vec<Status>, String> {
    let mut events = Events::default();
    let mut seen = Vec::new();
    for chunk in chunks {
        events.push(chunk).map_err(|error| error.to_string())?;
        while let Some(event) = events.next::<Heartbeat>().map_err(|error| error.to_string())? {
            seen.push(event.status);
        }
    }
    Ok(seen)
}

#[test]
fn events_are_found_however_they_are_cut() {
    let stream =
        b": hello\n\ndata: {\"status\":\"OK\"}\n\ndata:{\"status\":\"DRAINING\",\"load\":null}\r\n\r\n";
    for size in 1..stream.len() {
        let chunks: Vec<_> = stream.chunks(size).collect();
        assert_eq!(parse(&chunks).unwrap(), [Status::Ok, Status::Draining], "chunks of {size}");
    }
}

#[test]
fn what_is_no_heartbeat_is_an_error() {
    for bad in [&b"data: {}\n\n"[..], b"data: x\n\n", b"data: {\"status\":\"FINE\"}\n\n", &vec![b'x'; 20_000]]
    {
        assert!(parse(&[bad]).is_err(), "{bad:?}");
    }
}

/// Serves one connection with `answer`, then holds it open if asked to.
async fn server(answer: &'static str, hold: bool) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = socket.read(&mut request).await.unwrap();
        socket.write_all(answer.as_bytes()).await.unwrap();
        if hold {
            let _ = socket.read(&mut request).await;
        }
    });
    addr
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

#[tokio::test]
async fn each_event_is_reported_and_then_the_end() {
    let addr = server(
        "HTTP/1.1 200 OK\r\n\r\ndata: {\"status\":\"OK\"}\n\ndata: {\"status\":\"DRAINING\",\"generation\":7}\n\n",
        false,
    )
    .await;
    let mut stream = Stream::<Heartbeat>::open(addr, "/heartbeat", LIMIT).await.unwrap();
    for expected in [(Status::Ok, None), (Status::Draining, Some(7))] {
        let event = stream.next().await.unwrap();
        assert_eq!((event.status, event.generation), expected);
    }
    let end = stream.next().await.unwrap_err();
    assert!(matches!(end, Error::Closed | Error::Http(_)), "{end}");
}

#[tokio::test]
async fn what_is_no_stream_is_said_to_be_none() {
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    assert!(matches!(Stream::<Heartbeat>::open(refused, "/heartbeat", LIMIT).await, Err(Error::Io(_))));
    let addr = server("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", true).await;
    assert!(
        matches!(Stream::<Heartbeat>::open(addr, "/heartbeat", LIMIT).await, Err(Error::Status(status)) if status == 503)
    );
    let addr = server("SSH-2.0-OpenSSH_9.2\r\n", true).await;
    assert!(matches!(Stream::<Heartbeat>::open(addr, "/heartbeat", LIMIT).await, Err(Error::Http(_))));
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let opened = tokio::spawn(Stream::<Heartbeat>::open(addr, "/heartbeat", LIMIT));
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 1024];
    assert!(socket.read(&mut buffer).await.unwrap() > 0);
    socket.write_all(HEAD.as_bytes()).await.unwrap();
    drop(opened.await.unwrap().unwrap());
    let closed = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut buffer)).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let end =
        Stream::<Heartbeat>::open(listener.local_addr().unwrap(), "/heartbeat", Duration::from_millis(20))
            .await;
    assert!(matches!(end, Err(Error::AnswerTimeout(_))));
}
