//! A packet socket for the ARP frames of one interface that speak for one address.
//!
//! The kernel drops all others before they wake anybody (a classic BPF program, packet(7) and socket(7)), so a busy
//! LAN costs nothing. Sending is not filtered and never waits: what does not fit is dropped, as a LAN may do at any time.

#![allow(unsafe_code)] // Neither nix nor rustix can make a packet address or attach a filter.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::net::arp::{FRAME_LEN, Frame};

const ETH_P_ARP: u16 = 0x0806;

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It is 17.
const AF_PACKET: u16 = libc::AF_PACKET as u16;

/// Where RFC 826 has the sender's IPv4 address, counted from the Ethernet header's start.
const SENDER_AT: u32 = 28;

pub(super) struct ArpSocket {
    fd: AsyncFd<OwnedFd>,
}

impl ArpSocket {
    /// Opens it on the interface with this number, for frames whose sender address is `sender`. Needs `CAP_NET_RAW`.
    pub(super) fn open(index: u32, sender: Ipv4Addr) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Without a protocol it receives nothing until it is bound: no frame passes before the filter is there.
        let fd = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        attach_filter(&fd, &program(sender))?;
        bind(&fd, index)?;
        // SAFETY: the descriptor is owned by the `AsyncFd` from here on; nobody else closes or replaces it while it is
        // registered.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self { fd })
    }

    /// The next frame that can be read as ARP; others are skipped. Cancelling loses nothing.
    pub(super) async fn recv(&self) -> io::Result<Frame> {
        loop {
            let mut ready = self.fd.readable().await?;
            let read = ready.try_io(|fd| {
                let mut bytes = [0; 2 * FRAME_LEN];
                let (len, _) = rustix::net::recv(fd, &mut bytes[..], rustix::net::RecvFlags::empty())?;
                Ok(Frame::decode(&bytes[..len.min(2 * FRAME_LEN)]))
            });
            match read {
                Ok(Ok(Ok(frame))) => return Ok(frame),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(Err(_))) | Err(_) => {}
            }
        }
    }

    /// Sends a frame, now or not at all.
    pub(super) fn send(&self, frame: &Frame) -> io::Result<()> {
        rustix::net::send(self.fd.get_ref(), &frame.encode(), rustix::net::SendFlags::empty())?;
        Ok(())
    }
}

/// Accepts a frame if its sender address is `sender`. The length is checked by the kernel: a load beyond the end of
/// the frame rejects it.
fn program(sender: Ipv4Addr) -> [libc::sock_filter; 4] {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        #[allow(clippy::cast_possible_truncation)] // BPF's codes are 16 bits wide.
        code: code as u16,
        jt,
        jf,
        k,
    };
    [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, SENDER_AT),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, u32::from(sender)),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ]
}

/// The length of what a call is given, as the kernel takes it.
const fn len_of<T>(_: &T) -> libc::socklen_t {
    #[allow(clippy::cast_possible_truncation)] // It is some bytes.
    let len = size_of::<T>() as libc::socklen_t;
    len
}

fn attach_filter(fd: &OwnedFd, program: &[libc::sock_filter; 4]) -> io::Result<()> {
    let program = libc::sock_fprog { len: 4, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` points to four instructions that live until the call returns; the kernel copies and checks
    // them, and does not write to them. The length given is that of the type the option takes.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            len_of(&program),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind(fd: &OwnedFd, index: u32) -> io::Result<()> {
    let index = i32::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let addr = libc::sockaddr_ll {
        sll_family: AF_PACKET,
        sll_protocol: ETH_P_ARP.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: `addr` is a packet address of the length given, and lives until the call returns.
    let done = unsafe { libc::bind(fd.as_raw_fd(), (&raw const addr).cast(), len_of(&addr)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
