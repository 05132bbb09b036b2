//! HTTP/2 messages in terms of HTTP/1.1, and what must be seen of its frames (RFC 9113).
//!
//! Inside, a head is text in HTTP/1.1 and spans into it, whatever came over the wire: one strict parser judges
//! every request, and no room above knows which version a client speaks. What is here never frames: that is the
//! `h2` crate's work. It never repairs either: a message that two servers could read as two is refused.

pub mod flood;
pub mod message;
pub mod reply;

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So much of the preface is no request in HTTP/1.1 any more.
const PREFACE_SURE: usize = "PRI * HTTP/2.0\r\n".len();

/// Whether `raw` is the preface, or so much of its beginning that it can be nothing else.
pub fn is_preface(raw: &[u8]) -> bool {
    raw.len() >= PREFACE_SURE && (PREFACE.starts_with(raw) || raw.starts_with(PREFACE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preface_is_known_by_its_first_line_and_by_nothing_else() {
        assert!(is_preface(PREFACE) && is_preface(&PREFACE[..18]));
        assert!(is_preface(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"));
        for other in [&b"PRI * HTTP/1.1\r\n\r\n"[..], b"PRI", b"PRI * HTTP/2.0\r\nhost: a\r\n\r\n"]
        {
            assert!(!is_preface(other), "{}", String::from_utf8_lossy(other));
        }
    }
}
