//! The listening sockets: opened here, or taken over from a predecessor.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tokio_rustls::TlsAcceptor;

use crate::config::Config;
use crate::tls::Certificates;
use crate::upgrade::{Inherited, Left, left};
use crate::{Addresses, Error};

/// Connections that may wait to be taken.
const TRAFFIC_BACKLOG: i32 = 4096;
const ADMIN_BACKLOG: i32 = 128;

/// What the kernel holds for a reader of the admin API. Small, so that a reader of the heartbeat that does not
/// read is noticed after some dozens of events and not after many thousands.
const ADMIN_SEND_BUFFER_BYTES: usize = 32 * 1024;

/// The keys of the configuration that ask for listeners. A successor finds its sockets by them.
const PLAIN: &str = "listen";
const TLS: &str = "tls.listen";
const ADMIN: &str = "admin.listen";

/// A listening socket. Clones are the same one; it listens until all are dropped.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    key: &'static str,
    /// As configured.
    asked: SocketAddr,
    socket: Arc<TcpListener>,
}

impl Listening {
    /// Takes the socket that was left for this purpose, or opens one. It does not block.
    fn open(
        inherited: &mut Inherited,
        key: &'static str,
        asked: SocketAddr,
        backlog: i32,
        send_buffer_bytes: Option<usize>,
    ) -> Result<Self, Error> {
        let socket = match inherited.take(key, asked) {
            Some(socket) => Ok(socket),
            None => open(asked, backlog, send_buffer_bytes),
        };
        let socket = socket.map_err(|source| Error::Listen { addr: asked, field: key, source })?;
        Ok(Self { key, asked, socket: Arc::new(socket) })
    }

    /// Where it listens.
    fn addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap_or(self.asked)
    }

    /// As it is left to a successor.
    pub(crate) fn left(&self) -> Left<'_> {
        left(self.key, self.asked, &*self.socket)
    }

    /// For the runtime of this thread.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn to_tokio(&self) -> Result<tokio::net::TcpListener, Error> {
        let socket = self.socket.try_clone().and_then(tokio::net::TcpListener::from_std);
        socket.map_err(|source| Error::Listen { addr: self.asked, field: self.key, source })
    }
}

fn open(addr: SocketAddr, backlog: i32, send_buffer_bytes: Option<usize>) -> io::Result<TcpListener> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if let Some(bytes) = send_buffer_bytes {
        sockopt::set_socket_send_buffer_size(&socket, bytes)?;
    }
    bind(&socket, &addr)?;
    listen(&socket, backlog)?;
    Ok(socket.into())
}

/// All listening sockets of a process.
pub(crate) struct Listeners {
    pub(crate) plain: Vec<Listening>,
    pub(crate) tls: Vec<(Listening, TlsAcceptor)>,
    pub(crate) admin: Listening,
}

impl Listeners {
    /// Takes those that were left, and opens the others.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub(crate) fn open(
        config: &Config,
        certificates: &Certificates,
        inherited: &mut Inherited,
    ) -> Result<Self, Error> {
        let mut traffic = |key, addr| Listening::open(inherited, key, addr, TRAFFIC_BACKLOG, None);
        let plain = config.listen.iter().map(|&addr| traffic(PLAIN, addr)).collect::<Result<_, _>>()?;
        let tls = certificates
            .listeners()
            .filter_map(|addr| Some((addr, certificates.acceptor(addr)?)))
            .map(|(addr, acceptor)| Ok((traffic(TLS, addr)?, acceptor)))
            .collect::<Result<_, Error>>()?;
        let buffer = Some(ADMIN_SEND_BUFFER_BYTES);
        let admin = Listening::open(inherited, ADMIN, config.admin.listen, ADMIN_BACKLOG, buffer)?;
        Ok(Self { plain, tls, admin })
    }

    /// Those for traffic, with what makes TLS of their connections.
    pub(crate) fn traffic(&self) -> impl Iterator<Item = (&Listening, Option<&TlsAcceptor>)> {
        let plain = self.plain.iter().map(|listening| (listening, None));
        plain.chain(self.tls.iter().map(|(listening, acceptor)| (listening, Some(acceptor))))
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Listening> {
        self.traffic().map(|(listening, _)| listening).chain([&self.admin])
    }

    /// Where they listen.
    pub(crate) fn addresses(&self) -> Addresses {
        Addresses {
            traffic: self.plain.iter().map(Listening::addr).collect(),
            tls: self.tls.iter().map(|(listening, _)| listening.addr()).collect(),
            admin: self.admin.addr(),
        }
    }
}
