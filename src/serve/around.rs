//! A merged answer written around its largest part, in the buffer that this part came in.
//!
//! What stands before the part's value is put in front of it and what stands behind it is put behind, so that the
//! largest part is not copied and all of it leaves in one write (RFC 9112 §6.2: its length is known). Never is a byte of the
//! buffer sent that is not of the value: what its origin sent around it is cut off first. An answer that is held to a
//! bandwidth, coded, or made of small parts is put together as any other (`serve/answer.rs`).

use crate::base::buffer::Buf;
use crate::base::span::Span;
use crate::exchange::fault::Fault;
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::merge_stream::Ends;
use crate::serve::outgoing::Outgoing;

/// Parts up to this size are copied. Unit: bytes.
const COPIED_BYTES_MAX: usize = 2048;

/// The part that all is written around.
#[derive(Clone, Copy)]
pub struct Around {
    part: usize,
    /// Where in its buffer its value lies.
    value: Span,
    /// Which piece of the document that is.
    piece: usize,
}

impl Around {
    /// The largest piece of a document, if it is large and lies in a buffer that its part came in.
    pub fn of<'p>(ends: &Ends, pieces: impl Iterator<Item = &'p [u8]>) -> Option<Self> {
        let (piece, text) = pieces.enumerate().max_by_key(|(_, text)| text.len())?;
        if text.len() <= COPIED_BYTES_MAX {
            return None;
        }
        let (part, value) = ends.buffer_with(text)?;
        Some(Self { part, value, piece })
    }

    /// Puts what stands before the part behind `head`; what stands behind the part is returned. `None`, and `head` is as it
    /// was, where a buffer has no room for so much, or there is no second one.
    pub fn gather<'p, R: Runtime>(
        self,
        core: &Core<R>,
        head: &mut Buf,
        pieces: impl Iterator<Item = &'p [u8]>,
    ) -> Option<Buf> {
        let head_bytes = head.len();
        let mut behind = core.buffer().ok()?;
        for (number, text) in pieces.enumerate().filter(|(number, _)| *number != self.piece) {
            let out = if number < self.piece { &mut *head } else { &mut behind };
            if !out.put(text) {
                head.truncate(head_bytes);
                return None;
            }
        }
        Some(behind)
    }

    /// Sends the part between `front` and `behind`.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn send<R: Runtime>(
        self,
        ends: &mut Ends,
        front: Buf,
        behind: Buf,
        outgoing: &mut Outgoing<'_, R>,
    ) -> Result<(), Fault> {
        let body = ends.take_buffer(self.part);
        debug_assert!(body.is_some(), "found there by `of`");
        let mut out = front;
        if let Some(mut body) = body {
            body.consume(self.value.start as usize);
            body.truncate(self.value.len());
            if !body.prepend(out.data()) {
                outgoing.write(out).await?;
            }
            out = body;
        }
        if out.put(behind.data()) {
            drop(behind);
            return outgoing.write(out).await;
        }
        outgoing.write(out).await?;
        outgoing.write(behind).await
    }
}
