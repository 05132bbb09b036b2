//! Which spellings of a path are taken: so that no spelling slips past a route's policies.
//!
//! What is forwarded is the raw target, and origins disagree about what `..`, `//`, `%2F`, `;`, `\` or a
//! second layer of encoding mean (RFC 3986 §6; Tomcat, IIS and many frameworks each in their way). A path
//! is therefore taken only where every reading of it leads to one route; docs/path-spelling.md has the
//! table. Dot segments, control bytes, backslashes, broken escapes and text that is no UTF-8 are refused
//! whatever the routes are (400). A segment that an origin may read as another name (`/Admin`, `/admin.`,
//! `/admin;x`, `/%2561dmin`) is folded here, and the search never serves past one whose folded text is a
//! literal. A path that may fall into other segments (`//`, `%2F`) is searched once more as it falls.

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
    /// Taken as empty segments where merging them leads to the same route; else, and at the start of a
    /// path, 400.
    #[default]
    SameRoute,
    /// 400.
    Refuse,
    /// One slash, before matching and in what is forwarded.
    Merge,
    /// Taken as empty segments.
    Keep,
}

/// What is done with an encoded or reserved delimiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Delimiter {
    /// Taken as a part of its segment where the other reading leads to the same route; else 400.
    #[default]
    SameRoute,
    /// 400.
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
    /// case of letters, in dots or spaces at its end, in what follows `;`, `?`, `#` or `/`, in width or in
    /// a second layer of encoding; or a path that differs from another route's by a slash at the end.
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

    /// The same in one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::DotSegment => "dot_segment",
            Self::EmptySegment => "empty_segment",
            Self::EncodedSlash => "encoded_slash",
            Self::Semicolon => "semicolon",
            Self::Backslash => "backslash",
            Self::ControlByte => "control_byte",
            Self::BrokenEscape => "broken_escape",
            Self::DoubleEncoding => "double_encoding",
            Self::NotUtf8 => "not_utf8",
            Self::TooDeep => "segments_max",
            Self::LookAlike => "look_alike",
        }
    }
}

/// Where a path's segments are: memory of one core, used anew for each request.
#[derive(Debug)]
pub struct PathScratch {
    pub(super) segments: Vec<SegmentText>,
    decoded: Vec<u8>,
    folded: Vec<u8>,
    /// In how many kinds the path may be read in other segments or names: bits of `EMPTY` and the like.
    odd: u8,
    /// Room for the other reading; made when a path first has one.
    pub(super) other: Option<Box<OtherReading>>,
}

/// A path as an origin reads it that merges slashes, or decodes before it splits.
#[derive(Debug, Default)]
pub(super) struct OtherReading {
    pub(super) path: Vec<u8>,
    pub(super) scratch: PathScratch,
}

/// An empty segment that some origins merge away.
const EMPTY: u8 = 1;
/// An encoded slash that some origins split at.
const SLASH: u8 = 2;
/// A semicolon that some origins cut at.
const SEMICOLON: u8 = 4;

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
        Self { segments, decoded: room(), folded: room(), odd: 0, other: None }
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
        self.odd = 0;
        let mut start = 1;
        loop {
            if self.segments.len() == PATH_SEGMENTS_MAX {
                return Err(PathFault::TooDeep);
            }
            let rest = path.get(start..).unwrap_or_default();
            let end = memchr::memchr(b'/', rest).map(|length| start + length);
            let raw = Span::new(start.min(path.len()), end.unwrap_or(path.len()));
            let segment = self.take(raw, path, spelling)?;
            if raw.is_empty() && end.is_some() {
                match spelling.empty_segments {
                    EmptySegments::Keep => {}
                    // What begins with `//` is an authority to some readers of a target.
                    EmptySegments::SameRoute if start > 1 => self.odd |= EMPTY,
                    _ => return Err(PathFault::EmptySegment),
                }
            }
            self.segments.push(segment);
            match end {
                Some(slash) => start = slash + 1,
                None => return self.one_kind(),
            }
        }
    }

    /// One kind of doubt in a path has two readings; several together have more than are looked at.
    fn one_kind(&self) -> Result<(), PathFault> {
        match self.odd {
            0 | EMPTY | SLASH | SEMICOLON => Ok(()),
            several if several & SLASH != 0 => Err(PathFault::EncodedSlash),
            _ => Err(PathFault::EmptySegment),
        }
    }

    /// The path in the segments that a merging or an early decoding origin sees, if they are others; and
    /// the reason to refuse it when they lead to another route.
    pub(super) fn other_reading(&mut self, path: &[u8]) -> Option<(Box<OtherReading>, PathFault)> {
        let fault = match self.odd {
            EMPTY => PathFault::EmptySegment,
            SLASH => PathFault::EncodedSlash,
            _ => return None,
        };
        let mut other = self.other.take().unwrap_or_default();
        other.path.clear();
        if self.odd == EMPTY {
            other.path.extend_from_slice(path);
            let length = rewrite(&mut other.path, false, true);
            other.path.truncate(length);
        } else {
            let mut rest = path;
            while let Some(at) = memchr::memchr(b'%', rest) {
                let slash = matches!(rest.get(at + 1..at + 3), Some([b'2', b'f' | b'F']));
                let taken = at + if slash { 3 } else { 1 };
                other.path.extend_from_slice(&rest[..if slash { at } else { taken }]);
                other.path.extend_from_slice(if slash { b"/" } else { b"" });
                rest = &rest[taken..];
            }
            other.path.extend_from_slice(rest);
        }
        Some((other, fault))
    }

    fn take(
        &mut self,
        raw: Span,
        path: &[u8],
        spelling: &PathSpelling,
    ) -> Result<SegmentText, PathFault> {
        let bytes = raw.of(path);
        let classes = bytes.iter().fold(0, |all, byte| all | CLASSES[usize::from(*byte)]);
        if classes & SPECIAL == 0 {
            if classes & DOT != 0 {
                refuse_dots(bytes, spelling)?;
            }
            let odd = classes & UPPERCASE != 0 || bytes.last() == Some(&b'.');
            let folded = odd.then(|| fold(bytes, &mut self.folded));
            return Ok(SegmentText { raw, decoded: None, folded });
        }
        let start = self.decoded.len();
        decode(bytes, spelling, &mut self.decoded)?;
        let text = &self.decoded[start..];
        if std::str::from_utf8(text).is_err() {
            return Err(PathFault::NotUtf8);
        }
        let semicolon = memchr::memchr(b';', text);
        if spelling.semicolon == Delimiter::SameRoute && semicolon.is_some() {
            self.odd |= SEMICOLON;
        }
        if spelling.encoded_slash == Delimiter::SameRoute && text.contains(&b'/') {
            self.odd |= SLASH;
        }
        // Where semicolons are kept, origins that know path parameters cut them off: so does matching.
        let cut = semicolon.filter(|_| spelling.semicolon == Delimiter::Keep);
        let decoded = Some(Span::new(start, start + cut.unwrap_or(text.len())));
        let folded = if is_encoded_again(text) {
            Some(fold_again(text, &mut self.folded)?)
        } else {
            fold_checked(text, spelling, &mut self.folded)?
        };
        Ok(SegmentText { raw, decoded, folded })
    }
}

