//! Escaping of template values, one function for each place that a value may stand in.
//!
//! A byte that could end the place it stands in is never written as it is. Percent-encoding is
//! RFC 3986 §2.1 with only the unreserved characters (§2.3) left bare, so that no reserved character of
//! a value has a meaning; JSON strings are RFC 8259 §7.

use std::fmt::{self, Write};
use std::net::IpAddr;

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::exchange::client::AddressText;
use crate::exchange::template::{Position, RenderError, Sink, TemplateKind};

/// The text of a value, before escaping.
pub(super) enum Text<'a> {
    /// As it is.
    Plain(&'a [u8]),
    /// Percent-encoded as received; `plus`: a `+` stands for a space (form encoding, in queries).
    Coded { raw: &'a [u8], plus: bool },
    /// Decoded from something else.
    Owned(Vec<u8>),
    /// A number or an address, written out.
    Small { text: [u8; Text::SMALL_BYTES], len: usize },
}

impl<'a> Text<'a> {
    /// Room for a number or an address written out. Unit: bytes. The longest IPv6 address takes 45.
    const SMALL_BYTES: usize = 64;

    /// `value` as it displays; `Unfit` when that is longer than any number or address.
    pub(super) fn small(value: impl fmt::Display) -> Result<Text<'a>, RenderError> {
        let mut small = Small { text: [0; Text::SMALL_BYTES], len: 0 };
        write!(small, "{value}").map_err(|_| RenderError::Unfit)?;
        Ok(Text::Small { text: small.text, len: small.len })
    }

    /// The text of an address. What formats anything takes longer than all else of a limit by address.
    pub(super) fn address(address: IpAddr) -> Text<'a> {
        let mut written = AddressText::default();
        let bytes = written.of(address);
        let mut text = [0; Text::SMALL_BYTES];
        text[..bytes.len()].copy_from_slice(bytes);
        Text::Small { text, len: bytes.len() }
    }

    /// The text of a JSON scalar: a string's characters, a number as it is spelt.
    pub(super) fn of_json(text: &'a [u8]) -> Result<Text<'a>, RenderError> {
        match text {
            [b'"', inside @ .., b'"'] if !inside.contains(&b'\\') => Ok(Text::Plain(inside)),
            // Half a surrogate pair has no spelling outside of JSON.
            [b'"', ..] => match serde_json::from_slice::<String>(text) {
                Ok(decoded) => Ok(Text::Owned(decoded.into_bytes())),
                Err(_) => Err(RenderError::Unfit),
            },
            [b'{' | b'[', ..] => Err(RenderError::Unfit),
            _ => Ok(Text::Plain(text)),
        }
    }

    /// Whether there is no text.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Plain(text) => text.is_empty(),
            Self::Owned(text) => text.is_empty(),
            Self::Coded { raw, .. } => raw.is_empty(),
            Self::Small { len, .. } => *len == 0,
        }
    }

    /// Whether this byte stands in it, decoded.
    pub(super) fn has(&self, wanted: u8) -> bool {
        self.bytes().any(|byte| byte == wanted)
    }

    /// The bytes, decoded.
    fn bytes(&self) -> Decoded<'_> {
        match self {
            Self::Plain(text) => Decoded { raw: text, coded: false, plus: false },
            Self::Owned(text) => Decoded { raw: text, coded: false, plus: false },
            Self::Coded { raw, plus } => Decoded { raw, coded: true, plus: *plus },
            Self::Small { text, len } => Decoded { raw: &text[..*len], coded: false, plus: false },
        }
    }
}

struct Small {
    text: [u8; Text::SMALL_BYTES],
    len: usize,
}

