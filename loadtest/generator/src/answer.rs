//! Reading answers of HTTP/1.1 (RFC 9112 sections 4 and 6) piece by piece, and hashing their bodies on the way.
//!
//! Strict where a gateway could do wrong: a body that ends early, a length that is no number, a chunk that does not end
//! with CRLF and bytes behind an answer that nobody asked for are faults of who answered, and counted. Never copies a
//! body; never performs I/O.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

use crate::bounds::{ANSWER_MAX, FIELDS_MAX, HEAD_MAX};

/// What came back, as far as it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub status: u16,
    pub length: u64,
    /// XXH3 of the body, 64 bits.
    pub hash: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    /// One answer is complete; `used` bytes of what was given belonged to it.
    Done {
        seen: Seen,
        used: usize,
        keep_alive: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Exact(u64),
    Chunked(Chunk),
    UntilClose,
}

#[derive(Clone, Copy, Debug)]
enum Chunk {
    /// The length so far, and whether a digit was seen and whether we are behind the digits.
    Size {
        length: u64,
        digits: u8,
        behind: bool,
    },
    Data(u64),
    /// The line end behind data: characters still missing.
    End(u8),
    /// Trailer section: characters of the line so far.
    Trailer(u32),
}

#[derive(Default)]
pub struct Answer {
    head: Vec<u8>,
    body: Option<Body>,
    status: u16,
    length: u64,
    keep_alive: bool,
    hash: BodyHash,
    /// Whether the request was one whose answer has no body whatever its fields say.
    bodiless: bool,
}

/// The hash of a body; one that comes in one piece, as most do, needs no hasher that remembers.
#[derive(Default)]
enum BodyHash {
    #[default]
    Nothing,
    Whole(u64),
    Pieces(Box<XxHash3_64>),
}

impl BodyHash {
    fn take(&mut self, bytes: &[u8], is_whole: bool) {
        match self {
            _ if bytes.is_empty() => {}
            BodyHash::Nothing if is_whole => *self = BodyHash::Whole(XxHash3_64::oneshot(bytes)),
            BodyHash::Pieces(hasher) => hasher.write(bytes),
            _ => {
                let mut hasher = Box::new(XxHash3_64::new());
                hasher.write(bytes);
                *self = BodyHash::Pieces(hasher);
            }
        }
    }

    fn value(&self) -> u64 {
        match self {
            BodyHash::Nothing => XxHash3_64::oneshot(b""),
            BodyHash::Whole(value) => *value,
            BodyHash::Pieces(hasher) => hasher.finish(),
        }
    }
}

impl Answer {
    /// Makes ready for the answer to a request; `head_only` for HEAD.
    pub fn expect(&mut self, head_only: bool) {
        self.head.clear();
        self.body = None;
        self.status = 0;
        self.length = 0;
        self.keep_alive = true;
        self.hash = BodyHash::Nothing;
        self.bodiless = head_only;
    }

