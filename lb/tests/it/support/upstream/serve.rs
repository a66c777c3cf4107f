//! What an upstream does with a connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Counted, Does, Received, Seen, Then};

pub(super) async fn accept(listener: TcpListener, id: String, seen: Arc<Seen>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let number = seen.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let (id, seen) = (id.clone(), Arc::clone(&seen));
        if !matches!(seen.does(), Does::ClosesAtOnce) {
            tokio::spawn(async move {
                let (_open, _) = Counted::new(&seen.open);
                while let Some(()) = serve(&mut stream, &id, number, &seen).await {}
                drop(stream);
            });
        }
    }
}

/// Serves a request. None when the connection is over.
async fn serve(stream: &mut TcpStream, id: &str, number: usize, seen: &Seen) -> Option<()> {
    let head = read_head(stream).await?;
    let does = seen.does();
    if let Does::ContinuesAndCloses | Does::ClosesAfterHead = does {
        seen.got(Received { head, body: Vec::new(), trailers: String::new() });
        if matches!(does, Does::ContinuesAndCloses) {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
        }
        return None;
    }
    let request = read_request(stream, head).await?;
    let length = request.body.len();
    seen.got(request);
    let (_serving, now) = Counted::new(&seen.serving);
    seen.most_at_once.fetch_max(now, Ordering::SeqCst);
    let served = || {
        let body = format!("{id} {number} {length}");
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let answer = match does {
        Does::Serves => served(),
        Does::ServesOnce => {
            stream.write_all(served().as_bytes()).await.ok()?;
            // The next request is read, and that is all.
            let head = read_head(stream).await?;
            let request = read_request(stream, head).await?;
            seen.got(request);
            return None;
        }
        Does::ServesWhen(gate) => {
            wait_for(gate, stream).await?;
            served()
        }
        Does::ServesAfter(time) => {
            tokio::time::sleep(time).await;
            served()
        }
        Does::Begins(says, gate, then) => {
            stream.write_all(says.as_bytes()).await.ok()?;
            wait_for(gate, stream).await?;
            match then {
                Then::Says(rest) => rest.to_owned(),
                Then::Closes => return None,
                Then::Resets => {
                    stream.set_zero_linger().ok()?;
                    return None;
                }
            }
        }
        Does::Pauses(pause) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").await.ok()?;
            tokio::time::sleep(pause).await;
            "after".to_owned()
        }
        Does::Drips => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Drip: ").await.ok()?;
            loop {
                stream.write_all(b"x").await.ok()?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Does::Says(bytes) => bytes.to_owned(),
        Does::SaysAndResets(bytes) => {
            stream.write_all(bytes.as_bytes()).await.ok()?;
            stream.set_zero_linger().ok()?;
            return None;
        }
        Does::Hangs => return end_of(stream).await,
        Does::ClosesAfterRequest
        | Does::ClosesAfterHead
        | Does::ClosesAtOnce
        | Does::ContinuesAndCloses
        | Does::Refuses
        | Does::Ignores => return None,
    };
    stream.write_all(answer.as_bytes()).await.ok()
}

/// Waits until the gate is open. None when the other side, or the gate, is gone before.
async fn wait_for(mut gate: watch::Receiver<bool>, stream: &mut TcpStream) -> Option<()> {
    tokio::select! {
        open = gate.wait_for(|open| *open) => open.ok().map(drop),
        gone = end_of(stream) => gone,
    }
}

/// Waits until the other side closes. Answers none.
async fn end_of(stream: &mut TcpStream) -> Option<()> {
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes).await.ok()? > 0 {}
    None
}

/// The next request's head; none when the connection ends.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// The rest of the request with this head; none when the connection ends.
async fn read_request(stream: &mut TcpStream, head: String) -> Option<Received> {
    let lower = head.to_ascii_lowercase();
    let header = |name: &str| lower.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let (mut body, mut trailers) = (Vec::new(), String::new());
    if header("transfer-encoding").is_some() {
        while let Some(chunk) = read_chunk(stream).await? {
            body.extend(chunk);
        }
        loop {
            let line = read_line(stream).await?;
            if line == "\r\n" {
                break;
            }
            trailers += &line;
        }
    } else if let Some(length) = header("content-length") {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).await.ok()?;
    }
    Some(Received { head, body, trailers })
}

async fn read_line(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(line).unwrap())
}

/// None when the connection ends, an inner none for the last chunk.
async fn read_chunk(stream: &mut TcpStream) -> Option<Option<Vec<u8>>> {
    let size = usize::from_str_radix(read_line(stream).await?.trim(), 16).unwrap();
    if size == 0 {
        return Some(None);
    }
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk).await.ok()?;
    chunk.truncate(size);
    Some(Some(chunk))
}