impl Write for Small {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.text.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// Bytes behind percent-encoding. A `%` that is not followed by two hexadecimal digits is itself.
#[derive(Clone)]
struct Decoded<'a> {
    raw: &'a [u8],
    coded: bool,
    plus: bool,
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (first, behind) = self.raw.split_first()?;
        self.raw = behind;
        if !self.coded {
            return Some(*first);
        }
        match (*first, behind) {
            (b'%', [high, low, behind @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    self.raw = behind;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            (b'+', _) if self.plus => Some(b' '),
            (byte, _) => Some(byte),
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

/// The raw value of the first pair of `query` whose decoded name is `name`; empty for a name alone.
pub(super) fn pair<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query_pairs(query, name).next().map(|pair| pair.get(cut(pair) + 1..).unwrap_or(&[]))
}

/// The pairs of a raw `query` (`name=value`, as received) whose decoded name is `name`.
pub fn query_pairs<'q>(query: &'q [u8], name: &[u8]) -> impl Iterator<Item = &'q [u8]> {
    query.split(|byte| *byte == b'&').filter(move |pair| {
        let decoded = Decoded { raw: &pair[..cut(pair)], coded: true, plus: true };
        decoded.eq(name.iter().copied()) && !pair.is_empty()
    })
}

/// Where the name of a pair ends.
fn cut(pair: &[u8]) -> usize {
    pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len())
}

/// Watches the path of a target for dot segments that a value had a hand in (RFC 3986 §3.3), in every
/// spelling that some origin resolves: `%2e`, a backslash for a slash, parameters behind `;`.
#[derive(Default)]
pub(super) struct Dots {
    dots: u32,
    other: bool,
    parameters: bool,
    by_value: bool,
    query: bool,
}

impl Dots {
    /// Literal text of a template comes next.
    pub(super) fn literal(&mut self, text: &[u8], kind: TemplateKind) -> Result<(), RenderError> {
        if !matches!(kind, TemplateKind::Target | TemplateKind::Location) || self.query {
            return Ok(());
        }
        for byte in text {
            if *byte == b'?' {
                self.end()?;
                self.query = true;
                return Ok(());
            }
            self.byte(*byte)?;
        }
        Ok(())
    }

    /// The escaped text of a default comes next.
    pub(super) fn value(&mut self, text: &[u8]) -> Result<(), RenderError> {
        let mut decoded = Decoded { raw: text, coded: true, plus: false };
        decoded.try_for_each(|byte| self.value_byte(byte))
    }

    /// A byte of a value, decoded, comes next.
    fn value_byte(&mut self, byte: u8) -> Result<(), RenderError> {
        self.by_value = true;
        self.byte(byte)?;
        // A slash ends the segment, and the next one begins inside the value.
        self.by_value = true;
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Result<(), RenderError> {
        match byte {
            b'/' | b'\\' => self.end()?,
            b';' => self.parameters = true,
            _ if self.parameters => {}
            b'.' => self.dots += 1,
            _ => self.other = true,
        }
        Ok(())
    }

    /// The segment is over.
    pub(super) fn end(&mut self) -> Result<(), RenderError> {
        let dot_segment = self.by_value && !self.other && (1..=2).contains(&self.dots);
        *self = Self { query: self.query, ..Self::default() };
        if dot_segment { Err(RenderError::Unfit) } else { Ok(()) }
    }
}

/// Gathers escaped bytes so that the sink is asked seldom.
struct Chunk<'s, S: Sink> {
    sink: &'s mut S,
    text: [u8; 96],
    len: usize,
}

