//! Chunked transfer coding, both ways (RFC 9112 §7.1), trailers included.
//!
//! The decoder compacts the data of a piece of the body in place; the encoder turns a buffer into one
//! chunk in place. The decoder must never guess: lines end with CRLF only, sizes are hex digits only,
//! data is followed by exactly CRLF. The encoder must never write a zero-length chunk except the last,
//! for that would end the body early. Chunk extensions are dropped (RFC 9112 §7.1.1 lets us) and bounded.

use crate::base::buffer::Buf;
use crate::base::limits::{
    BODY_BYTES_CEILING, CHUNK_EXCESS_BYTES_MAX, CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX,
    TRAILER_BYTES_MAX,
};
use crate::http::chars;
use crate::http::names::{FieldName, FieldSet};

/// Why a chunked body is refused. The connection it came on must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// A size that is not hex digits, or a line not ended by CRLF.
    SizeLine,
    /// A size with more than sixteen digits or beyond 2^63 - 1.
    SizeTooLarge,
    /// A byte in a chunk extension that may not be there.
    Extension,
    /// More extension bytes in one line than `CHUNK_EXTENSION_BYTES_MAX`.
    ExtensionTooLong,
    /// More framing than data over the body, beyond `CHUNK_EXCESS_BYTES_MAX`.
    TooMuchFraming,
    /// Chunk data that CRLF does not follow.
    DataEnd,
    /// A malformed line in the trailer section, or one that poses as a framing field.
    Trailer,
    /// A trailer section longer than `TRAILER_BYTES_MAX`.
    TrailerTooLong,
}

impl ChunkError {
    /// A short text for logs.
    pub fn text(self) -> &'static str {
        match self {
            ChunkError::SizeLine => "malformed chunk size line",
            ChunkError::SizeTooLarge => "chunk size too large",
            ChunkError::Extension => "byte not allowed in a chunk extension",
            ChunkError::ExtensionTooLong => "chunk extension too long",
            ChunkError::TooMuchFraming => "more chunk framing than data",
            ChunkError::DataEnd => "chunk data not followed by CRLF",
            ChunkError::Trailer => "malformed trailer",
            ChunkError::TrailerTooLong => "trailer section too long",
        }
    }

    /// The same in one word, for the access log.
    pub fn word(self) -> &'static str {
        match self {
            ChunkError::SizeLine => "chunk_size",
            ChunkError::SizeTooLarge => "chunk_size_too_large",
            ChunkError::Extension => "chunk_extension",
            ChunkError::ExtensionTooLong => "chunk_extension_too_long",
            ChunkError::TooMuchFraming => "chunk_framing",
            ChunkError::DataEnd => "chunk_data_end",
            ChunkError::Trailer => "trailer",
            ChunkError::TrailerTooLong => "trailer_too_long",
        }
    }
}

/// What a piece of a chunked body held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunked {
    /// Bytes of the piece that belong to the body; all of them unless `done`.
    pub consumed: usize,
    /// Bytes of data, now at the front of the piece.
    pub data: usize,
    /// Whether the body has ended; what follows `consumed` is the next message.
    pub done: bool,
}

/// Reads one chunked body after another, in pieces of any size.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Data bytes left of the current chunk; while its size line is read, the size so far.
    left: u64,
    /// Digits of the current size.
    digits: u32,
    /// Bytes of extension on the current line.
    extension_bytes: usize,
    /// Framing bytes beyond what the data so far excuses.
    excess_bytes: i64,
    /// Bytes of the trailer section so far.
    trailer_bytes: usize,
    /// Complete trailer lines that may be passed on, then the line being read.
    lines: Vec<u8>,
    /// Length of the complete lines in `lines`.
    lines_end: usize,
}

