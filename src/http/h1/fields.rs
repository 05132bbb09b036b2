//! Field lines, and what they say about the message as a whole (RFC 9112 §5, RFC 9110 §5).
//!
//! Each line is found, checked and recorded in one pass. A line is never unfolded, trimmed of odd bytes,
//! or merged: a line that is not exactly `name ":" OWS value OWS CRLF` is refused.

use crate::base::limits::CONNECTION_OPTIONS_MAX;
use crate::base::span::Span;
use crate::http::chars;
use crate::http::framing::{self, Framing, FramingError};
use crate::http::h1::parse::{HeadError, HeadLimits, Why};
use crate::http::headers::{Field, Fields};
use crate::http::names::FieldName;

/// What the field lines of a head say that concerns framing, routing or the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub(super) framing: Framing,
    pub(super) host: Option<Span>,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) continue_expected: bool,
    pub(super) unknown_expectation: bool,
    connection_options: usize,
}

/// Whose head it is: a few rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Origin,
}

/// Reads field lines from `at` up to and with the empty line into `fields`. Returns the offset behind
/// it, or `None` when it has not arrived.
pub(super) fn read(
    raw: &[u8],
    mut at: usize,
    sender: Sender,
    limits: &HeadLimits,
    fields: &mut Fields,
    marks: &mut Marks,
) -> Result<Option<usize>, HeadError> {
    let fields_max = limits.fields_ceiling();
    loop {
        match raw.get(at..) {
            None | Some([] | [b'\r']) => return Ok(None),
            Some([b'\r', b'\n', ..]) => return Ok(Some(at + 2)),
            Some(_) if fields.len() >= fields_max => return Err(HeadError::TooManyFields),
            Some(_) => {}
        }
        let Some((field, next)) = line(raw, at, sender)? else { return Ok(None) };
        marks.note(field, raw, sender)?;
        fields.push(field);
        at = next;
    }
}

/// One field line at `at` and the offset behind it; `None` when it is not whole.
#[inline]
fn line(raw: &[u8], at: usize, sender: Sender) -> Result<Option<(Field, usize)>, HeadError> {
    let Some((colon, known)) = name_end(raw, at)? else { return Ok(None) };
    let mut start = colon + 1;
    while let Some(b' ' | b'\t') = raw.get(start) {
        start += 1;
    }
    let Some(end) = value_end(raw, start)? else { return Ok(None) };
    let mut trimmed = end;
    while trimmed > start && matches!(raw[trimmed - 1], b' ' | b'\t') {
        trimmed -= 1;
    }
    let name = Span::new(at, colon);
    let id = match known {
        Some(id) => id,
        None => odd_name(name.of(raw), sender)?,
    };
    Ok(Some((Field { id, name, value: Span::new(start, trimmed) }, end + 2)))
}

/// Where the name that begins at `at` ends, and whose it is: `None` inside for one with odd bytes. `None` when the
/// colon has not arrived. A known name is right as it stands; any other is looked at byte by byte.
#[inline]
fn name_end(raw: &[u8], at: usize) -> Result<Option<(usize, Option<FieldName>)>, HeadError> {
    let rest = &raw[at..];
    let looked_up = chars::colon(rest).map(|length| (length, FieldName::of(&rest[..length])));
    if let Some((length, id)) = looked_up.filter(|(_, id)| *id != FieldName::Other) {
        return Ok(Some((at + length, Some(id))));
    }
    let mut classes = chars::PLAIN;
    let mut length = 0;
    for &byte in rest {
        let class = chars::class(byte);
        if class & chars::TCHAR == 0 {
            break;
        }
        classes &= class;
        length += 1;
    }
    let colon = at + length;
    match raw.get(colon) {
        None => Ok(None),
        Some(b':') if colon > at => {
            let of = || looked_up.map_or_else(|| FieldName::of(&rest[..length]), |(_, id)| id);
            Ok(Some((colon, (classes != 0).then(of))))
        }
        Some(&byte) => Err(HeadError::Malformed(bad_name(byte, colon == at))),
    }
}

