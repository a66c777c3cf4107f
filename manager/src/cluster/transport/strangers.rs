//! Members that are no peers: asked for proof that they run now, so that a recording accuses nobody.
//!
//! A handful is remembered; more than that at once is no mistake of an administrator.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::session::{Frame, Life, Session, Verdict};
use super::random;

/// Strangers remembered; the one longest unheard makes room.
const MAX: usize = 8;
/// Hellos to one stranger.
const HELLO_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Strangers(Vec<Stranger>);

#[derive(Debug)]
struct Stranger {
    node: String,
    addr: SocketAddr,
    session: Session,
    heard: Instant,
    hello: Option<Instant>,
}

impl Strangers {
    /// Judges a datagram of a stranger: the hello to answer with, if one is due, and whether it proves its sender.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        node: &str,
        addr: SocketAddr,
        frame: &Frame,
        me: Life,
    ) -> (Option<Frame>, bool) {
        let stranger = self.find(now, node, addr);
        stranger.heard = now;
        let verdict = stranger.session.receive(frame, random());
        let (wants_hello, proven) = match verdict {
            Verdict::Adopted { .. } => (true, true),
            Verdict::Taken => (false, true),
            Verdict::Unproven => {
                let due = stranger.hello.is_none_or(|at| now.saturating_duration_since(at) >= HELLO_EVERY);
                (due, false)
            }
            Verdict::Replayed | Verdict::Overtaken => (false, false),
        };
        let hello = wants_hello.then(|| {
            stranger.hello = Some(now);
            stranger.session.hello(me, frame)
        });
        (hello, proven)
    }

    fn find(&mut self, now: Instant, node: &str, addr: SocketAddr) -> &mut Stranger {
        let known = self.0.iter().position(|stranger| stranger.node == node && stranger.addr == addr);
        let at = known.unwrap_or_else(|| {
            if self.0.len() >= MAX {
                let oldest = (0..self.0.len()).min_by_key(|at| self.0[*at].heard);
                oldest.map(|at| self.0.swap_remove(at));
            }
            let session = Session::new(random());
            self.0.push(Stranger { node: node.to_owned(), addr, session, heard: now, hello: None });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }
}
