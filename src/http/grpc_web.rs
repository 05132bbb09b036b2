//! gRPC-Web as bytes: which of its forms a request speaks, base64 undone and made, the frame of trailers.
//!
//! The form of it that browsers can speak: the status that gRPC has in trailers stands in the body, behind the last
//! message, in a frame of its own (grpc/doc/PROTOCOL-WEB.md); its fields are written as in RFC 9112 §5. Bodies may
//! come and go in base64 (RFC 4648 §4), of which several padded texts may stand one behind the other. Messages are
//! never looked at, and what is no base64 is never guessed at.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::base::buffer::Buf;

/// How the body of a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Binary,
    /// In base64.
    Text,
}

/// A call in gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The form of the request.
    pub request: Form,
    /// The form that the answer is to have.
    pub answer: Form,
}

/// The media type of gRPC, and what all of its kind begin with.
const GRPC: &[u8] = b"application/grpc";
const WEB: &[u8] = b"application/grpc-web";
const WEB_TEXT: &[u8] = b"application/grpc-web-text";

impl Call {
    /// What a request with this Content-Type, and this Accept, is; `None` when it is no gRPC-Web.
    pub fn of(kind: &[u8], accept: Option<&[u8]>) -> Option<Self> {
        let request = form(kind)?.0;
        // An answer is read by the library that wrote the request: only the type that is named first is looked at.
        let answer = accept.and_then(|accept| form(first(accept))).map_or(request, |it| it.0);
        Some(Self { request, answer })
    }

    /// Appends the media type of the answer that an origin's `kind` becomes; `false` when that is not gRPC.
    pub fn put_answer_kind(self, kind: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(suffix) = suffix(kind, GRPC) else { return false };
        out.extend_from_slice(self.answer.media_type().as_bytes());
        // Without a word on it a message is one of protobuf, and some libraries insist on reading so.
        out.extend_from_slice(if suffix.is_empty() { b"+proto" } else { suffix });
        true
    }
}

impl Form {
    /// The media type, without the format of the messages.
    pub fn media_type(self) -> &'static str {
        match self {
            Form::Binary => "application/grpc-web",
            Form::Text => "application/grpc-web-text",
        }
    }

    /// The media type of an answer without a message.
    pub fn empty_answer(self) -> &'static str {
        match self {
            Form::Binary => "application/grpc-web+proto",
            Form::Text => "application/grpc-web-text+proto",
        }
    }
}

/// Appends the media type of gRPC for a request's `kind`.
pub fn put_request_kind(kind: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(GRPC);
    out.extend_from_slice(form(kind).map_or(b"", |(_, suffix)| suffix));
}

/// The form of a media type of gRPC-Web, and its suffix with the plus sign.
fn form(kind: &[u8]) -> Option<(Form, &[u8])> {
    let text = suffix(kind, WEB_TEXT).map(|suffix| (Form::Text, suffix));
    text.or_else(|| suffix(kind, WEB).map(|suffix| (Form::Binary, suffix)))
}

/// What stands behind `base` in a media type, up to its parameters: nothing, or a plus sign and a word.
fn suffix<'k>(kind: &'k [u8], base: &[u8]) -> Option<&'k [u8]> {
    let end = kind.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t'));
    let kind = &kind[..end.unwrap_or(kind.len())];
    let (front, behind) = kind.split_at_checked(base.len())?;
    let fits = front.eq_ignore_ascii_case(base) && matches!(behind, [] | [b'+', _, ..]);
    fits.then_some(behind)
}

/// The first of a list.
fn first(list: &[u8]) -> &[u8] {
    list.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii()
}

/// What is in no base64 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBase64;

/// Undoes base64 piece by piece, where it lies: a byte is written as soon as its last bit is here, so that never more is
/// written than was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    /// Bits that make no byte yet.
    bits: u8,
    /// Characters of the group of four that has begun.
    at: u8,
    /// How many of them are padding.
    pads: u8,
}

