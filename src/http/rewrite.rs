//! A response head that is written already, once more with other fields.
//!
//! Rare and therefore apart: routes that edit answers pay for a second walk over some hundred bytes, and all
//! others pay nothing. It works on lines (RFC 9112 §5), so that it is the same for heads of origins and our own,
//! and it never touches the status line. Lines to be left out must not be those of the framing: who compiles
//! the list sees to that.

use std::borrow::Cow;

use crate::base::buffer::Buf;
use crate::http::names::FieldName;
use crate::http::writer::{Sink, TooLarge};

/// What becomes of a head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edit<'a> {
    /// Names whose lines are left out, in lower case; in every spelling ([`FieldName::is_spelling`]).
    pub dropped: &'a [Box<str>],
    /// Further ones.
    pub dropped_too: &'a [&'a str],
    /// Complete lines that stand at the end.
    pub added: [&'a [u8]; 2],
    /// Whether a strong entity tag becomes a weak one (RFC 9110 §8.8.1).
    pub weaken: bool,
}

/// Appends the head in `raw` (up to and with its empty line) to `out`, edited.
///
/// # Errors
/// It does not fit; nothing was appended.
pub fn head(raw: &[u8], edit: &Edit<'_>, out: &mut Buf) -> Result<(), TooLarge> {
    let end = raw.len().saturating_sub(2);
    debug_assert!(raw.ends_with(b"\r\n\r\n"), "a whole head");
    Sink::fill(out, |sink| {
        let mut run = 0;
        let mut at = memchr::memchr(b'\n', raw).map_or(end, |feed| feed + 1);
        while at < end {
            let line_end = memchr::memchr(b'\n', &raw[at..end]).map_or(end, |feed| at + feed + 1);
            let (name, value) = parts(&raw[at..line_end]);
            if edit.drops(name) {
                sink.put(&raw[run..at]);
                run = line_end;
            } else if edit.weakens(name, value) {
                let value_at = line_end - value.len();
                sink.put(&raw[run..value_at]);
                sink.put(b"W/");
                run = value_at;
            }
            at = line_end;
        }
        sink.put(&raw[run.min(end)..end]);
        edit.added.iter().for_each(|lines| edit.put_added(sink, lines));
        sink.put(b"\r\n");
    })
}

/// Trailer lines without those whose name `drops` says: a field that is edited in the head must not come back behind
/// the body, where a recipient may merge it into the head (RFC 9110 §6.5.2).
pub fn trailers(lines: &[u8], drops: impl Fn(&[u8]) -> bool) -> Cow<'_, [u8]> {
    let dropped = |line: &&[u8]| drops(parts(line).0);
    if !lines.split_inclusive(|byte| *byte == b'\n').any(|line| dropped(&line)) {
        return Cow::Borrowed(lines);
    }
    let kept = lines.split_inclusive(|byte| *byte == b'\n').filter(|line| !dropped(line));
    Cow::Owned(kept.flatten().copied().collect())
}

impl Edit<'_> {
    fn weakens(&self, name: &[u8], value: &[u8]) -> bool {
        self.weaken && name.eq_ignore_ascii_case(b"etag") && value.starts_with(b"\"")
    }

    /// Lines of the configuration, an entity tag among them as weak as one that came.
    fn put_added(&self, sink: &mut Sink<'_>, lines: &[u8]) {
        if !self.weaken {
            return sink.put(lines);
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let (name, value) = parts(line);
            let (lead, weak) = match self.weakens(name, value) {
                true => (line.len() - value.len(), &b"W/"[..]),
                false => (0, &b""[..]),
            };
            [&line[..lead], weak, &line[lead..]].iter().for_each(|piece| sink.put(piece));
        }
    }

    fn drops(&self, name: &[u8]) -> bool {
        let same = |known: &str| FieldName::is_spelling(name, known.as_bytes());
        self.dropped.iter().any(|known| same(known))
            || self.dropped_too.iter().any(|known| same(known))
    }
}

/// The name of a line, and all from its value to the line's end.
fn parts(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = memchr::memchr(b':', line) else { return (&[], &[]) };
    let value = &line[colon + 1..];
    let lead = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    (&line[..colon], &value[lead..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::BufferPool;

    fn rewritten(raw: &str, dropped: &[&str], added: &str) -> String {
        let pool = BufferPool::new(1);
        let mut out = pool.take().expect("a buffer");
        let dropped: Vec<Box<str>> = dropped.iter().map(|name| (*name).into()).collect();
        let added = [added.as_bytes(), b""];
        let edit = Edit { dropped: &dropped, dropped_too: &["x-gone"], added, weaken: true };
        head(raw.as_bytes(), &edit, &mut out).expect("it fits");
        String::from_utf8(out.data().to_vec()).expect("text")
    }

    #[test]
    fn lines_are_left_out_by_name_and_added_at_the_end() {
        let raw = "HTTP/1.1 200 OK\r\nServer: a\r\nX-A: server: b\r\nserver: c\r\n\r\n";
        assert_eq!(
            rewritten(raw, &["server"], "x-b: 1\r\n"),
            "HTTP/1.1 200 OK\r\nX-A: server: b\r\nx-b: 1\r\n\r\n"
        );
        assert_eq!(rewritten(raw, &[], ""), raw);
        assert_eq!(
            rewritten("HTTP/1.1 204 \r\n\r\n", &["http/1.1 204 "], "a: b\r\n"),
            "HTTP/1.1 204 \r\na: b\r\n\r\n"
        );
        assert_eq!(
            rewritten("HTTP/1.1 200 OK\r\nETag:  \"a\"\r\nX-Gone: 1\r\n\r\n", &[], ""),
            "HTTP/1.1 200 OK\r\nETag:  W/\"a\"\r\n\r\n"
        );
        let weak = "HTTP/1.1 200 OK\r\netag: W/\"a\"\r\n\r\n";
        assert_eq!(rewritten(weak, &[], ""), weak);
        assert_eq!(
            rewritten("HTTP/1.1 200 server: x\r\n\r\n", &["server"], ""),
            "HTTP/1.1 200 server: x\r\n\r\n"
        );
    }
}