/// What the next byte is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// Whitespace before an extension; only `;` may follow it.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    TrailerLf,
    Done,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a body. Allocates nothing until a trailer comes.
    pub fn new() -> Self {
        Self {
            state: State::Size,
            left: 0,
            digits: 0,
            extension_bytes: 0,
            excess_bytes: 0,
            trailer_bytes: 0,
            lines: Vec::new(),
            lines_end: 0,
        }
    }

    /// Goes back to the start of a body and keeps the room for trailers.
    pub fn reset(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        *self = Self { lines, ..Self::new() };
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer lines received, whole with their CRLF; those that must not be trailers (framing,
    /// routing, authentication, response control; RFC 9110 §6.5.1) are left out.
    pub fn trailers(&self) -> &[u8] {
        &self.lines[..self.lines_end]
    }

    /// Decodes a piece of the body in place.
    ///
    /// # Errors
    /// The body is malformed or abusive; the decoder must not be used again before `reset`.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Chunked, ChunkError> {
        let (mut at, mut data) = (0, 0);
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let available = (bytes.len() - at) as u64;
                // Bounded by the length of the piece, so it fits.
                let n = self.left.min(available) as usize;
                if at != data {
                    bytes.copy_within(at..at + n, data);
                }
                (at, data) = (at + n, data + n);
                self.left -= n as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.framing_byte(bytes[at])?;
            at += 1;
        }
        Ok(Chunked { consumed: at, data, done: self.is_done() })
    }

    /// Takes one byte that is not data.
    fn framing_byte(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.state = match self.state {
            State::Size => self.size_byte(byte)?,
            State::Space | State::Extension => self.extension_byte(byte)?,
            State::SizeLf if byte == b'\n' => self.size_line_ended()?,
            State::SizeLf => return Err(ChunkError::SizeLine),
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size,
            State::DataCr | State::DataLf => return Err(ChunkError::DataEnd),
            State::Trailer => self.trailer_byte(byte)?,
            State::TrailerLf if byte == b'\n' => self.trailer_line_ended()?,
            State::TrailerLf => return Err(ChunkError::Trailer),
            State::Data | State::Done => self.state,
        };
        Ok(())
    }

    fn size_byte(&mut self, byte: u8) -> Result<State, ChunkError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.digits += 1;
            // Sixteen digits fill 64 bits exactly, so the shift loses nothing.
            if self.digits > CHUNK_SIZE_DIGITS_MAX {
                return Err(ChunkError::SizeTooLarge);
            }
            self.left = self.left << 4 | u64::from(digit);
            return Ok(State::Size);
        }
        match byte {
            _ if self.digits == 0 => Err(ChunkError::SizeLine),
            b'\r' => Ok(State::SizeLf),
            b';' => Ok(State::Extension),
            b' ' | b'\t' => Ok(State::Space),
            _ => Err(ChunkError::SizeLine),
        }
    }

    fn extension_byte(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(ChunkError::ExtensionTooLong);
        }
        match (self.state, byte) {
            (State::Space, b' ' | b'\t') => Ok(State::Space),
            (State::Space, b';') => Ok(State::Extension),
            (State::Space, _) => Err(ChunkError::SizeLine),
            (_, b'\r') => Ok(State::SizeLf),
            // obs-text may stand in a quoted value (RFC 9110 §5.6.4); no extension goes any further.
            (_, b'\t' | 0x20..=0x7e | 0x80..) => Ok(State::Extension),
            _ => Err(ChunkError::Extension),
        }
    }

    fn size_line_ended(&mut self) -> Result<State, ChunkError> {
        if self.left > BODY_BYTES_CEILING {
            return Err(ChunkError::SizeTooLarge);
        }
        let framing = i64::from(self.digits) + self.extension_bytes as i64 + 4;
        // A chunk of n bytes excuses 16 + 2n bytes of framing.
        let excused = 16 + self.left.min(1 << 32) as i64 * 2;
        self.excess_bytes = (self.excess_bytes + framing - excused).max(0);
        if self.excess_bytes > CHUNK_EXCESS_BYTES_MAX {
            return Err(ChunkError::TooMuchFraming);
        }
        (self.digits, self.extension_bytes) = (0, 0);
        Ok(if self.left == 0 { State::Trailer } else { State::Data })
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(ChunkError::TrailerTooLong);
        }
        match byte {
            b'\r' => Ok(State::TrailerLf),
            b'\t' | 0x20..=0x7e | 0x80.. => {
                self.lines.push(byte);
                Ok(State::Trailer)
            }
            _ => Err(ChunkError::Trailer),
        }
    }

    fn trailer_line_ended(&mut self) -> Result<State, ChunkError> {
        let line = &self.lines[self.lines_end..];
        if line.is_empty() {
            return Ok(State::Done);
        }
        if may_pass(line)? {
            self.lines.extend_from_slice(b"\r\n");
            self.lines_end = self.lines.len();
        } else {
            self.lines.truncate(self.lines_end);
        }
        Ok(State::Trailer)
    }
}

