//! Which spellings of a path are taken: so that no spelling slips past a route's policies.
//!
//! What is forwarded is the raw target, and origins disagree about what `..`, `//`, `%2F`, `;`, `\` or a
//! second layer of encoding mean (RFC 3986 §6; Tomcat, IIS and many frameworks each in their way). The
//! default therefore refuses all of them (400); docs/path-spelling.md has the table. Control bytes,
//! backslashes, broken escapes, text that is no UTF-8 and whatever is encoded twice are never taken. What
//! is left may still be read as another name by an origin (`/Admin`, `/admin.`, `/admin%3Fx`): such a
//! segment is folded here, and the search refuses it where its folded text is a literal of some route.

use crate::base::limits::{PATH_SEGMENTS_MAX, TARGET_BYTES_MAX};
use crate::base::span::Span;
use crate::http::head::RequestHead;
use crate::route::matcher::hex;

/// What a listener does with spellings that origins read differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PathSpelling {
    /// `.` and `..`, encoded or not.
    pub dot_segments: DotSegments,
    /// `//`.
    pub empty_segments: EmptySegments,
    /// `%2F`.
    pub encoded_slash: Delimiter,
    /// `;` and `%3B`. Where kept, a segment is matched without what follows the semicolon.
    pub semicolon: Delimiter,
}

/// What is done with `.` and `..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DotSegments {
    /// 400.
    #[default]
    Refuse,
    /// Removed as RFC 3986 §5.2.4 says, before matching and in what is forwarded.
    Resolve,
    /// Taken as names.
    Keep,
}

/// What is done with `//`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EmptySegments {
    /// 400.
    #[default]
    Refuse,
    /// One slash, before matching and in what is forwarded.
    Merge,
    /// Taken as empty segments.
    Keep,
}

/// What is done with an encoded or reserved delimiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Delimiter {
    /// 400.
    #[default]
    Refuse,
    /// Taken as a part of its segment.
    Keep,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// `.` or `..`.
    DotSegment,
    /// `//`.
    EmptySegment,
    /// `%2F`.
    EncodedSlash,
    /// `;`.
    Semicolon,
    /// `\` or `%5C`.
    Backslash,
    /// A control byte, encoded or not.
    ControlByte,
    /// `%` without two hex digits.
    BrokenEscape,
    /// Something encoded twice.
    DoubleEncoding,
    /// Not UTF-8 once decoded.
    NotUtf8,
    /// More than `PATH_SEGMENTS_MAX` segments.
    TooDeep,
    /// A segment that some origins read as the literal of another route: it differs from it only in the
    /// case of letters, in dots or spaces at its end, in what follows `;`, `?`, `#` or `/`, or in width.
    LookAlike,
}

impl PathFault {
    /// A short text for logs.
    pub fn text(self) -> &'static str {
        match self {
            Self::DotSegment => "dot segment",
            Self::EmptySegment => "empty segment",
            Self::EncodedSlash => "encoded slash",
            Self::Semicolon => "semicolon",
            Self::Backslash => "backslash",
            Self::ControlByte => "control byte",
            Self::BrokenEscape => "broken percent-encoding",
            Self::DoubleEncoding => "double encoding",
            Self::NotUtf8 => "not UTF-8",
            Self::TooDeep => "too many segments",
            Self::LookAlike => "reads like another route's literal",
        }
    }
}

/// Where a path's segments are: memory of one core, used anew for each request.
#[derive(Debug)]
pub struct PathScratch {
    pub(super) segments: Vec<SegmentText>,
    decoded: Vec<u8>,
    folded: Vec<u8>,
}

/// One segment: where it stands in the raw path, and its decoded text.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentText {
    /// In the raw path.
    pub(super) raw: Span,
    /// In the decoded bytes, if decoding changed anything.
    decoded: Option<Span>,
    /// In the folded bytes, if folding changed anything.
    folded: Option<Span>,
}

impl Default for PathScratch {
    fn default() -> Self {
        let segments = Vec::with_capacity(PATH_SEGMENTS_MAX);
        let room = || Vec::with_capacity(TARGET_BYTES_MAX);
        Self { segments, decoded: room(), folded: room() }
    }
}

impl PathScratch {
    /// The decoded text of a segment of `path`.
    pub(super) fn text<'a>(&'a self, segment: usize, path: &'a [u8]) -> &'a [u8] {
        let segment = self.segments[segment];
        segment.decoded.map_or_else(|| segment.raw.of(path), |span| span.of(&self.decoded))
    }

    /// What the least careful origin makes of a segment, where that is not its text.
    pub(super) fn folded(&self, segment: usize) -> Option<&[u8]> {
        self.segments[segment].folded.map(|span| span.of(&self.folded))
    }

