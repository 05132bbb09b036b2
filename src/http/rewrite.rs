//! A response head that is written already, once more with other fields.
//!
//! Rare and therefore apart: routes that edit answers pay for a second walk over some hundred bytes, and all
//! others pay nothing. It works on lines (RFC 9112 §5), so that it is the same for heads of origins and our own,
//! and it never touches the status line. Lines to be left out must not be those of the framing: who compiles
//! the list sees to that.

use crate::base::buffer::Buf;
use crate::http::writer::{Sink, TooLarge};

/// Appends the head in `raw` (up to and with its empty line) to `out`: without the lines named in `dropped`,
/// which are in lower case, and with `added`, complete lines, at its end.
///
/// # Errors
/// It does not fit; nothing was appended.
pub fn head(
    raw: &[u8],
    dropped: &[&[Box<str>]],
    added: &[&[u8]],
    out: &mut Buf,
) -> Result<(), TooLarge> {
    let end = raw.len().saturating_sub(2);
    debug_assert!(raw.ends_with(b"\r\n\r\n"), "a whole head");
    Sink::fill(out, |sink| {
        let mut run = 0;
        let mut at = memchr::memchr(b'\n', raw).map_or(end, |feed| feed + 1);
        while at < end {
            let line_end = memchr::memchr(b'\n', &raw[at..end]).map_or(end, |feed| at + feed + 1);
            if is_dropped(&raw[at..line_end], dropped) {
                sink.put(&raw[run..at]);
                run = line_end;
            }
            at = line_end;
        }
        sink.put(&raw[run.min(end)..end]);
        added.iter().for_each(|lines| sink.put(lines));
        sink.put(b"\r\n");
    })
}

fn is_dropped(line: &[u8], dropped: &[&[Box<str>]]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let name = &line[..colon];
    let mut known = dropped.iter().flat_map(|names| names.iter());
    known.any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::BufferPool;

    fn rewritten(raw: &str, dropped: &[&str], added: &str) -> String {
        let pool = BufferPool::new(1);
        let mut out = pool.take().expect("a buffer");
        let dropped: Vec<Box<str>> = dropped.iter().map(|name| (*name).into()).collect();
        head(raw.as_bytes(), &[&dropped], &[added.as_bytes()], &mut out).expect("it fits");
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
            rewritten("HTTP/1.1 200 server: x\r\n\r\n", &["server"], ""),
            "HTTP/1.1 200 server: x\r\n\r\n"
        );
    }
}
