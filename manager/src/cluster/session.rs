//! Replay protection without clocks and without a file: is this datagram of the present life of its sender,
//! meant for the present life of this process, and new?
//!
//! Each side asks the other to echo a random *challenge*. A datagram is taken if it echoes the challenge this
//! process made up for that peer, and its sequence number was not seen before (a sliding window, as in
//! RFC 4303, 3.4.3). A sender whose session is unknown, because one of the two has restarted, is answered with
//! a *hello* that carries a challenge nobody has echoed yet; only who answers that one replaces the session
//! before. So nothing recorded before the restart of either side is ever taken again.
//!
//! ```text
//! A                                B         (both fresh)
//! beat  challenge a, echo -    ──►           unknown: answer
//!                              ◄── hello     challenge b, echo a        A takes B's session
//! hello challenge a, echo b    ──►           B takes A's session
//! ```
//!
//! What it cannot know: how long a datagram was on its way. Who can hold datagrams back can deliver the last
//! of them late, once each, as long as neither side restarts. There is no I/O here; randomness is an argument.

use std::num::NonZeroU64;

/// Bytes of a [`Frame`].
pub const FRAME_BYTES: usize = 43;
/// Sequence numbers remembered behind the highest.
pub const WINDOW: u64 = 128;

/// What a datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but the session itself.
    Hello,
    /// A node's short report of itself; the newest counts.
    Beat,
    /// A message of the gossip protocol.
    Gossip,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Hello, Self::Beat, Self::Gossip];

    /// The word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Beat => "beat",
            Self::Gossip => "gossip",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Hello => 0,
            Self::Beat => 1,
            Self::Gossip => 2,
        }
    }
}

/// Who this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Random, of this process alone.
    pub session: u64,
    /// Counts the starts of the manager. For people and for the gossip: nothing here relies on it.
    pub boot: u64,
}

/// What stands before the payload of each datagram, inside the seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: Kind,
    /// Who sent it.
    pub life: Life,
    /// Grows with each datagram of this session to this peer, from 1.
    pub sequence: u64,
    /// What the sender wants to see echoed.
    pub challenge: NonZeroU64,
    /// What the sender last was asked to echo, if it was.
    pub echo: Option<NonZeroU64>,
}

impl Frame {
    /// The frame, `payload`, and zeros up to `min_bytes`. None if the payload is longer than 65,535 bytes.
    pub fn encode(&self, payload: &[u8], min_bytes: usize) -> Option<Vec<u8>> {
        let length = u16::try_from(payload.len()).ok()?;
        let mut bytes = Vec::with_capacity((FRAME_BYTES + payload.len()).max(min_bytes));
        bytes.push(self.kind.code());
        bytes.extend_from_slice(&length.to_be_bytes());
        let echo = self.echo.map_or(0, NonZeroU64::get);
        for number in [self.life.session, self.life.boot, self.sequence, self.challenge.get(), echo] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().max(min_bytes), 0);
        Some(bytes)
    }

    /// The frame and its payload; none if `bytes` is not a frame.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&code, rest) = bytes.split_first()?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.code() == code)?;
        let (&length, mut rest) = rest.split_first_chunk()?;
        let mut number = || {
            let (&bytes, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u64::from_be_bytes(bytes))
        };
        let life = Life { session: number()?, boot: number()? };
        let sequence = number()?;
        let challenge = NonZeroU64::new(number()?)?;
        let echo = NonZeroU64::new(number()?);
        let payload = rest.get(..usize::from(u16::from_be_bytes(length)))?;
        Some((Self { kind, life, sequence, challenge, echo }, payload))
    }
}

/// What is to be done with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new, and of the session known.
    Taken,
    /// It is new, and proves a session that was not known: the peer's life before, if there was one, is over.
    Adopted {
        /// That life.
        before: Option<Life>,
    },
    /// It does not echo what this process asked for: answer with [`Session::hello`].
    Unproven,
    /// It was taken before, or is too old to tell.
    Replayed,
    /// It is a beat, and a newer one was taken already.
    Overtaken,
}