/// Where the CR of the line's CRLF stands; `None` when the line is not whole.
#[inline]
pub(super) fn value_end(raw: &[u8], from: usize) -> Result<Option<usize>, HeadError> {
    let mut at = from;
    while let Some(found) = chars::control(&raw[at..]) {
        let here = at + found;
        match (raw[here], raw.get(here + 1)) {
            (b'\t', _) => at = here + 1,
            (b'\r', Some(b'\n')) => return Ok(Some(here)),
            (b'\r', None) => return Ok(None),
            (byte, _) => return Err(HeadError::Malformed(Why::control(byte))),
        }
    }
    Ok(None)
}

/// A name with bytes other than letters, digits and `-`: legal, unless it poses as a framing field.
#[cold]
fn odd_name(name: &[u8], sender: Sender) -> Result<FieldName, HeadError> {
    let (id, posed_as) = FieldName::disguised(name);
    let decides = matches!(
        posed_as,
        FieldName::TransferEncoding | FieldName::ContentLength | FieldName::Host
    );
    if decides && sender == Sender::Client {
        return Err(HeadError::Malformed(Why::LookAlikeField));
    }
    Ok(id)
}

#[cold]
fn bad_name(byte: u8, at_start: bool) -> Why {
    match (byte, at_start) {
        (b' ' | b'\t', true) => Why::FoldedLine,
        (b' ' | b'\t', false) => Why::SpaceInName,
        (b':', true) => Why::EmptyName,
        (b'\r', false) => Why::NoColon,
        (b'\r' | b'\n' | 0, _) => Why::control(byte),
        _ => Why::BadName,
    }
}

impl Marks {
    /// Takes note of one field. Errors where it makes the message ambiguous.
    #[inline]
    fn note(&mut self, field: Field, raw: &[u8], sender: Sender) -> Result<(), HeadError> {
        match field.id {
            FieldName::ContentLength
            | FieldName::TransferEncoding
            | FieldName::Host
            | FieldName::Connection
            | FieldName::Expect => self.note_known(field, raw, sender),
            _ => Ok(()),
        }
    }

    fn note_known(&mut self, field: Field, raw: &[u8], sender: Sender) -> Result<(), HeadError> {
        let value = field.value.of(raw);
        match field.id {
            FieldName::ContentLength => {
                let length = framing::content_length(value)?;
                once(&mut self.framing.content_length, length, Why::SeveralContentLengths)
            }
            FieldName::TransferEncoding => {
                if std::mem::replace(&mut self.framing.chunked, true) {
                    return Err(HeadError::Malformed(Why::SeveralTransferEncodings));
                }
                Ok(framing::transfer_encoding(value)?)
            }
            FieldName::Host if sender == Sender::Client => {
                once(&mut self.host, field.value, Why::SeveralHosts)
            }
            FieldName::Connection => self.note_connection(value),
            FieldName::Expect => {
                for expectation in chars::list(value) {
                    let known = expectation.eq_ignore_ascii_case(b"100-continue");
                    self.continue_expected |= known;
                    self.unknown_expectation |= !known;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn note_connection(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for option in chars::list(value) {
            self.connection_options += 1;
            if self.connection_options > CONNECTION_OPTIONS_MAX {
                return Err(HeadError::Malformed(Why::ConnectionOptions));
            }
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
        Ok(())
    }
}

/// Fills the slot, or refuses the second field of its kind.
fn once<T>(slot: &mut Option<T>, value: T, why: Why) -> Result<(), HeadError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadError::Malformed(why)),
    }
}

impl From<FramingError> for HeadError {
    fn from(error: FramingError) -> Self {
        match error {
            FramingError::UnknownCoding => HeadError::NotImplemented,
            FramingError::ContentLength => HeadError::Malformed(Why::ContentLength),
            FramingError::TransferEncoding => HeadError::Malformed(Why::TransferEncoding),
            FramingError::Both => HeadError::Malformed(Why::BothLengths),
            FramingError::OldVersion => HeadError::Malformed(Why::TransferEncodingInOldVersion),
        }
    }
}