    /// Takes bytes that came. After `Done` what is left of them belongs to nobody.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, &'static str> {
        let mut at = 0;
        while self.body.is_none() {
            match self.feed_head(&bytes[at..])? {
                None => return Ok(Progress::More),
                Some(used) => at += used,
            }
        }
        let used = at + self.feed_body(&bytes[at..])?;
        Ok(match self.is_complete() {
            true => Progress::Done { seen: self.seen(), used, keep_alive: self.keep_alive },
            false => Progress::More,
        })
    }

    /// The other side closed: the end of an answer that ends so, or a fault.
    pub fn closed(&mut self) -> Result<Seen, &'static str> {
        match self.body {
            Some(Body::UntilClose) => Ok(self.seen()),
            Some(_) => Err("closed within a body"),
            None if self.head.is_empty() => Err("closed before an answer"),
            None => Err("closed within a head"),
        }
    }

    pub fn has_begun(&self) -> bool {
        self.body.is_some() || !self.head.is_empty()
    }

    fn seen(&self) -> Seen {
        Seen { status: self.status, length: self.length, hash: self.hash.value() }
    }

    /// Bytes of the given ones that ended the head, or None when more are needed. Interim answers (1xx) are skipped.
    fn feed_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let before = self.head.len();
        let room = (HEAD_MAX - before).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(&self.head) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.head.len() < HEAD_MAX => return Ok(None),
            Ok(httparse::Status::Partial) => return Err("a head without end"),
            Err(_) => return Err("no HTTP/1 answer"),
        };
        self.status = head.code.unwrap_or(0);
        let http_1_1 = head.version == Some(1);
        let (body, keep_alive) = framing(head.headers, self.status, self.bodiless, http_1_1)?;
        self.keep_alive = keep_alive;
        // An interim answer is not the answer.
        self.body = (self.status >= 200).then_some(body);
        self.head.clear();
        Ok(Some(length - before))
    }

    fn feed_body(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        while at < bytes.len() && !self.is_complete() {
            at += match self.body {
                Some(Body::Exact(left)) => self.data(&bytes[at..], left, Body::Exact),
                Some(Body::Chunked(Chunk::Data(left))) => self.data(&bytes[at..], left, |left| {
                    Body::Chunked(if left == 0 { Chunk::End(2) } else { Chunk::Data(left) })
                }),
                Some(Body::Chunked(chunk)) => {
                    self.body = Some(Body::Chunked(between_chunks(chunk, bytes[at])?));
                    1
                }
                Some(Body::UntilClose) => self.data(&bytes[at..], u64::MAX, |_| Body::UntilClose),
                None => 0,
            };
            if self.length > ANSWER_MAX {
                return Err("a body without end");
            }
        }
        Ok(at)
    }

    fn data(&mut self, bytes: &[u8], left: u64, then: impl FnOnce(u64) -> Body) -> usize {
        let taken = left.min(bytes.len() as u64) as usize;
        let exact = matches!(self.body, Some(Body::Exact(_)));
        self.hash.take(&bytes[..taken], exact && self.length == 0 && taken as u64 == left);
        self.length += taken as u64;
        self.body = Some(then(left - taken as u64));
        taken
    }

    fn is_complete(&self) -> bool {
        matches!(self.body, Some(Body::Exact(0)) | Some(Body::Chunked(Chunk::Trailer(u32::MAX))))
    }
}

/// How long the body is (RFC 9112 section 6.3), and whether the connection may go on.
fn framing(
    fields: &[httparse::Header<'_>],
    status: u16,
    bodiless: bool,
    http_1_1: bool,
) -> Result<(Body, bool), &'static str> {
    let named = |name: &'static str| {
        fields.iter().filter(move |f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value)
    };
    let says = |token: &[u8]| {
        named("connection")
            .any(|v| v.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(token)))
    };
    let keep_alive = if http_1_1 { !says(b"close") } else { says(b"keep-alive") };
    let chunked =
        named("transfer-encoding").any(|v| v.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    let mut length = None;
    for value in named("content-length") {
        let text = std::str::from_utf8(value).map_err(|_| "a length that is no number")?;
        let this = text.trim().parse::<u64>().map_err(|_| "a length that is no number")?;
        if length.is_some_and(|other| other != this) {
            return Err("two lengths");
        }
        length = Some(this);
    }
    if chunked && length.is_some() {
        return Err("a length beside chunks");
    }
    let none = bodiless || status < 200 || status == 204 || status == 304;
    let body = match length {
        _ if none => Body::Exact(0),
        _ if chunked => Body::Chunked(Chunk::Size { length: 0, digits: 0, behind: false }),
        Some(length) => Body::Exact(length),
        None => Body::UntilClose,
    };
    Ok((body, keep_alive && !matches!(body, Body::UntilClose)))
}

