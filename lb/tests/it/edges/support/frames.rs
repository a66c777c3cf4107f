//! HTTP/2 frame by frame (RFC 9113, section 4), for what no library would send.

use std::net::SocketAddr;

use super::{Backend, Wire};

/// Frame types: RFC 9113, section 6.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const GOAWAY: u8 = 7;
}

pub(crate) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The status of a response's HEADERS, as far as it is in the static table: RFC 7541, appendix A.
    pub(crate) fn status(&self) -> u16 {
        assert_eq!(self.kind, kind::HEADERS);
        match self.payload[0] {
            0x88 => 200,
            0x89 => 204,
            0x8c => 400,
            0x8d => 404,
            // A literal with the name of entry 8.
            0x48 | 0x08 => {
                let length = usize::from(self.payload[1] & 0x7f);
                let text = &self.payload[2..2 + length];
                if self.payload[1] & 0x80 == 0 {
                    std::str::from_utf8(text).unwrap().parse().unwrap()
                } else {
                    digits(text)
                }
            }
            other => panic!("status {other:#x}"),
        }
    }

    /// The code of RST_STREAM, or of GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A number of three digits in the Huffman code of RFC 7541, appendix B: 0 to 2 have five bits, 3 to 9 six.
fn digits(text: &[u8]) -> u16 {
    let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut take = |number: usize| (0..number).fold(0, |code, _| code << 1 | bits.next().unwrap());
    (0..3).fold(0, |number, _| {
        let five = take(5);
        let digit = if five < 3 { five } else { (five << 1 | take(1)) - 0b01_0110 };
        assert!(digit < 10, "{text:?}");
        number * 10 + digit
    })
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields, each a literal: RFC 7541, section 6.2.2.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "a length of one byte");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A connection.
pub(crate) struct Frames {
    wire: Wire,
}

impl Frames {
    /// Says hello with these settings.
    pub(crate) async fn connect(addr: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut frames = Self { wire: Wire::connect(addr).await };
        frames.wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        frames.send(kind::SETTINGS, 0, 0, &payload).await;
        frames
    }

    /// An upstream's side, which says hello too.
    pub(crate) async fn accept(backend: &Backend) -> Self {
        let mut frames = Self { wire: backend.accept().await };
        frames.wire.until("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        frames.send(kind::SETTINGS, 0, 0, &[]).await;
        frames
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        // A peer that is gone shows when its answer is read.
        let _ = self.wire.try_send(frame(kind, flags, stream, payload)).await;
    }

    /// Heads, in one piece: what one of them does cannot keep the others from being sent.
    pub(crate) async fn headers(&mut self, flags: u8, heads: &[(u32, &[(&str, &str)])]) {
        let head = |(stream, fields): &(u32, &[(&str, &str)])| {
            frame(kind::HEADERS, flags | END_HEADERS, *stream, &block(fields))
        };
        let bytes: Vec<u8> = heads.iter().flat_map(head).collect();
        self.wire.send(bytes).await;
    }

    /// The next frame that is not about the connection's own upkeep.
    ///
    /// # Errors
    /// When the connection ends instead.
    pub(crate) async fn try_next(&mut self) -> std::io::Result<Frame> {
        loop {
            let head = self.wire.exactly(9).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
            let payload = self.wire.exactly(length).await?;
            match (head[3], head[4] & ACK) {
                (kind::SETTINGS, 0) => self.send(kind::SETTINGS, ACK, 0, &[]).await,
                // SETTINGS, PING and WINDOW_UPDATE say nothing about requests.
                (kind::SETTINGS | 6 | 8, _) => {}
                (kind, _) => return Ok(Frame { kind, stream, payload }),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Frame {
        self.try_next().await.expect("a frame")
    }

    /// The next frame of a stream.
    pub(crate) async fn of(&mut self, stream: u32) -> Frame {
        loop {
            let frame = self.next().await;
            assert_ne!(frame.kind, kind::GOAWAY, "{frame:?}");
            if frame.stream == stream {
                return frame;
            }
        }
    }
}
