//! Where the tokens of a checked JSON text stand, and walks over them.
//!
//! The check finds every token anyway, as bits; noting their places makes an index (Langdale and Lemire 2019,
//! stage one) in the same pass over the bytes. Whatever looks into a part walks this list and never the bytes
//! in between: what closes a container is noted with what opens it. A [`Document`] exists only of a text that was
//! found well-formed (RFC 8259), so no walk has to report a fault, and none recurses. The choice refused is
//! a tape of typed values, as `simd-json` builds: it decodes what a merge copies.

use crate::aggregate::json::scan::BLOCK_BYTES;
use crate::aggregate::json::{JsonFault, classify, is_white, key};
use crate::base::limits::{JSON_DEPTH_MAX, JSON_TOKENS_KEPT_MAX};
use crate::base::span::Span;

/// Room for an index, used again for one text after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    starts: Vec<u32>,
    /// By the number of an opening bracket: the token behind the closing one.
    ends: Vec<u32>,
}

/// The brackets that are open, by the numbers of their tokens.
pub(super) struct Open {
    tokens: [u32; JSON_DEPTH_MAX],
    depth: usize,
}

impl Default for Open {
    fn default() -> Self {
        Self { tokens: [0; JSON_DEPTH_MAX], depth: 0 }
    }
}

impl Tokens {
    /// Appends the places of a block's tokens, and what each closing bracket closes. Eight places are written whether
    /// they are there or not: a guess that fails costs more than a store. What is malformed here is found
    /// so by the check, and nobody looks at the index then.
    #[inline(always)]
    pub(super) fn note(&mut self, base: usize, [tokens, open, close]: [u64; 3], stack: &mut Open) {
        let before = self.starts.len();
        let count = tokens.count_ones() as usize;
        let (mut places, mut left) = ([0u32; BLOCK_BYTES], tokens);
        for eight in places.chunks_exact_mut(8) {
            for place in eight {
                *place = base as u32 + left.trailing_zeros();
                left &= left.wrapping_sub(1);
            }
            if left == 0 {
                break;
            }
        }
        self.starts.extend_from_slice(&places[..count]);
        self.ends.resize(before + count, 0);
        let mut brackets = open | close;
        while brackets != 0 {
            let bit = brackets & brackets.wrapping_neg();
            brackets ^= bit;
            let token = before + (tokens & (bit - 1)).count_ones() as usize;
            if open & bit != 0 {
                if let Some(place) = stack.tokens.get_mut(stack.depth) {
                    *place = token as u32;
                    stack.depth += 1;
                }
            } else if stack.depth > 0 {
                stack.depth -= 1;
                let opened = stack.tokens[stack.depth] as usize;
                if let Some(end) = self.ends.get_mut(opened) {
                    *end = token as u32 + 1;
                }
            }
        }
    }

    /// Forgets all places.
    pub(super) fn clear(&mut self) {
        self.starts.clear();
        self.ends.clear();
    }

    /// Gives back what one large text made it grow by.
    pub fn trim(&mut self) {
        if self.starts.capacity() > JSON_TOKENS_KEPT_MAX {
            self.starts.clear();
            self.starts.shrink_to(JSON_TOKENS_KEPT_MAX);
            self.ends.clear();
            self.ends.shrink_to(JSON_TOKENS_KEPT_MAX);
        }
    }
}

/// A well-formed text with the places of its tokens: brackets, braces, commas, colons, and the first byte of
/// every string, number and word. A value is named by the number of its first token; the root's is 0.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    text: &'a [u8],
    starts: &'a [u32],
    ends: &'a [u32],
    /// Whether there is a backslash anywhere.
    escapes: bool,
}

/// Checks `text` as [`check`](crate::aggregate::json::check) does, and notes where its tokens stand.
///
/// # Errors
/// It is not one JSON value that we pass on.
pub fn index<'a>(text: &'a [u8], room: &'a mut Tokens) -> Result<Document<'a>, JsonFault> {
    room.clear();
    classify::index(text, room)?;
    match simdutf8::basic::from_utf8(text) {
        Ok(_) => {
            let escapes = memchr::memchr(b'\\', text).is_some();
            Ok(Document { text, starts: &room.starts, ends: &room.ends, escapes })
        }
        Err(_) => Err(JsonFault::NotUtf8),
    }
}

