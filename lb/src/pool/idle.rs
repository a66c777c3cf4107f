//! Unused connections to one incarnation, for one thread.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::Buffered;
use crate::proxy::H2Handle;

/// Unused HTTP/1.1 connections, the last used one on top, and the HTTP/2 connection that all requests share.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    h1: Vec<(Buffered, Instant)>,
    /// And when it was used last.
    h2: Option<(H2Handle, Instant)>,
}

impl Idle {
    /// The connection used last that is still good. It is the least likely to be closed just now.
    pub(crate) fn take(&mut self) -> Option<Buffered> {
        while let Some((mut connection, _)) = self.h1.pop() {
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection; the one unused for longest makes room.
    pub(crate) fn put(&mut self, mut connection: Buffered, now: Instant, most: usize) {
        if most == 0 {
            return;
        }
        if self.h1.len() >= most {
            self.h1.remove(0);
        }
        connection.trim();
        self.h1.push((connection, now));
    }

    /// The shared HTTP/2 connection, if it takes another request at once.
    pub(crate) fn share(&mut self, now: Instant) -> Option<H2Handle> {
        let (handle, used) = self.h2.as_mut().filter(|(handle, _)| handle.has_room())?;
        *used = now;
        Some(handle.clone())
    }

    /// From now on this HTTP/2 connection is shared. The one before lives on for the requests it has.
    pub(crate) fn share_from_now(&mut self, handle: H2Handle, now: Instant) {
        self.h2 = Some((handle, now));
    }

    /// This HTTP/2 connection takes no requests any more. It lives on for those it has.
    pub(crate) fn unshare(&mut self, handle: &H2Handle) {
        if self.h2.as_ref().is_some_and(|(shared, _)| shared.is_same(handle)) {
            self.h2 = None;
        }
    }

    /// Closes what was unused for too long or was closed by the other side.
    pub(crate) fn sweep(&mut self, now: Instant, timeout: Duration) {
        self.h1.retain_mut(|(connection, since)| now - *since < timeout && connection.is_quiet());
        let stays = |(handle, used): &(H2Handle, Instant)| {
            handle.is_open() && (!handle.is_unused() || now - *used < timeout)
        };
        self.h2 = self.h2.take().filter(stays);
    }
}
