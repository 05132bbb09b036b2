//! Looking for the end of a head in bytes that arrive piece by piece.
//!
//! A head is parsed when it first arrives and, if it was not whole, again once its end is there; in
//! between only the new bytes are looked at, here. So a head that drips in costs its length, never its
//! square. The scan never decides that a head is good; it may only find that one can no longer be.

use crate::http::chars;

/// What the new bytes hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// No end yet, and nothing that could not be part of a head.
    Open,
    /// Worth parsing again: the empty line, or a byte that no head may hold.
    Parse,
}

/// Looks at `raw[seen..]`, and back as far as a line end may have been cut.
pub(super) fn scan(raw: &[u8], seen: usize) -> Scanned {
    let mut at = seen.saturating_sub(3).min(raw.len());
    while let Some(found) = chars::control(&raw[at..]) {
        let here = at + found;
        let before = &raw[..here];
        let good = match raw[here] {
            b'\t' => true,
            b'\r' => matches!(raw.get(here + 1), None | Some(b'\n')),
            b'\n' => before.ends_with(b"\r") && !before.ends_with(b"\r\n\r"),
            _ => false,
        };
        if !good {
            return Scanned::Parse;
        }
        at = here + 1;
    }
    Scanned::Open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_however_it_is_cut() {
        let head = b"GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n";
        for seen in 0..head.len() {
            assert_eq!(scan(head, seen), Scanned::Parse, "seen {seen}");
            assert_eq!(scan(&head[..head.len() - 1], seen), Scanned::Open, "seen {seen}");
        }
    }

    #[test]
    fn bytes_that_no_head_holds_are_found_at_once() {
        for bad in [&b"a\nb"[..], b"a\rb", b"a\0b", b"a\x7f"] {
            assert_eq!(scan(bad, 0), Scanned::Parse);
        }
        assert_eq!(scan(b"ab\r", 1), Scanned::Open);
    }
}