/// The value of each character; above 63: none.
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [0xff; 256];
    let mut at = 0;
    while at < alphabet.len() {
        table[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    table
}

impl Decoder {
    /// Undoes a piece; how many bytes at the front of it are data now.
    ///
    /// # Errors
    /// It is no base64.
    pub fn decode(&mut self, piece: &mut [u8]) -> Result<usize, NoBase64> {
        let mut written = 0;
        for at in 0..piece.len() {
            if let Some(byte) = self.take(piece[at])? {
                piece[written] = byte;
                written += 1;
            }
        }
        Ok(written)
    }

    /// Whether the text may end here.
    pub fn is_whole(&self) -> bool {
        self.at == 0
    }

    fn take(&mut self, character: u8) -> Result<Option<u8>, NoBase64> {
        if character == b'=' {
            // At most two of them, at the end of a group, behind bits that are all zero.
            if self.at < 2 || self.bits != 0 {
                return Err(NoBase64);
            }
            self.pads += 1;
            self.step();
            return Ok(None);
        }
        let value = VALUES[usize::from(character)];
        if value > 63 || self.pads > 0 {
            return Err(NoBase64);
        }
        let (byte, bits) = match self.at {
            0 => (None, value << 2),
            1 => (Some(self.bits | value >> 4), value << 4),
            2 => (Some(self.bits | value >> 2), value << 6),
            _ => (Some(self.bits | value), 0),
        };
        self.bits = bits;
        self.step();
        Ok(byte)
    }

    fn step(&mut self) {
        self.at = (self.at + 1) % 4;
        if self.at == 0 {
            *self = Self::default();
        }
    }
}

/// How much of `data` fits into `room` bytes as one padded text; what is no group of three stands at its end only.
pub fn encodable(data: usize, room: usize) -> usize {
    data.min(room / 4 * 3)
}

/// Appends `data` as one padded text; it must fit ([`encodable`]).
pub fn encode(data: &[u8], out: &mut Buf) {
    let written = STANDARD.encode_slice(data, out.spare_mut());
    debug_assert!(written.is_ok(), "cut to the room there is");
    out.fill(written.unwrap_or(0));
}

/// The frame of trailers, which are given as whole lines: a flag, the length, lines with names in lower case.
pub fn trailer_frame(lines: &[u8]) -> Vec<u8> {
    const TRAILERS: u8 = 0x80;
    const HEAD: usize = 5;
    let mut frame = Vec::with_capacity(HEAD + lines.len() + 64);
    frame.extend_from_slice(&[TRAILERS, 0, 0, 0, 0]);
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        frame.extend(name.iter().map(u8::to_ascii_lowercase));
        for piece in [b": ", value, b"\r\n"] {
            frame.extend_from_slice(piece);
        }
    }
    // Trailers are bounded far below what a length can say (`TRAILER_BYTES_MAX`).
    let bytes = u32::try_from(frame.len() - HEAD).unwrap_or(u32::MAX);
    frame[1..HEAD].copy_from_slice(&bytes.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::BufferPool;
    use proptest::prelude::*;

    fn kind_of(kind: &str, accept: Option<&str>) -> Option<Call> {
        Call::of(kind.as_bytes(), accept.map(str::as_bytes))
    }

    #[test]
    fn a_call_is_known_by_its_type() {
        use Form::{Binary, Text};
        let known = [
            ("application/grpc-web", None, Binary, Binary),
            ("application/grpc-web+proto", None, Binary, Binary),
            ("application/grpc-web+json; charset=utf-8", None, Binary, Binary),
            ("application/grpc-web-text", None, Text, Text),
            ("Application/gRPC-Web-Text+proto", None, Text, Text),
            ("application/grpc-web-text", Some("*/*"), Text, Text),
            ("application/grpc-web-text+proto", Some("application/grpc-web+proto"), Text, Binary),
            ("application/grpc-web", Some("application/grpc-web-text, */*"), Binary, Text),
        ];
        for (kind, accept, request, answer) in known {
            assert_eq!(kind_of(kind, accept), Some(Call { request, answer }), "{kind} {accept:?}");
        }
        let others = [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc-webb",
            "application/grpc-web-texts",
            "application/grpc-web+",
            "text/plain",
            "",
        ];
        for kind in others {
            assert_eq!(kind_of(kind, Some("application/grpc-web")), None, "{kind}");
        }
    }

    #[test]
    fn types_keep_the_format_of_their_messages() {
        let asked = |kind: &str| {
            let mut out = Vec::new();
            put_request_kind(kind.as_bytes(), &mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(asked("application/grpc-web"), "application/grpc");
        assert_eq!(asked("application/grpc-web-text+proto;a=b"), "application/grpc+proto");
        assert_eq!(asked("application/grpc-web+json"), "application/grpc+json");
        let answered = |answer, kind: &str| {
            let mut out = Vec::new();
            let is =
                Call { request: Form::Binary, answer }.put_answer_kind(kind.as_bytes(), &mut out);
            is.then(|| String::from_utf8(out).expect("text"))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(answered(Form::Binary, "application/grpc"), text("application/grpc-web+proto"));
        assert_eq!(
            answered(Form::Text, "application/grpc"),
            text("application/grpc-web-text+proto")
        );
        assert_eq!(
            answered(Form::Text, "application/grpc+json"),
            text("application/grpc-web-text+json")
        );
        for kind in ["text/html", "application/grpc-web", "application/grpcs"] {
            assert_eq!(answered(Form::Binary, kind), None, "{kind}");
        }
    }

    #[test]
    fn a_frame_of_trailers_has_their_lines_in_lower_case() {
        let frame = trailer_frame(b"Grpc-Status:0\r\ngrpc-message:  all well \r\nx-bin: aGk=\r\n");
        let lines = b"grpc-status: 0\r\ngrpc-message: all well\r\nx-bin: aGk=\r\n";
        assert_eq!(frame[..5], [0x80, 0, 0, 0, lines.len() as u8]);
        assert_eq!(frame[5..], lines[..]);
        assert_eq!(trailer_frame(b""), [0x80, 0, 0, 0, 0]);
    }

    /// What the pieces of `text`, each of `size` bytes, are.
    fn decoded(text: &[u8], size: usize) -> Result<Vec<u8>, NoBase64> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for piece in text.chunks(size.max(1)) {
            let mut piece = piece.to_vec();
            let bytes = decoder.decode(&mut piece)?;
            out.extend_from_slice(&piece[..bytes]);
        }
        if decoder.is_whole() { Ok(out) } else { Err(NoBase64) }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        let bad = [
            "A", "AA", "AAA", "AA=", "A===", "====", "=", "AA==A", "AA=A", "AB==", "AAB=", "AA-_",
            "AA A", "AAA\n",
        ];
        for text in bad {
            assert_eq!(decoded(text.as_bytes(), 1), Err(NoBase64), "{text}");
        }
        assert_eq!(decoded(b"", 1), Ok(Vec::new()));
        assert_eq!(decoded(b"aGVsbG8=IHdvcmxkaGkhYQ==", 5), Ok(b"hello worldhi!a".to_vec()));
    }

    proptest! {
        #[test]
        fn padded_texts_one_behind_the_other_are_read_in_pieces_of_any_size(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            size in 1usize..50,
        ) {
            let text: String = parts.iter().map(|part| STANDARD.encode(part)).collect();
            prop_assert_eq!(decoded(text.as_bytes(), size), Ok(parts.concat()));
        }

        #[test]
        fn one_text_is_judged_as_another_decoder_judges_it(text in "[A-D/+=0]{0,12}", size in 1usize..5) {
            let ours = decoded(text.as_bytes(), size);
            let theirs = STANDARD.decode(&text);
            if let Ok(theirs) = theirs {
                prop_assert_eq!(ours, Ok(theirs));
            } else if let Ok(ours) = ours {
                // Several texts: then each of them is one.
                prop_assert!(text[..text.len() - 4].contains('='));
                prop_assert!(ours.len() <= text.len() / 4 * 3);
            }
        }

        #[test]
        fn what_is_encoded_slice_by_slice_is_the_same_again(data in prop::collection::vec(any::<u8>(), 0..300), room in 4usize..64) {
            let pool = BufferPool::new(1);
            let mut text = pool.take().expect("a buffer");
            let mut rest = &data[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(encodable(rest.len(), room));
                prop_assert!(!now.is_empty());
                encode(now, &mut text);
                rest = later;
            }
            prop_assert_eq!(decoded(text.data(), 7), Ok(data));
        }
    }
}
