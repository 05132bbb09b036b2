//! A range of bytes inside some buffer, without the buffer.
//!
//! Heads are kept as spans into the receive buffer, so that a field that passes unchanged is never
//! copied before it is written out. A span never owns and never outlives its bytes by itself: whoever
//! holds the buffer hands it in again.

/// `start..end`, offsets from the start of the head (or of the text) the span was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl Span {
    /// The empty span.
    pub const EMPTY: Span = Span { start: 0, end: 0 };

    /// From offsets; both must fit 32 bits, which every bound in `limits.rs` guarantees.
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        Self { start: start as u32, end: end as u32 }
    }

    /// The bytes of `raw` that the span covers; empty when the span lies outside of `raw`.
    pub fn of(self, raw: &[u8]) -> &[u8] {
        raw.get(self.start as usize..self.end as usize).unwrap_or(&[])
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the span covers nothing.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}