    /// Splits `path` before decoding, decodes each segment, and refuses what is not taken.
    ///
    /// # Errors
    /// The first spelling in the path that is refused.
    pub(super) fn split(&mut self, path: &[u8], spelling: &PathSpelling) -> Result<(), PathFault> {
        self.segments.clear();
        self.decoded.clear();
        self.folded.clear();
        let mut start = 1;
        loop {
            if self.segments.len() == PATH_SEGMENTS_MAX {
                return Err(PathFault::TooDeep);
            }
            let rest = path.get(start..).unwrap_or_default();
            let end = memchr::memchr(b'/', rest).map(|length| start + length);
            let raw = Span::new(start.min(path.len()), end.unwrap_or(path.len()));
            let segment = self.take(raw, path, spelling)?;
            if raw.is_empty() && end.is_some() && spelling.empty_segments != EmptySegments::Keep {
                return Err(PathFault::EmptySegment);
            }
            self.segments.push(segment);
            match end {
                Some(slash) => start = slash + 1,
                None => return Ok(()),
            }
        }
    }

    fn take(
        &mut self,
        raw: Span,
        path: &[u8],
        spelling: &PathSpelling,
    ) -> Result<SegmentText, PathFault> {
        let bytes = raw.of(path);
        let plain = |byte: &u8| !matches!(byte, b'%' | b'#' | b';' | b'\\' | 0..=0x20 | 0x7f..);
        if bytes.iter().all(plain) {
            refuse_dots(bytes, spelling)?;
            let folded = is_folded(bytes).then(|| fold(bytes, &mut self.folded));
            return Ok(SegmentText { raw, decoded: None, folded });
        }
        let start = self.decoded.len();
        decode(bytes, spelling, &mut self.decoded)?;
        let text = &self.decoded[start..];
        if std::str::from_utf8(text).is_err() {
            return Err(PathFault::NotUtf8);
        }
        if is_encoded_again(text) {
            return Err(PathFault::DoubleEncoding);
        }
        // Where semicolons are kept, origins that know path parameters cut them off: so does matching.
        let name = memchr::memchr(b';', text).unwrap_or(text.len());
        let folded = fold_checked(text, spelling, &mut self.folded)?;
        let decoded = Some(Span::new(start, start + name));
        Ok(SegmentText { raw, decoded, folded })
    }
}

/// Decodes one segment onto the end of `out`.
fn decode(bytes: &[u8], spelling: &PathSpelling, out: &mut Vec<u8>) -> Result<(), PathFault> {
    let mut at = 0;
    while at < bytes.len() {
        let mut byte = bytes[at];
        at += 1;
        let escaped = byte == b'%';
        if escaped {
            let digits = bytes.get(at..at + 2).ok_or(PathFault::BrokenEscape)?;
            let (high, low) = hex(digits[0]).zip(hex(digits[1])).ok_or(PathFault::BrokenEscape)?;
            byte = high << 4 | low;
            at += 2;
        }
        match byte {
            b'\\' => return Err(PathFault::Backslash),
            0..=0x1f | 0x7f => return Err(PathFault::ControlByte),
            b'/' if spelling.encoded_slash == Delimiter::Refuse => {
                return Err(PathFault::EncodedSlash);
            }
            b';' if spelling.semicolon == Delimiter::Refuse => return Err(PathFault::Semicolon),
            _ => out.push(byte),
        }
    }
    Ok(())
}

/// Whether there is anything left to decode. Not only delimiters count: `%2561dmin` is `admin` to an
/// origin that decodes twice. `%u` is an escape to some versions of IIS.
fn is_encoded_again(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text).any(|at| match text.get(at + 1..) {
        Some([b'u' | b'U', ..]) => true,
        Some([high, low, ..]) => hex(*high).is_some() && hex(*low).is_some(),
        _ => false,
    })
}

/// Whether an origin may read something else than the text.
pub(super) fn is_folded(text: &[u8]) -> bool {
    let odd = |byte: &u8| byte.is_ascii_uppercase() || !byte.is_ascii() || CUTS.contains(byte);
    let ends = |byte: Option<&u8>| matches!(byte, Some(b'.' | b' '));
    text.iter().any(odd) || ends(text.last()) || text.first() == Some(&b' ')
}

/// Where some origin stops reading a segment once it is decoded.
const CUTS: &[u8] = b";?#/";

/// Writes what the least careful origin makes of `text` onto the end of `out`, where it takes no more
/// room than `text`: ASCII in lower case and of one width, up to the first delimiter, without dots and
/// spaces at the end and spaces at the start.
pub(super) fn fold(text: &[u8], out: &mut Vec<u8>) -> Span {
    let start = out.len();
    narrow(text, out);
    let name = out[start..].iter().position(|byte| CUTS.contains(byte));
    out.truncate(name.map_or(out.len(), |length| start + length));
    trim(start, out)
}

