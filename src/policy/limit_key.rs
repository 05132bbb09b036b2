//! What a limit makes of a request in place: the hash of a key, a number, a field's value.
//!
//! It never allocates and never keeps a key: what is rendered is hashed on the way.

use std::hash::Hasher;
use std::time::Duration;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::exchange::template::Sink;

/// A whole number, as a request gives it.
#[derive(Default)]
pub(crate) struct Digits {
    text: [u8; 20],
    len: usize,
    /// It is longer than any number that is counted with.
    longer: bool,
}

impl Digits {
    /// The number; `u64::MAX` for what begins with a digit and is a greater one, a fraction or more than one
    /// number, so that nothing of the kind is cheaper than what it may mean. `None` for anything else.
    pub(crate) fn number(&self) -> Option<u64> {
        let text = self.text[..self.len].trim_ascii();
        let digits = text.strip_prefix(b"+").unwrap_or(text);
        if !digits.first().is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        Some(number.filter(|_| !self.longer).unwrap_or(u64::MAX))
    }
}

impl Sink for Digits {
    fn put(&mut self, bytes: &[u8]) -> bool {
        let bytes = if self.len == 0 { bytes.trim_ascii_start() } else { bytes };
        let fits = bytes.len().min(self.text.len() - self.len);
        self.text[self.len..self.len + fits].copy_from_slice(&bytes[..fits]);
        self.len += fits;
        self.longer |= !bytes[fits..].trim_ascii().is_empty();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_mean_a_great_number_is_the_greatest() {
        let number = |text: &str| {
            let mut digits = Digits::default();
            assert!(text.as_bytes().chunks(7).all(|piece| digits.put(piece)));
            digits.number()
        };
        for (text, said) in [("0", 0), ("7", 7), (" +7 ", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(number(text), Some(said), "{text}");
        }
        assert_eq!(number(&format!("7{}", " ".repeat(40))), Some(7));
        for text in
            ["18446744073709551616", "99999999999999999999999999", "7.5", "1e9", "7, 9", "7x"]
        {
            assert_eq!(number(text), Some(u64::MAX), "{text}");
        }
        for text in ["", " ", "-5", "nonsense", "x7", "a text that is longer than any number 7"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
