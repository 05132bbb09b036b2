//! Writing heads: the small pieces of local replies, and the sink that `forward.rs` writes through.
//!
//! Everything here writes into a buffer that is already there and says when it does not fit. It must never
//! write a field value that could end its own line: [`field`] refuses control bytes.

use crate::base::buffer::Buf;
use crate::http::{Status, chars};

/// The head does not fit the buffer. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Appends bytes to the spare room of a buffer; all of it counts, or nothing.
pub(crate) struct Sink<'b> {
    room: &'b mut [u8],
    at: usize,
    overflown: bool,
}

impl<'b> Sink<'b> {
    /// Runs `write` on the spare room of `out` and declares filled what it wrote, if all of it fitted.
    pub(crate) fn fill(out: &mut Buf, write: impl FnOnce(&mut Sink<'_>)) -> Result<(), TooLarge> {
        let mut sink = Sink { room: out.spare_mut(), at: 0, overflown: false };
        write(&mut sink);
        let (written, overflown) = (sink.at, sink.overflown);
        if overflown {
            return Err(TooLarge);
        }
        out.fill(written);
        Ok(())
    }

    /// Appends bytes.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match self.room.get_mut(self.at..self.at + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            None => self.overflown = true,
        }
    }

    /// Appends a number in decimal.
    pub(crate) fn number(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// Appends `HTTP/1.1 status reason CRLF`; `false`, and nothing appended, when it does not fit.
#[must_use]
pub fn status_line(out: &mut Buf, status: Status) -> bool {
    Sink::fill(out, |sink| put_status(sink, status, status.reason().as_bytes())).is_ok()
}

/// Writes a status line.
pub(crate) fn put_status(sink: &mut Sink<'_>, status: Status, reason: &[u8]) {
    sink.put(b"HTTP/1.1 ");
    sink.number(u64::from(status.0));
    sink.put(b" ");
    sink.put(reason);
    sink.put(b"\r\n");
}

/// Appends `name: value CRLF`. `false`, and nothing appended, when it does not fit, when the name is not a
/// token or the value holds a control byte.
#[must_use]
pub fn field(out: &mut Buf, name: &[u8], value: &[u8]) -> bool {
    let good = chars::is_token(name) && chars::is_field_value(value);
    good && Sink::fill(out, |sink| put_field(sink, &[name, b": "], &[value])).is_ok()
}

/// Appends a field whose value is a number; `false`, and nothing appended, when it does not fit.
#[must_use]
pub fn field_number(out: &mut Buf, name: &[u8], value: u64) -> bool {
    field(out, name, itoa::Buffer::new().format(value).as_bytes())
}

/// Writes one field line from the pieces of its name (with colon) and value.
pub(crate) fn put_field(sink: &mut Sink<'_>, name: &[&[u8]], value: &[&[u8]]) {
    for piece in name.iter().chain(value) {
        sink.put(piece);
    }
    sink.put(b"\r\n");
}

/// Appends the empty line that ends a head; `false` when it does not fit.
#[must_use]
pub fn end(out: &mut Buf) -> bool {
    out.put(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::BufferPool;
    use crate::base::limits::BUFFER_BYTES;

    #[test]
    fn a_head_is_written_piece_by_piece() {
        let pool = BufferPool::new(1);
        let mut out = pool.take().expect("within budget");
        assert!(status_line(&mut out, Status(503)));
        assert!(field(&mut out, b"content-type", b"text/plain"));
        assert!(field_number(&mut out, b"content-length", 12) && end(&mut out));
        let expected: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
            content-length: 12\r\n\r\n";
        assert_eq!(out.data(), expected);
    }

    #[test]
    fn a_value_that_would_end_its_line_is_refused() {
        let pool = BufferPool::new(1);
        let mut out = pool.take().expect("within budget");
        for value in [&b"a\r\nb: c"[..], b"a\nb", b"a\0"] {
            assert!(!field(&mut out, b"x", value));
        }
        assert!(!field(&mut out, b"x y", b"a") && !field(&mut out, b"", b"a") && out.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_not_written_at_all() {
        let pool = BufferPool::new(1);
        let mut out = pool.take().expect("within budget");
        out.fill(BUFFER_BYTES - 10);
        assert!(!status_line(&mut out, Status(200)));
        assert_eq!(out.spare(), 10);
    }
}
