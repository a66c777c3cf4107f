//! A connection whose bytes the test writes and reads itself.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// A message as it came, with its body as it was framed on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// All up to and with the empty line.
    pub(crate) head: String,
    /// Decoded.
    pub(crate) body: Vec<u8>,
    /// The trailer section without the empty line.
    pub(crate) trailers: String,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The values of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The value of a field that is there at most once.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() < 2, "{name} in {}", self.head);
        values.first().copied()
    }
}

/// One end of a connection.
pub(crate) struct Wire<S = TcpStream> {
    pub(crate) io: S,
    read: Vec<u8>,
}

impl Wire {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.io.set_zero_linger().unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) const fn new(io: S) -> Self {
        Self { io, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let write = async {
            self.io.write_all(bytes.as_ref()).await?;
            self.io.flush().await
        };
        soon("the bytes taken", write).await
    }

    /// Ends this direction.
    pub(crate) async fn end(&mut self) {
        self.io.shutdown().await.unwrap();
    }

    async fn fill(&mut self) -> io::Result<usize> {
        soon("more bytes", self.io.read_buf(&mut self.read)).await
    }

    /// Reads up to and with this.
    pub(crate) async fn until(&mut self, end: &str) -> io::Result<String> {
        let mut searched = 0;
        loop {
            let found = self.read[searched..].windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let taken = self.read.drain(..searched + at + end.len()).collect();
                return Ok(String::from_utf8(taken).unwrap());
            }
            searched = self.read.len().saturating_sub(end.len());
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await.expect("a head")
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < length {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.read.drain(..length).collect())
    }

    /// Whatever comes next.
    pub(crate) async fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.read.is_empty() {
            self.fill().await?;
        }
        Ok(std::mem::take(&mut self.read))
    }

    /// All up to the end of the connection, which must be an orderly one.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await.expect("an orderly end") > 0 {}
        std::mem::take(&mut self.read)
    }

    /// The connection ends, in an orderly way and without another byte.
    pub(crate) async fn ends(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }

    /// The connection breaks: whatever comes before, there is no orderly end.
    pub(crate) async fn breaks(&mut self) {
        loop {
            match self.fill().await {
                Ok(0) => panic!("an orderly end after {:?}", String::from_utf8_lossy(&self.read)),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// The connection ends, in an orderly way or not.
    pub(crate) async fn is_over(&mut self) {
        self.everything().await;
    }

    /// All up to the end of the connection, whatever the end is.
    pub(crate) async fn everything(&mut self) -> Vec<u8> {
        while self.fill().await.is_ok_and(|n| n > 0) {}
        std::mem::take(&mut self.read)
    }

    /// The next response, with a body as announced.
    pub(crate) async fn answer(&mut self) -> Message {
        self.message(false).await
    }

    /// The next response without a body, whatever is announced.
    pub(crate) async fn bare(&mut self) -> Message {
        self.message(true).await
    }

    /// The next request.
    pub(crate) async fn request(&mut self) -> Message {
        self.message(false).await
    }

    async fn message(&mut self, is_bare: bool) -> Message {
        let head = self.head().await;
        let message = Message { head, body: Vec::new(), trailers: String::new() };
        if is_bare { message } else { self.body_of(message).await }
    }

    /// Reads the body of a message that has only its head so far.
    pub(crate) async fn body_of(&mut self, mut message: Message) -> Message {
        if let Some(coding) = message.value("transfer-encoding") {
            assert_eq!(coding, "chunked");
            loop {
                let line = self.until("\r\n").await.expect("a chunk");
                let size = usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("{line:?}"));
                if size == 0 {
                    break;
                }
                message.body.extend(self.exactly(size).await.expect("a chunk's data"));
                assert_eq!(self.exactly(2).await.unwrap(), b"\r\n");
            }
            loop {
                let line = self.until("\r\n").await.expect("a trailer");
                if line == "\r\n" {
                    break;
                }
                message.trailers += &line;
            }
        } else if let Some(length) = message.value("content-length") {
            message.body = self.exactly(length.parse().unwrap()).await.expect("the body");
        }
        message
    }
}
