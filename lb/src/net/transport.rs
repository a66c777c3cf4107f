//! A connection's bytes: TCP, or TLS over it, with what was read too early put back in front.
//!
//! pingora takes any stream that has its traits, so HTTP/2 runs over this one too.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::unsent::unsent;

/// A connection.
#[derive(Debug)]
pub(crate) struct Transport {
    kind: Kind,
    /// Read before, and to be read again.
    prefix: Vec<u8>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// A connection without TLS.
    pub(crate) const fn tcp(stream: TcpStream) -> Self {
        Self { kind: Kind::Tcp(stream), prefix: Vec::new() }
    }

    /// A connection with TLS.
    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { kind: Kind::Tls(Box::new(stream)), prefix: Vec::new() }
    }

    /// Bytes that were written and that the peer's kernel has not taken yet, if that can be told.
    pub(crate) fn unsent(&self) -> Option<u64> {
        unsent(self.socket().as_fd())
    }

    /// Puts bytes back that were read.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        self.prefix.splice(..0, bytes.iter().copied());
    }

    fn socket(&self) -> &TcpStream {
        match &self.kind {
            Kind::Tcp(stream) => stream,
            Kind::Tls(stream) => stream.get_ref().0,
        }
    }

    /// When it is dropped, the peer gets a reset instead of an orderly end, so that it cannot take what it got
    /// for all there is.
    pub(crate) fn reset_on_drop(&self) {
        // On a connection that is gone already there is nobody to tell.
        let _ = self.socket().set_zero_linger();
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().kind {
            Kind::Tcp($stream) => $call,
            Kind::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let n = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..n]);
            self.prefix.drain(..n);
            return Poll::Ready(Ok(()));
        }
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Tcp(stream) => stream.is_write_vectored(),
            Kind::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

/// For pingora, which closes its streams through this.
#[async_trait]
impl Shutdown for Transport {
    async fn shutdown(&mut self) {
        // TLS says goodbye, and a peer that does not take it must not keep us.
        let goodbye = AsyncWriteExt::shutdown(self);
        if !matches!(tokio::time::timeout(Duration::from_secs(1), goodbye).await, Ok(Ok(()))) {
            tracing::debug!("peer gone before the end");
        }
    }
}

impl UniqueID for Transport {
    fn id(&self) -> UniqueIDType {
        self.socket().as_raw_fd()
    }
}

impl Ssl for Transport {}

impl Peek for Transport {}

impl GetTimingDigest for Transport {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Transport {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Transport {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
