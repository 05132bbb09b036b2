//! JSON as bytes: one well-formed value in UTF-8 or not (RFC 8259), and where inside of it a value lies.
//!
//! A merge copies the bytes of its parts between constant text, so all it has to know of them is that
//! each is exactly one value: it never decodes a number, unescapes a string that is kept, builds
//! a tree, changes its input or allocates. Strict means RFC 8259 and nothing beside it: no comments, no
//! trailing commas, no byte order mark (§8.1), no raw control bytes in strings, no bytes behind the value.
//! What the RFC leaves open is passed on as it came: numbers of any size (§6), repeated names (§4), and
//! `\u` escapes that name half of a surrogate pair (§8.2); bytes that are not UTF-8 are refused (§8.1).
//!
//! The check is our own. 8 KiB of order records take 1.9 µs (4.5 GB/s) on the build machine (AMD EPYC) with AVX-512
//! and 3.5 µs with AVX2, where `serde_json` takes 10.2 µs and `simd-json`'s tape, which also needs a copy to write
//! into, 12.9 µs. The table and what would change our mind: `docs/decisions/0010-json.md`.

mod classify;
pub mod index;
pub(in crate::aggregate) mod key;
pub mod path;
mod scan;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod wide;

use crate::base::span::Span;

pub use crate::aggregate::json::index::{Document, Tokens, index};
pub use crate::aggregate::json::path::{Path, PathError, PathErrorKind, Step, scalar};

/// Why a text is not one JSON value that we pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonFault {
    /// Nothing but white space.
    Empty,
    /// Not JSON.
    Malformed,
    /// The text ends inside of a string, an array or an object.
    Truncated,
    /// Nested deeper than `JSON_DEPTH_MAX`.
    TooDeep,
    /// Well-formed, but not UTF-8.
    NotUtf8,
}

/// Checks that `text` is exactly one JSON value in UTF-8, nested at most `JSON_DEPTH_MAX` deep; returns
/// where the value lies without the white space around it.
pub fn check(text: &[u8]) -> Result<Span, JsonFault> {
    classify::check(text)?;
    match simdutf8::basic::from_utf8(text) {
        Ok(_) => Ok(trimmed(text)),
        Err(_) => Err(JsonFault::NotUtf8),
    }
}

/// The text without white space (RFC 8259 §2) around it.
fn trimmed(text: &[u8]) -> Span {
    let dark = |byte: &u8| !is_white(*byte);
    let start = text.iter().position(dark).unwrap_or(0);
    let end = text.iter().rposition(dark).map_or(start, |last| last + 1);
    Span::new(start, end)
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