/// [`fold`], after refusing what becomes a separator, a dot segment or an empty segment on the way.
fn fold_checked(
    text: &[u8],
    spelling: &PathSpelling,
    out: &mut Vec<u8>,
) -> Result<Option<Span>, PathFault> {
    let start = out.len();
    narrow(text, out);
    let seen = &out[start..];
    if seen.contains(&b'\\') {
        return Err(PathFault::Backslash);
    }
    if seen.contains(&b'/') && spelling.encoded_slash == Delimiter::Refuse {
        return Err(PathFault::EncodedSlash);
    }
    for piece in seen.split(|byte| *byte == b'/') {
        let name = piece.iter().position(|byte| CUTS.contains(byte)).unwrap_or(piece.len());
        refuse_dots(&piece[..name], spelling)?;
        let blank = piece[..name].iter().all(|byte| *byte == b' ');
        if blank && spelling.empty_segments != EmptySegments::Keep {
            return Err(PathFault::EmptySegment);
        }
    }
    out.truncate(start);
    Ok(is_folded(text).then(|| fold(text, out)))
}

/// The text in lower case, with the wide and odd forms of ASCII (U+FF01–U+FF5E, U+2024 and the like) as
/// the characters that Unicode's compatibility forms and best-fit tables make of them.
fn narrow(text: &[u8], out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(text) else { return out.extend_from_slice(text) };
    let mut room = [0; 4];
    for character in text.chars() {
        let bytes: &[u8] = match character {
            '\u{ff01}'..='\u{ff5e}' => {
                room[0] = ((character as u32 - 0xff01) as u8 + b'!').to_ascii_lowercase();
                &room[..1]
            }
            '\u{2024}' | '\u{fe52}' => b".",
            '\u{2025}' => b"..",
            '\u{2026}' => b"...",
            '\u{2044}' | '\u{2215}' => b"/",
            '\u{2216}' | '\u{fe68}' => b"\\",
            '\u{037e}' | '\u{fe54}' => b";",
            '\u{a0}' | '\u{3000}' => b" ",
            _ => character.to_ascii_lowercase().encode_utf8(&mut room).as_bytes(),
        };
        out.extend_from_slice(bytes);
    }
}

fn trim(start: usize, out: &mut Vec<u8>) -> Span {
    let text = &out[start..];
    let last = text.iter().rposition(|byte| !matches!(byte, b'.' | b' '));
    let end = last.map_or(start, |last| start + last + 1);
    out.truncate(end);
    let first = out[start..].iter().position(|byte| *byte != b' ').unwrap_or(0);
    Span::new(start + first, end)
}

/// A segment of dots alone, or of dots and spaces (which some systems cut off), is a dot segment.
fn is_dots(text: &[u8]) -> bool {
    text.contains(&b'.') && text.iter().all(|byte| matches!(byte, b'.' | b' '))
}

fn refuse_dots(text: &[u8], spelling: &PathSpelling) -> Result<(), PathFault> {
    if spelling.dot_segments != DotSegments::Keep && is_dots(text) {
        return Err(PathFault::DotSegment);
    }
    Ok(())
}

impl PathSpelling {
    /// Rewrites the path in place where this listener resolves dot segments or merges slashes: what is
    /// matched and what is forwarded are then the same. A path only ever becomes shorter.
    pub fn normalise(&self, head: &mut RequestHead, raw: &mut [u8]) {
        let resolve = self.dot_segments == DotSegments::Resolve;
        let merge = self.empty_segments == EmptySegments::Merge;
        let path = head.target.path;
        if !(resolve || merge) || path.is_empty() {
            return;
        }
        let (start, end) = (path.start as usize, path.end as usize);
        let length = rewrite(&mut raw[start..end], resolve, merge);
        if length == end - start {
            return;
        }
        let whole_end = head.target.whole.end as usize;
        raw.copy_within(end..whole_end, start + length);
        let removed = (end - start - length) as u32;
        head.target.path.end -= removed;
        head.target.whole.end -= removed;
        if let Some(query) = &mut head.target.query {
            query.start -= removed;
            query.end -= removed;
        }
    }
}

/// RFC 3986 §5.2.4 and merging of slashes over `path`, in place; returns the new length.
pub(super) fn rewrite(path: &mut [u8], resolve: bool, merge: bool) -> usize {
    let mut written = 0;
    let mut start = 1;
    while start <= path.len() {
        let length = memchr::memchr(b'/', &path[start..]);
        let end = length.map_or(path.len(), |length| start + length);
        let last = length.is_none();
        match dots(&path[start..end]).filter(|_| resolve) {
            Some(up) => {
                if up {
                    written = memchr::memrchr(b'/', &path[..written]).unwrap_or(0);
                }
                if last {
                    path[written] = b'/';
                    written += 1;
                }
            }
            None if merge && start == end && !last => {}
            None => {
                path[written] = b'/';
                path.copy_within(start..end, written + 1);
                written += 1 + end - start;
            }
        }
        start = end + 1;
    }
    written
}

/// `Some(true)` for `..`, `Some(false)` for `.`, however encoded.
fn dots(segment: &[u8]) -> Option<bool> {
    let (mut count, mut at) = (0, 0);
    while at < segment.len() {
        let escaped = segment.get(at..at + 3).is_some_and(|s| s.eq_ignore_ascii_case(b"%2e"));
        if !escaped && segment[at] != b'.' {
            return None;
        }
        at += if escaped { 3 } else { 1 };
        count += 1;
    }
    match count {
        1 => Some(false),
        2 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
