//! A request's body on its way to the upstreams, kept as long as it may have to be sent again.

use crate::http1::BodyLength;

/// What was read of a request's body.
#[derive(Debug)]
pub(super) struct RequestBody<'a> {
    length: BodyLength,
    /// Empty and of no use when `lost`.
    kept: &'a mut Vec<u8>,
    limit: usize,
    received: u64,
    lost: bool,
    complete: bool,
}

impl<'a> RequestBody<'a> {
    /// A body of this length, of which at most `limit` bytes are kept, in `kept`.
    pub(super) fn new(length: BodyLength, kept: &'a mut Vec<u8>, limit: usize) -> Self {
        kept.clear();
        let complete = matches!(length, BodyLength::Empty | BodyLength::Fixed(0));
        Self { length, kept, limit, received: 0, lost: false, complete }
    }

    /// How it is announced.
    pub(super) const fn length(&self) -> BodyLength {
        self.length
    }

    /// A piece of it was read and is being sent.
    pub(super) fn keep(&mut self, data: &[u8]) {
        self.received += data.len() as u64;
        if self.lost || self.kept.len() + data.len() > self.limit {
            self.lost = true;
            *self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(data);
        }
    }

    /// All of it was read.
    pub(super) const fn completed(&mut self) {
        self.complete = true;
    }

    /// Whether all of it was read.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Bytes read.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// What was read so far, if it can be sent again.
    pub(super) fn replay(&self) -> Option<&[u8]> {
        (!self.lost).then_some(self.kept)
    }

    /// Whether what was read so far can be sent again.
    pub(super) const fn is_replayable(&self) -> bool {
        !self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::RequestBody;
    use crate::http1::BodyLength;

    #[test]
    fn it_is_kept_up_to_the_limit_and_then_not_at_all() {
        let mut kept = b"of another request".to_vec();
        let mut body = RequestBody::new(BodyLength::Chunked, &mut kept, 4);
        assert_eq!(body.replay(), Some(&[][..]));
        body.keep(b"ab");
        body.keep(b"cd");
        assert_eq!(body.replay(), Some(&b"abcd"[..]));
        body.keep(b"e");
        assert_eq!((body.replay(), body.received()), (None, 5));
        body.keep(b"f");
        assert_eq!((body.replay(), body.received()), (None, 6));
    }
}