impl<'s, S: Sink> Chunk<'s, S> {
    fn new(sink: &'s mut S) -> Self {
        Self { sink, text: [0; 96], len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RenderError> {
        debug_assert!(bytes.len() <= self.text.len());
        if self.len + bytes.len() > self.text.len() {
            self.flush()?;
        }
        self.text[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    fn put_encoded(&mut self, byte: u8) -> Result<(), RenderError> {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            return self.put(&[byte]);
        }
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        self.put(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
    }

    fn flush(&mut self) -> Result<(), RenderError> {
        let done = self.sink.put(&self.text[..self.len]);
        self.len = 0;
        if done { Ok(()) } else { Err(RenderError::Full) }
    }
}

/// One path segment.
pub(super) fn segment<S: Sink>(
    text: &Text<'_>,
    dots: &mut Dots,
    out: &mut S,
) -> Result<(), RenderError> {
    let mut chunk = Chunk::new(out);
    for byte in text.bytes() {
        if byte.is_ascii_control() {
            return Err(RenderError::Unfit);
        }
        // A slash inside the value is encoded and ends no segment here, but some origins decode first.
        dots.value_byte(byte)?;
        chunk.put_encoded(byte)?;
    }
    chunk.flush()
}

/// The rest of a path, slashes and encoding as received. It never begins with a slash: behind the
/// template's own that would be `//host`, which a client takes for another site.
pub(super) fn rest<S: Sink>(
    text: &Text<'_>,
    dots: &mut Dots,
    out: &mut S,
) -> Result<(), RenderError> {
    let Text::Coded { raw, .. } = text else {
        return segment(text, dots, out);
    };
    let fit = |byte: &u8| (0x21..0x7f).contains(byte) && !b"?#".contains(byte);
    let outside = matches!(raw.first(), Some(b'/' | b'\\'));
    if outside || !raw.iter().all(fit) {
        return Err(RenderError::Unfit);
    }
    for byte in text.bytes() {
        if byte.is_ascii_control() {
            return Err(RenderError::Unfit);
        }
        dots.value_byte(byte)?;
    }
    put(raw, out)
}

/// A name or a value in a query.
pub(super) fn query<S: Sink>(text: &Text<'_>, out: &mut S) -> Result<(), RenderError> {
    let mut chunk = Chunk::new(out);
    text.bytes().try_for_each(|byte| chunk.put_encoded(byte))?;
    chunk.flush()
}

/// Part of a field value.
pub(super) fn field<S: Sink>(text: &Text<'_>, out: &mut S) -> Result<(), RenderError> {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(RenderError::Unfit);
    }
    plain(text, out)
}

/// As it is.
pub(super) fn plain<S: Sink>(text: &Text<'_>, out: &mut S) -> Result<(), RenderError> {
    let bytes = text.bytes();
    if !bytes.coded {
        return put(bytes.raw, out);
    }
    let mut chunk = Chunk::new(out);
    for byte in bytes {
        chunk.put(&[byte])?;
    }
    chunk.flush()
}

/// Inside a JSON string.
pub(super) fn json_text<S: Sink>(text: &Text<'_>, out: &mut S) -> Result<(), RenderError> {
    let quoted = quoted(text)?;
    put(&quoted.as_bytes()[1..quoted.len() - 1], out)
}

/// A JSON string.
pub(super) fn json_string<S: Sink>(text: &Text<'_>, out: &mut S) -> Result<(), RenderError> {
    put(quoted(text)?.as_bytes(), out)
}

/// A claim as the JSON value it is.
pub(super) fn json_claim<S: Sink>(claim: &Value, out: &mut S) -> Result<(), RenderError> {
    put(claim.to_string().as_bytes(), out)
}

/// JSON that stays what it is, to the byte.
pub(super) fn json_as_it_is<S: Sink>(text: &[u8], out: &mut S) -> Result<(), RenderError> {
    put(text, out)
}

/// The text as a JSON string with its quotes; only UTF-8 has one (RFC 8259 §8.1).
fn quoted(text: &Text<'_>) -> Result<String, RenderError> {
    let bytes: Vec<u8> = text.bytes().collect();
    let text = String::from_utf8(bytes).map_err(|_| RenderError::Unfit)?;
    Ok(Value::String(text).to_string())
}

fn put<S: Sink>(bytes: &[u8], out: &mut S) -> Result<(), RenderError> {
    if out.put(bytes) { Ok(()) } else { Err(RenderError::Full) }
}

/// The default of a placeholder, escaped once, when it is compiled.
pub(super) fn default(text: &str, position: Position) -> Result<Box<[u8]>, RenderError> {
    let (mut out, value) = (Vec::new(), Text::Plain(text.as_bytes()));
    match position {
        Position::Path => {
            let mut dots = Dots::default();
            segment(&value, &mut dots, &mut out)?;
            dots.end()?;
        }
        Position::Query => query(&value, &mut out)?,
        Position::Field => field(&value, &mut out)?,
        Position::Json => json_text(&value, &mut out)?,
        // Written by the operator as JSON, or as the text that a JSON string holds.
        Position::JsonValue if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            out.extend_from_slice(text.as_bytes());
        }
        Position::JsonValue => json_string(&value, &mut out)?,
        Position::Plain => plain(&value, &mut out)?,
    }
    Ok(out.into())
}
