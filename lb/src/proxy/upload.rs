//! The request's body, from the client to the upstream, before and while the response comes.

use std::task::{Context, Poll};

use super::answer::Answer;
use super::exchange::{End, Exchange};
use super::message::{BodyError, Piece};
use super::upstream::Upstream;

/// How far an upload came in one go.
pub(super) struct Uploaded {
    /// Something was read.
    pub(super) progress: bool,
    /// All that was read is on its way.
    pub(super) flushed: bool,
}

impl Exchange<'_, '_> {
    /// Takes what the client has sent of the body to the upstream, as far as both allow. `broken`: the upstream
    /// takes nothing any more, but may still answer.
    ///
    /// # Errors
    /// When the client's request cannot go on.
    pub(super) fn upload(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
        broken: &mut bool,
    ) -> Result<Uploaded, End> {
        let mut progress = false;
        while !*broken {
            while !self.body.is_complete() && upstream.has_room() {
                match self.upload_piece(cx, upstream) {
                    Poll::Ready(done) => done?,
                    Poll::Pending => break,
                }
                progress = true;
            }
            let full = !self.body.is_complete() && !upstream.has_room();
            match upstream.poll_flush(cx) {
                Poll::Pending => return Ok(Uploaded { progress, flushed: false }),
                Poll::Ready(Ok(())) if full => {}
                Poll::Ready(Ok(())) => break,
                Poll::Ready(Err(e)) => {
                    tracing::debug!("upstream takes nothing any more: {e}");
                    *broken = true;
                }
            }
        }
        Ok(Uploaded { progress, flushed: true })
    }

    fn upload_piece(&mut self, cx: &mut Context<'_>, upstream: &mut Upstream) -> Poll<Result<(), End>> {
        let body = &mut self.body;
        let read = self.client.poll_body(cx, |data| {
            body.keep(data);
            upstream.push(data);
        });
        read.map(|piece| match piece {
            Ok(Piece::Data(_)) => {
                let limit = self.config.limits.body_bytes.get();
                let over = self.body.received() > limit;
                if over { Err(End::Answer(Answer::BodyTooLarge { limit })) } else { Ok(()) }
            }
            Ok(Piece::End) => {
                self.body.completed();
                upstream.finish(self.client.trailers());
                Ok(())
            }
            Err(BodyError::Invalid(invalid)) => Err(End::Answer(Answer::Invalid(invalid))),
            Err(e) => {
                tracing::debug!("client gone within its request: {e}");
                Err(End::Gone)
            }
        })
    }
}
