//! What a limit makes of a request in place: the hash of a key, a number, a field's value.
//!
//! It never allocates and never keeps a key: what is rendered is hashed on the way.

use std::hash::Hasher;
use std::time::Duration;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::exchange::template::Sink;

/// A number in digits, as a request gives it; what is longer than any number, or no digit, is none.
#[derive(Default)]
pub(crate) struct Digits {
    text: [u8; 20],
    len: usize,
}

impl Digits {
    pub(crate) fn number(&self) -> Option<u64> {
        std::str::from_utf8(&self.text[..self.len]).ok()?.trim().parse().ok()
    }
}

impl Sink for Digits {
    fn put(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.text.get_mut(self.len..self.len + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }
}

/// A rendered key, hashed while it is rendered. How the renderer cuts the text never matters, so that
/// one text is one key.
pub(crate) struct KeyHash<'a> {
    hasher: FoldHasher<'a>,
    block: [u8; BLOCK],
    filled: usize,
    bytes: u64,
}

/// Bytes hashed at once. A number of the hash only; it never decides about a key.
const BLOCK: usize = 128;

impl<'a> KeyHash<'a> {
    pub(crate) fn new(seed: &'a SharedSeed) -> Self {
        let hasher = FoldHasher::with_seed(0, seed);
        Self { hasher, block: [0; BLOCK], filled: 0, bytes: 0 }
    }

    pub(crate) fn finish(mut self) -> u64 {
        self.hasher.write(&self.block[..self.filled]);
        self.hasher.write_u64(self.bytes);
        self.hasher.finish()
    }
}

impl Sink for KeyHash<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> bool {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let take = bytes.len().min(BLOCK - self.filled);
            self.block[self.filled..self.filled + take].copy_from_slice(&bytes[..take]);
            self.filled += take;
            bytes = &bytes[take..];
            if self.filled == BLOCK {
                self.hasher.write(&self.block);
                self.filled = 0;
            }
        }
        true
    }
}

/// A field value made in place.
pub(crate) struct Line {
    text: [u8; 160],
    len: usize,
    whole: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self { text: [0; 160], len: 0, whole: true }
    }
}

impl Line {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match self.text.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.whole = false,
        }
    }

    pub(crate) fn whole(&self) -> Option<&[u8]> {
        self.whole.then_some(&self.text[..self.len])
    }
}

/// A name as a structured-field string (RFC 9651 §3.3.3); what cannot stand in one becomes `_`.
pub(crate) fn quoted(name: &str) -> String {
    let fine = |char: char| char.is_ascii_graphic() && char != '"' && char != '\\' || char == ' ';
    let text: String = name.chars().map(|char| if fine(char) { char } else { '_' }).collect();
    format!("\"{text}\"")
}

/// A span in whole seconds, rounded up.
pub(crate) fn seconds_up(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
