//! A new binary takes over without a connection being refused.
//!
//! The running process starts its successor with the same arguments and leaves it the listening sockets, which are
//! named in an environment variable. Both have the same socket then, so no connection that waits in it is lost.
//! The successor says through a pipe that it serves; only then does the old process stop accepting and drain. If
//! the successor ends or is not ready in time, it is killed and nothing has changed.
//!
//! While the successor starts, the admin API of the old process refuses writes (503 `upgrading`), so that none is lost
//! between the two, and signals wait; afterwards they are passed on to the successor. What is not handed over begins
//! anew: counters, what was observed of upstreams, and the keys of TLS tickets, so that clients that come again need a
//! full handshake once.
//!
//! The successor is a child of the old process until that ends. A service manager must be told which process it is to
//! watch from then on: systemd is, by `sd_notify`, in units of `Type=notify`. A supervisor that starts a program again as
//! soon as its process ends does not fit: the first process of Phalanx's own VM images is one, and there nobody sends
//! the signal.
//!
//! It refuses to pass on connections: what is open stays with the old process until it is done. And it refuses
//! descriptors that a parent other than the present one has named.

mod adopt;
mod handover;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, dup};
use rustix::net::sockopt::socket_acceptconn;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{getpid, getppid};

pub(crate) use self::handover::Handover;

/// `<parent's pid>;ready=<fd>;set=<fd>;<name>@<address>=<fd>;…`
const VARIABLE: &str = "PHALANX_LB_INHERIT";

/// The largest set that is handed over.
const MAX_SET_BYTES: u64 = 64 * 1024 * 1024;

/// What a successor writes when it serves.
const READY: u8 = b'R';

/// Why nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system does not let the successor be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The successor ended.
    #[error("the successor ended before it was ready: {0}")]
    Ended(ExitStatus),
    /// The successor closed its end of the pipe, or wrote something else.
    #[error("the successor broke the pipe on which it should have said that it is ready")]
    Silent,
    /// The successor was not ready in time.
    #[error("the successor was not ready within {} ms", .0.as_millis())]
    TooLate(Duration),
    /// What the successor says cannot be read.
    #[error("cannot wait for the successor: {0}")]
    Wait(#[source] io::Error),
    /// Two processes must not write the state file.
    #[error("the state file is still being written")]
    StateFile,
}

/// How this process was started. To be made at the start, while the path is still that of this binary.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// This process's program, by the path it was called by if there is one, so that a symbolic link is followed
    /// anew each time; and its arguments.
    ///
    /// # Errors
    /// When the path cannot be found out.
    pub fn current() -> io::Result<Self> {
        let mut args = env::args_os();
        let called = args.next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let path = match called {
            Some(path) => std::path::absolute(path)?,
            None => env::current_exe()?,
        };
        Ok(Self { path, args: args.collect() })
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// A listening socket to leave to the successor.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    /// The key of the configuration that asks for it, such as `admin.listen`.
    pub name: &'a str,
    /// The address as it is configured, which may have port 0.
    pub addr: SocketAddr,
    /// The socket.
    pub socket: BorrowedFd<'a>,
}

/// A successor that serves.
#[derive(Debug)]
pub struct Successor {
    /// Its process id.
    pub pid: u32,
}

