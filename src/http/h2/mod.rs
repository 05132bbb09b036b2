//! HTTP/2 messages in terms of HTTP/1.1, and what must be seen of its frames (RFC 9113).
//!
//! Inside, a head is text in HTTP/1.1 and spans into it, whatever came over the wire: one strict parser judges
//! every request, and no room above knows which version a client speaks. What is here never frames: that is the
//! `h2` crate's work. It never repairs either: a message that two servers could read as two is refused.

pub mod answer;
pub mod asking;
pub mod blocks;
pub mod flood;
pub mod goaway;
pub mod message;
pub mod preface;
pub mod priority;
pub mod reply;

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether `raw` begins with the preface; `None` while that cannot be told.
pub fn is_preface(raw: &[u8]) -> Option<bool> {
    if raw.len() < PREFACE.len() && PREFACE.starts_with(raw) {
        return None;
    }
    Some(raw.starts_with(PREFACE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preface_is_known_when_all_of_it_is_here() {
        assert_eq!(is_preface(PREFACE), Some(true));
        assert_eq!(is_preface(&[PREFACE, b"\0\0\0\x04\0"].concat()), Some(true));
        for length in 0..PREFACE.len() {
            assert_eq!(is_preface(&PREFACE[..length]), None, "{length}");
        }
        for other in [&b"PRI * HTTP/1.1"[..], b"PRI * HTTP/2.0\r\n\r\nXM\r\n\r\n", b"GET"] {
            assert_eq!(is_preface(other), Some(false), "{}", String::from_utf8_lossy(other));
        }
    }
}
