use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The code of an error answer.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    /// The field an error answer blames.
    pub(crate) fn path(&self) -> String {
        self.json()["error"]["path"].as_str().unwrap_or_default().to_owned()
    }
}

/// One request on a connection of its own.
pub(crate) async fn http(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: Vec<u8>,
) -> Result<Answer, Error> {
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("Host", "test.example");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    driver.abort();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// One request to the traffic port.
pub(crate) async fn send(addr: SocketAddr, method: &str, body: Vec<u8>) -> Answer {
    http(addr, method, "/", &[], body).await.unwrap()
}

/// Requests that are under way.
pub(crate) struct Burst(Vec<JoinHandle<Answer>>);

/// So many requests at once, each on a connection of its own.
pub(crate) fn burst(n: usize, addr: SocketAddr, method: &'static str, body: &'static [u8]) -> Burst {
    let one = || tokio::spawn(async move { send(addr, method, body.to_vec()).await });
    Burst((0..n).map(|_| one()).collect())
}

impl Burst {
    /// The answers to all. That there are none for long is a failure.
    pub(crate) async fn answers(self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for request in self.0 {
            let answer = tokio::time::timeout(Duration::from_secs(20), request).await;
            answers.push(answer.expect("no answer").unwrap());
        }
        answers
    }

    /// The statuses of all.
    pub(crate) async fn statuses(self) -> Vec<u16> {
        self.answers().await.iter().map(|answer| answer.status).collect()
    }
}

/// A connection whose bytes the test writes itself.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.unwrap())
    }

    /// From this address of the loopback network.
    pub(crate) async fn connect_from(ip: [u8; 4], addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((ip, 0))).unwrap();
        Self(socket.connect(addr).await.unwrap())
    }

    /// Leaves for good. An orderly end alone could be that of one direction.
    pub(crate) fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// All up to this text.
    pub(crate) async fn until(&mut self, end: &str) -> io::Result<String> {
        let mut all = Vec::new();
        while !all.ends_with(end.as_bytes()) {
            all.push(self.0.read_u8().await?);
        }
        Ok(String::from_utf8(all).unwrap())
    }

    /// The next response, whose length its head announces.
    pub(crate) async fn answer(&mut self) -> io::Result<(String, String)> {
        let head = self.until("\r\n\r\n").await?;
        let length = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((head, String::from_utf8(body).unwrap()))
    }

    /// All there is until the connection ends, and whether it ended in an orderly way.
    pub(crate) async fn rest(&mut self) -> (String, bool) {
        let mut all = Vec::new();
        let orderly = self.0.read_to_end(&mut all).await.is_ok();
        (String::from_utf8(all).unwrap(), orderly)
    }
}