/// Starts the successor and waits until it serves. `set` is handed over as it is, such as the upstream set that
/// is in force. Blocks for up to `timeout`; it must not run on a thread that carries traffic.
///
/// # Errors
/// When it does not come to serve. It is gone then, and this process goes on.
pub fn start_successor(
    program: &Program,
    listeners: &[Left<'_>],
    set: &[u8],
    timeout: Duration,
) -> Result<Successor, Error> {
    let start = |source: io::Error| Error::Start { program: program.path.clone(), source };
    let (mut child, reader) = spawn(program, listeners, set).map_err(start)?;
    match await_ready(&mut child, reader, timeout) {
        Ok(()) => Ok(Successor { pid: child.id() }),
        Err(e) => {
            // It may have ended by itself, which is as good.
            let _ = child.kill();
            let status = child.wait().map_err(Error::Wait)?;
            // Only a successor that was not killed here has ended for a reason of its own.
            Err(if matches!(e, Error::Silent) && status.code().is_some() { Error::Ended(status) } else { e })
        }
    }
}

fn spawn(program: &Program, listeners: &[Left<'_>], set: &[u8]) -> io::Result<(Child, File)> {
    // Two at a time would get each other's duplicates.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut memory = File::from(memfd_create("lb-set", MemfdFlags::CLOEXEC)?);
    memory.write_all(set)?;
    memory.rewind()?;
    // A duplicate is not closed on exec, the original is. The duplicates go at the end of this function.
    let ready = dup(&writer)?;
    let memory = dup(&memory)?;
    let mut value =
        format!("{};ready={};set={}", getpid().as_raw_nonzero(), ready.as_raw_fd(), memory.as_raw_fd());
    let mut sockets = Vec::with_capacity(listeners.len());
    for left in listeners {
        let socket = dup(left.socket)?;
        value += &format!(";{}@{}={}", left.name, left.addr, socket.as_raw_fd());
        sockets.push(socket);
    }
    let child = Command::new(&program.path).args(&program.args).env(VARIABLE, value).spawn()?;
    Ok((child, reader.into()))
}

fn await_ready(child: &mut Child, mut reader: File, timeout: Duration) -> Result<(), Error> {
    let begin = Instant::now();
    loop {
        let left = timeout.saturating_sub(begin.elapsed());
        let left = Timespec::try_from(left).map_err(|e| Error::Wait(io::Error::other(e)))?;
        let mut fds = [PollFd::new(&reader, PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Ok(0) => return Err(Error::TooLate(timeout)),
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::Wait(e.into())),
        }
    }
    let mut byte = [0];
    let read = reader.read(&mut byte).map_err(Error::Wait)?;
    if read == 1 && byte[0] == READY {
        return Ok(());
    }
    // The pipe of a process that ends is closed a moment before there is a status.
    while begin.elapsed() < timeout {
        if let Some(status) = child.try_wait().map_err(Error::Wait)? {
            return Err(Error::Ended(status));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(Error::Silent)
}

/// What the predecessor left, if there is one. What is not taken is closed when this goes.
#[derive(Debug, Default)]
pub struct Inherited {
    ready: Option<OwnedFd>,
    set: Option<OwnedFd>,
    listeners: Vec<(String, SocketAddr, TcpListener)>,
}

/// Why there is nothing to inherit although there should be.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The environment variable is not understood.
    #[error("{VARIABLE}: {0:?} is not <name>=<descriptor>")]
    Syntax(String),
    /// A descriptor is not what it should be.
    #[error("{VARIABLE}: {entry}: {source}")]
    Descriptor {
        /// The entry.
        entry: String,
        /// Why.
        source: io::Error,
    },
    /// The upstream set is not understood.
    #[error("the upstream set: {0}")]
    Set(String),
}

/// Takes over what the predecessor left. To be called once, before the process opens anything; a second call
/// finds nothing.
///
/// # Errors
/// When something was left that is not what it should be.
pub fn inherited() -> Result<Inherited, InheritError> {
    static CALLED: AtomicBool = AtomicBool::new(false);
    let Some(value) = env::var(VARIABLE).ok().filter(|_| !CALLED.swap(true, Ordering::Relaxed)) else {
        return Ok(Inherited::default());
    };
    let parent = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    let mut entries = value.split(';');
    // A process that was started by another one, with the variable still in its environment, has nothing.
    if entries.next() != parent.as_deref() {
        return Ok(Inherited::default());
    }
    let mut inherited = Inherited::default();
    for entry in entries {
        let parts = entry.rsplit_once('=').and_then(|(name, fd)| Some((name, fd.parse().ok()?)));
        let (name, fd) = parts.ok_or_else(|| InheritError::Syntax(entry.to_owned()))?;
        let wrong = |source| InheritError::Descriptor { entry: entry.to_owned(), source };
        let fd = adopt::adopt(fd).map_err(wrong)?;
        match (name, name.split_once('@')) {
            ("ready", _) => inherited.ready = Some(fd),
            ("set", _) => inherited.set = Some(fd),
            (_, Some((name, addr))) => {
                let addr = addr.parse().map_err(|_| InheritError::Syntax(entry.to_owned()))?;
                let listening = socket_acceptconn(&fd).map_err(|e| wrong(e.into()))?;
                let listener = TcpListener::from(fd);
                if !listening {
                    return Err(wrong(io::Error::other("not a listening socket")));
                }
                listener.set_nonblocking(true).map_err(wrong)?;
                inherited.listeners.push((name.to_owned(), addr, listener));
            }
            (_, None) => return Err(InheritError::Syntax(entry.to_owned())),
        }
    }
    Ok(inherited)
}

impl Inherited {
    /// The listener that was left for this key and configured address; each is given once. It does not block.
    pub fn take(&mut self, name: &str, addr: SocketAddr) -> Option<TcpListener> {
        let found = self.listeners.iter().position(|(n, a, _)| n == name && *a == addr)?;
        Some(self.listeners.remove(found).2)
    }

    /// The set that was handed over; none if there is no predecessor.
    ///
    /// # Errors
    /// When it cannot be read, or has more than 64 MiB.
    pub fn set(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(memory) = self.set.take() else { return Ok(None) };
        let mut set = Vec::new();
        File::from(memory).take(MAX_SET_BYTES + 1).read_to_end(&mut set)?;
        if set.len() as u64 > MAX_SET_BYTES {
            return Err(io::Error::other(format!("the set has more than {MAX_SET_BYTES} bytes")));
        }
        Ok(Some(set))
    }

    /// The way to say that this process serves; none if there is no predecessor.
    pub fn ready(&mut self) -> Option<Ready> {
        Some(Ready(self.ready.take()?.into()))
    }
}

/// The predecessor waits for this.
#[derive(Debug)]
pub struct Ready(File);

impl Ready {
    /// Tells the predecessor that this process serves. It stops accepting then.
    ///
    /// # Errors
    /// When the predecessor is gone.
    pub fn signal(mut self) -> io::Result<()> {
        self.0.write_all(&[READY])
    }
}

/// A listener as it is left.
pub fn left<'a>(name: &'a str, addr: SocketAddr, socket: &'a impl AsFd) -> Left<'a> {
    Left { name, addr, socket: socket.as_fd() }
}

#[cfg(test)]
mod tests;