/// One character of what stands around a chunk's data (RFC 9112 section 7.1).
fn between_chunks(chunk: Chunk, byte: u8) -> Result<Chunk, &'static str> {
    match chunk {
        Chunk::Size { length, digits, behind } => match byte {
            b'\n' if digits == 0 => Err("a chunk without a size"),
            b'\n' if length == 0 => Ok(Chunk::Trailer(0)),
            b'\n' => Ok(Chunk::Data(length)),
            b';' | b' ' | b'\t' | b'\r' => Ok(Chunk::Size { length, digits, behind: true }),
            _ if behind => Ok(chunk),
            _ => {
                let digit =
                    char::from(byte).to_digit(16).ok_or("a chunk size that is no number")?;
                if digits == 15 {
                    return Err("a chunk size that is no number");
                }
                Ok(Chunk::Size {
                    length: length << 4 | u64::from(digit),
                    digits: digits + 1,
                    behind,
                })
            }
        },
        Chunk::End(2) if byte == b'\r' => Ok(Chunk::End(1)),
        Chunk::End(1) if byte == b'\n' => Ok(Chunk::Size { length: 0, digits: 0, behind: false }),
        Chunk::End(_) => Err("a chunk that does not end"),
        // An empty line ends the trailer section, and the body with it.
        Chunk::Trailer(0) if byte == b'\n' => Ok(Chunk::Trailer(u32::MAX)),
        Chunk::Trailer(line) => match byte {
            b'\n' => Ok(Chunk::Trailer(0)),
            b'\r' => Ok(Chunk::Trailer(line)),
            _ if line as usize > HEAD_MAX => Err("a trailer without end"),
            _ => Ok(Chunk::Trailer(line + 1)),
        },
        Chunk::Data(_) => Ok(chunk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a text whole, and then byte by byte: both must see the same.
    fn read(text: &str) -> Result<(Seen, bool), &'static str> {
        let whole = walk(text.as_bytes(), text.len().max(1));
        let bytewise = walk(text.as_bytes(), 1);
        assert_eq!(whole, bytewise, "in one piece and in many: {text:?}");
        whole
    }

    fn walk(bytes: &[u8], piece: usize) -> Result<(Seen, bool), &'static str> {
        let mut answer = Answer::default();
        answer.expect(false);
        for part in bytes.chunks(piece) {
            if let Progress::Done { seen, keep_alive, .. } = answer.feed(part)? {
                return Ok((seen, keep_alive));
            }
        }
        answer.closed().map(|seen| (seen, false))
    }

    fn hash(body: &[u8]) -> u64 {
        XxHash3_64::oneshot(body)
    }

    #[test]
    fn lengths_chunks_and_closes_end_bodies() {
        let exact = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        assert_eq!(exact, (Seen { status: 200, length: 5, hash: hash(b"hello") }, true));
        let chunked = read(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n",
        );
        assert_eq!(chunked, Ok(exact));
        let closed = read("HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
        assert_eq!((closed.0, closed.1), (exact.0, false));
        let none = read("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(none, (Seen { status: 204, length: 0, hash: hash(b"") }, false));
    }

    #[test]
    fn interim_answers_are_not_the_answer() {
        let seen = read(
            "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!(seen.unwrap().0.status, 404);
    }

    #[test]
    fn what_a_gateway_could_do_wrong_is_a_fault() {
        for (text, fault) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "closed within a body"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\nhello",
                "two lengths",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", "a length that is no number"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
                "a chunk that does not end",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                "a chunk size that is no number",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", "a chunk without a size"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "no HTTP/1 answer"),
            ("HTTP/1.1 200", "closed within a head"),
            ("", "closed before an answer"),
        ] {
            assert_eq!(read(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn bytes_behind_an_answer_are_left() {
        let mut answer = Answer::default();
        answer.expect(false);
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1";
        let Ok(Progress::Done { used, .. }) = answer.feed(text) else { panic!("not complete") };
        assert_eq!(&text[used..], b"HTTP/1.1");
    }
}