/// One peer, as far as datagrams go.
#[derive(Debug, Clone)]
pub struct Session {
    /// The last sequence number given out.
    sent: u64,
    /// A challenge nobody has echoed yet.
    open: NonZeroU64,
    peer: Option<Peer>,
}

#[derive(Debug, Clone)]
struct Peer {
    life: Life,
    /// What it must echo.
    challenge: NonZeroU64,
    /// What it wants echoed.
    echo: NonZeroU64,
    window: Window,
    last_beat: u64,
}

impl Session {
    /// Knows nothing of the peer. `challenge` is random.
    pub const fn new(challenge: NonZeroU64) -> Self {
        Self { sent: 0, open: challenge, peer: None }
    }

    /// The peer's present life, once it has proved it.
    pub fn peer(&self) -> Option<Life> {
        self.peer.as_ref().map(|peer| peer.life)
    }

    /// What stands before the next payload to the peer.
    pub fn frame(&mut self, me: Life, kind: Kind) -> Frame {
        let (challenge, echo) = match &self.peer {
            Some(peer) => (peer.challenge, Some(peer.echo)),
            None => (self.open, None),
        };
        self.stamp(me, kind, challenge, echo)
    }

    /// The answer to a datagram that proved nothing.
    pub fn hello(&mut self, me: Life, to: &Frame) -> Frame {
        // Who is known already must go on echoing what it echoes: a stranger's noise changes nothing for it.
        let known = self.peer.as_ref().filter(|peer| peer.life.session == to.life.session);
        let challenge = known.map_or(self.open, |peer| peer.challenge);
        self.stamp(me, Kind::Hello, challenge, Some(to.challenge))
    }

    fn stamp(&mut self, me: Life, kind: Kind, challenge: NonZeroU64, echo: Option<NonZeroU64>) -> Frame {
        self.sent += 1;
        Frame { kind, life: me, sequence: self.sent, challenge, echo }
    }

    /// Judges a datagram of this peer whose seal was good. `fresh` is random.
    pub fn receive(&mut self, frame: &Frame, fresh: NonZeroU64) -> Verdict {
        if let Some(peer) = &mut self.peer
            && peer.life.session == frame.life.session
        {
            if frame.echo != Some(peer.challenge) {
                return Verdict::Unproven;
            }
            let newest = frame.sequence > peer.window.highest;
            if !peer.window.admit(frame.sequence) {
                return Verdict::Replayed;
            }
            if newest {
                peer.echo = frame.challenge;
            }
            if frame.kind == Kind::Beat {
                if frame.sequence < peer.last_beat {
                    return Verdict::Overtaken;
                }
                peer.last_beat = frame.sequence;
            }
            return Verdict::Taken;
        }
        if frame.echo != Some(self.open) {
            return Verdict::Unproven;
        }
        let before = self.peer();
        self.peer = Some(Peer {
            life: frame.life,
            challenge: self.open,
            echo: frame.challenge,
            window: Window::from(frame.sequence),
            last_beat: if frame.kind == Kind::Beat { frame.sequence } else { 0 },
        });
        self.open = fresh;
        Verdict::Adopted { before }
    }
}

/// The highest sequence number seen, and which of the [`WINDOW`] up to it were.
#[derive(Debug, Clone, Copy)]
struct Window {
    highest: u64,
    /// Bit n: `highest - n` was seen.
    seen: u128,
}

impl Window {
    const fn from(first: u64) -> Self {
        Self { highest: first, seen: 1 }
    }

    fn admit(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            let ahead = u32::try_from(sequence - self.highest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let behind = self.highest - sequence;
        if behind >= WINDOW {
            return false;
        }
        let bit = 1 << behind;
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

#[cfg(test)]
mod tests;