impl<'a> Document<'a> {
    /// The text.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The first byte of token `at`; 0 behind the last one.
    pub(in crate::aggregate) fn byte(&self, at: usize) -> u8 {
        self.text.get(self.start(at)).copied().unwrap_or(0)
    }

    /// Where token `at` begins; the text's end behind the last one.
    pub(in crate::aggregate) fn start(&self, at: usize) -> usize {
        self.starts.get(at).map_or(self.text.len(), |start| *start as usize)
    }

    /// The token behind the value at `at`.
    pub(in crate::aggregate) fn past(&self, at: usize) -> usize {
        match self.byte(at) {
            b'{' | b'[' => self.ends.get(at).map_or(self.starts.len(), |end| *end as usize),
            _ => at + 1,
        }
    }

    /// Whether a name, as written between its quotes in this text, spells `name`.
    pub(in crate::aggregate) fn spells(&self, written: &[u8], name: &str) -> bool {
        if self.escapes { key::is(written, name) } else { written == name.as_bytes() }
    }

    /// Whether the text may spell a name in another way than with its own letters.
    pub(in crate::aggregate) fn has_escapes(&self) -> bool {
        self.escapes
    }

    /// Where the value from token `at` to before token `past` lies in the text.
    pub(in crate::aggregate) fn span(&self, at: usize, past: usize) -> Span {
        let start = self.start(at);
        let mut end = self.start(past);
        // Between the last byte of a value and the next token is nothing but white space (RFC 8259 §2).
        while end > start && is_white(self.text[end - 1]) {
            end -= 1;
        }
        Span::new(start, end)
    }

    /// Where the value at `at` lies in the text.
    pub fn value(&self, at: usize) -> Span {
        self.span(at, self.past(at))
    }

    /// The key at token `at`, as written between its quotes.
    pub(in crate::aggregate) fn key(&self, at: usize) -> &'a [u8] {
        let key = self.span(at, at + 1).of(self.text);
        key.get(1..key.len().saturating_sub(1)).unwrap_or(&[])
    }

    /// The members of the object at `at`: keys as written, and their values. None of anything else.
    pub(in crate::aggregate) fn members(&self, at: usize) -> Members<'a> {
        Members { document: *self, at: if self.byte(at) == b'{' { at + 1 } else { usize::MAX } }
    }

    /// The elements of the array at `at`. None of anything else.
    pub(in crate::aggregate) fn elements(&self, at: usize) -> Elements<'a> {
        Elements { document: *self, at: if self.byte(at) == b'[' { at + 1 } else { usize::MAX } }
    }
}

/// The members of an object: key and value of each.
pub(in crate::aggregate) struct Members<'a> {
    document: Document<'a>,
    at: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], usize);

    fn next(&mut self) -> Option<Self::Item> {
        if self.document.byte(self.at) != b'"' {
            return None;
        }
        // A key, a colon, a value, a comma or a brace.
        let (key, value) = (self.document.key(self.at), self.at + 2);
        let past = self.document.past(value);
        // Behind the last member nothing may be found, not even a key of what comes next.
        self.at = if self.document.byte(past) == b',' { past + 1 } else { usize::MAX };
        Some((key, value))
    }
}

/// The elements of an array.
#[derive(Clone, Copy, Debug)]
pub(in crate::aggregate) struct Elements<'a> {
    document: Document<'a>,
    at: usize,
}

impl Iterator for Elements<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if matches!(self.document.byte(self.at), 0 | b']') {
            return None;
        }
        let value = self.at;
        let past = self.document.past(value);
        // Behind the last element nothing may be found, not even a bracket of what comes next.
        self.at = if self.document.byte(past) == b',' { past + 1 } else { usize::MAX };
        Some(value)
    }
}
