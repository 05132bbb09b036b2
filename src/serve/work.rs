//! What one exchange works with: recycled by its core, so that a warm exchange allocates nothing.
//!
//! An idle connection never holds one.

use crate::exchange::Exchange;
use crate::http::h1::chunked::Decoder;
use crate::http::head::ResponseHead;

/// The exchange, and what reading its two messages takes.
#[derive(Default)]
pub struct Work {
    /// The exchange.
    pub x: Exchange,
    /// Decodes the client's body.
    pub chunks: Decoder,
    /// What reading a response takes.
    pub response: ResponseScratch,
}

/// What reading one response takes.
#[derive(Default)]
pub struct ResponseScratch {
    /// The origin's head.
    pub head: ResponseHead,
    /// Decodes the origin's body.
    pub chunks: Decoder,
}

impl Work {
    /// Forgets the exchange and keeps the room.
    pub fn clear(&mut self) {
        self.x.clear();
        self.chunks.reset();
        self.response.chunks.reset();
    }
}
