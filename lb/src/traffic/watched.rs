//! A listening socket of which the runtime says when a connection waits in it, without taking the connection.
#![allow(unsafe_code, reason = "the runtime watches a descriptor by its number")]

use std::io;
use std::net::{SocketAddr, TcpListener};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::net::TcpStream;

/// A listening socket that is watched.
pub(super) struct Watched(AsyncFd<TcpListener>);

impl Watched {
    /// From now on it is watched by the present runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub(super) fn new(socket: tokio::net::TcpListener) -> io::Result<Self> {
        let socket = socket.into_std()?;
        // SAFETY: a `TcpListener` owns its descriptor, names the same one each time and keeps it open until it is
        // dropped. The `AsyncFd` has it from here on, and nothing here takes it out or exchanges it.
        let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(watched.map_err(|e| e.into_parts().1)?))
    }

    /// Waits until a connection may wait. To be given to [`Watched::accept_noticed`].
    pub(super) async fn ready(&self) -> io::Result<AsyncFdReadyGuard<'_, TcpListener>> {
        self.0.readable().await
    }

    /// Takes a connection that was noticed; none if there is none any more.
    pub(super) fn accept_noticed(
        ready: &mut AsyncFdReadyGuard<'_, TcpListener>,
    ) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        ready.try_io(|socket| accept(socket.get_ref())).map_or(Ok(None), |accepted| accepted.map(Some))
    }

    /// Takes a connection, whether or not the runtime has noticed it.
    ///
    /// # Errors
    /// When none waits, too.
    pub(super) fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        accept(self.0.get_ref())
    }
}

fn accept(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = socket.accept()?;
    stream.set_nonblocking(true)?;
    Ok((TcpStream::from_std(stream)?, peer))
}
