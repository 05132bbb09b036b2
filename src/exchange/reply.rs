//! A response made by us: a local reply.
//!
//! Replies that come from an origin never pass through here: their heads stay in the buffer they were
//! received in and are written out from there.

use std::sync::Arc;

use crate::http::{Status, chars};

/// A response that the gateway makes itself. Small, without allocation for the closed set of errors.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: Status,
    /// Further field lines, complete (`name: value\r\n` …), validated when they were compiled.
    pub fields: ReplyText,
    /// The body.
    pub body: ReplyText,
    /// The media type of the body; empty for none.
    pub content_type: &'static str,
    /// Whether the connection must close after it.
    pub close: bool,
}

/// Text of a local reply: fixed, compiled from the configuration, or made for this one.
#[derive(Clone, Debug)]
pub enum ReplyText {
    /// Known when the program was built.
    Static(&'static str),
    /// Known when the configuration was compiled.
    Shared(Arc<[u8]>),
    /// Made for this reply.
    Owned(Vec<u8>),
}

impl ReplyText {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Static(text) => text.as_bytes(),
            Self::Shared(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Field lines that policies add to whatever response is sent, kept in place.
///
/// Holds complete lines (`name: value\r\n`). What does not fit is left out: these fields inform, they
/// never protect.
#[derive(Clone, Copy)]
pub struct ReplyFields {
    text: [u8; Self::BYTES_MAX],
    len: u16,
}

impl Default for ReplyFields {
    fn default() -> Self {
        Self { text: [0; Self::BYTES_MAX], len: 0 }
    }
}

impl ReplyFields {
    /// Room for added field lines. Unit: bytes. RateLimit and RateLimit-Policy of four limits fit.
    pub const BYTES_MAX: usize = 640;

    /// Forgets all lines.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends the line `name: value`; `false` when it does not fit or the value holds a control byte.
    pub fn add(&mut self, name: &str, value: &[u8]) -> bool {
        let line = name.len() + 2 + value.len() + 2;
        let start = self.len as usize;
        if start + line > Self::BYTES_MAX || chars::control(value).is_some() {
            return false;
        }
        let mut at = start;
        for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.text[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        self.len = at as u16;
        true
    }

    /// Forgets what was added behind the first `bytes` bytes of lines.
    pub fn cut(&mut self, bytes: usize) {
        self.len = self.len.min(bytes as u16);
    }

    /// The lines.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len as usize]
    }
}
