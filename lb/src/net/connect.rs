//! Connections to upstreams.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream};

use super::Transport;

/// Makes connections, all with the same options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connector {
    /// How long the peer's kernel may leave data unacknowledged.
    pub(crate) ack_timeout: Duration,
}

impl Connector {
    /// Connects. The caller bounds how long it may take, by dropping the future.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) async fn connect(&self, addr: SocketAddr) -> io::Result<Transport> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_nodelay(true)?;
        let stream = socket.connect(addr).await?;
        self.watch(&stream)?;
        Ok(Transport::tcp(stream))
    }

    /// A machine that is gone shows: unacknowledged data and, on a connection nobody uses, unanswered
    /// keep-alives end the connection.
    fn watch(&self, stream: &TcpStream) -> io::Result<()> {
        let socket = stream.as_fd();
        let millis = u32::try_from(self.ack_timeout.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(socket, millis)?;
        sockopt::set_socket_keepalive(socket, true)?;
        sockopt::set_tcp_keepidle(socket, Duration::from_secs(5))?;
        sockopt::set_tcp_keepintvl(socket, Duration::from_secs(1))?;
        sockopt::set_tcp_keepcnt(socket, 3)?;
        Ok(())
    }
}

/// Whether a failure to connect is ours: no descriptors, no ports, no memory.
pub(crate) fn is_out_of_resources(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| own.contains(&Errno::from_raw_os_error(code)))
}