/// A byte that needs a closer look: it is decoded, refused, or ends a name for some origin.
const SPECIAL: u8 = 1;
const UPPERCASE: u8 = 2;
const DOT: u8 = 4;

/// The class of each byte, so that the common segment is looked at once, without a branch for each byte.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'%' | b'#' | b'?' | b';' | b'\\' | 0..=0x20 | 0x7f.. => SPECIAL,
            b'A'..=b'Z' => UPPERCASE,
            b'.' => DOT,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

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
fn is_folded(text: &[u8]) -> bool {
    let odd = |byte: &u8| byte.is_ascii_uppercase() || !byte.is_ascii() || CUTS.contains(byte);
    let ends = |byte: Option<&u8>| matches!(byte, Some(b'.' | b' '));
    text.iter().any(odd) || ends(text.last()) || text.first() == Some(&b' ')
}

/// Where some origin stops reading a segment once it is decoded.
const CUTS: &[u8] = b";?#/";

/// What an origin that decodes again and again makes of `text`, folded. Where that is more than a name it
/// is refused: separators, dots, control bytes and `%u` never come out of a second layer.
#[cold]
fn fold_again(text: &[u8], out: &mut Vec<u8>) -> Result<Span, PathFault> {
    const STRICT: PathSpelling = PathSpelling {
        dot_segments: DotSegments::Refuse,
        empty_segments: EmptySegments::Refuse,
        encoded_slash: Delimiter::Refuse,
        semicolon: Delimiter::Refuse,
    };
    let twice = |_| PathFault::DoubleEncoding;
    let mut inner = text.to_vec();
    while is_encoded_again(&inner) {
        // Each layer is shorter than the one around it, so this ends.
        let mut next = Vec::with_capacity(inner.len());
        decode(&inner, &STRICT, &mut next).map_err(twice)?;
        inner = next;
    }
    let name = std::str::from_utf8(&inner).is_ok() && !inner.contains(&b';');
    if !name {
        return Err(PathFault::DoubleEncoding);
    }
    let start = out.len();
    fold_checked(&inner, &STRICT, out).map_err(twice)?;
    out.truncate(start);
    Ok(fold(&inner, out))
}

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
    // A slash may be encoded, but not be a character that only becomes one.
    let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
    if spelling.encoded_slash != Delimiter::Keep && slashes(seen) > slashes(text) {
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
        // What stands before the path moves up to it: all behind, the fields among it, stays where its
        // spans say, and no byte of the old spelling is left between two spans.
        let removed = end - start - length;
        raw.copy_within(..start + length, removed);
        let moved = |span: Span| {
            let by = if (span.start as usize) < end { removed as u32 } else { 0 };
            Span { start: span.start + by, end: span.end + by }
        };
        head.method_text = moved(head.method_text);
        head.host = moved(head.host);
        head.authority = moved(head.authority);
        head.target.path = Span { start: (start + removed) as u32, end: end as u32 };
        head.target.whole.start += removed as u32;
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