/// Whether a well-formed trailer line may be passed on (RFC 9110 §6.5.1).
fn may_pass(line: &[u8]) -> Result<bool, ChunkError> {
    let colon = memchr::memchr(b':', line).ok_or(ChunkError::Trailer)?;
    let name = &line[..colon];
    if !chars::is_token(name) {
        return Err(ChunkError::Trailer);
    }
    if !chars::all(name, chars::PLAIN) {
        let (id, posed_as) = FieldName::disguised(name);
        let framing = FieldSet::of(&[FieldName::ContentLength, FieldName::TransferEncoding]);
        return if framing.has(posed_as) {
            Err(ChunkError::Trailer)
        } else {
            Ok(id == FieldName::Other)
        };
    }
    Ok(match FieldName::of(name) {
        FieldName::Etag | FieldName::ProxyStatus => true,
        FieldName::Other => !NEVER_TRAILERS.iter().any(|never| name.eq_ignore_ascii_case(never)),
        _ => false,
    })
}

/// Names that must not be trailers besides the ones in `names.rs`: controls, conditionals, response
/// control data and the description of the content (RFC 9110 §6.5.1).
const NEVER_TRAILERS: [&[u8]; 12] = [
    b"content-range",
    b"expires",
    b"if-match",
    b"if-range",
    b"if-unmodified-since",
    b"max-forwards",
    b"origin",
    b"pragma",
    b"set-cookie2",
    b"vary",
    b"warning",
    b"proxy-authentication-info",
];

/// Room that [`frame`] needs in front of the data: eight hex digits and CRLF. Unit: bytes.
pub const FRAME_HEADROOM: usize = 10;
/// Room that [`frame`] needs behind the data: CRLF. Unit: bytes.
pub const FRAME_TAILROOM: usize = 2;
/// The last chunk with an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Turns the data of `buf` into one chunk in place. `buf` has [`FRAME_HEADROOM`] in front of the data
/// (`clear_with_headroom`) and [`FRAME_TAILROOM`] behind it; `false`, and nothing changed, if not. No data
/// makes no chunk: an empty one would end the body.
#[must_use]
pub fn frame(buf: &mut Buf) -> bool {
    if buf.is_empty() {
        return true;
    }
    let mut line = [0; FRAME_HEADROOM];
    let mut at = FRAME_HEADROOM - 2;
    line[at..].copy_from_slice(b"\r\n");
    let mut size = buf.len();
    while size > 0 && at > 0 {
        at -= 1;
        line[at] = b"0123456789abcdef"[size & 15];
        size >>= 4;
    }
    buf.spare() >= FRAME_TAILROOM && buf.prepend(&line[at..]) && buf.put(b"\r\n")
}

/// Appends the last chunk with `trailers` (whole lines, as [`Decoder::trailers`] gives them); `false`, and
/// nothing appended, when it does not fit.
#[must_use]
pub fn finish(out: &mut Buf, trailers: &[u8]) -> bool {
    let fits = out.spare() >= LAST_CHUNK.len() + trailers.len();
    fits && out.put(b"0\r\n") && out.put(trailers) && out.put(b"\r\n")
}

#[cfg(test)]
mod tests;
