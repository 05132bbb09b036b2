//! Which bytes may stand where: the character classes of RFC 9110 §5.6.2, RFC 3986 §3 and RFC 9112 §3.
//!
//! One table of bits, built at compile time, so that a byte is judged by one load. It must never be
//! widened to please a sloppy sender: what one reader takes for a separator and another for text is
//! how requests are smuggled. The other choice, a match per byte, was slower and harder to audit.

/// Allowed in a token: methods and field names (RFC 9110 §5.6.2).
pub(crate) const TCHAR: u8 = 1;
/// A letter, a digit or `-`: all that registered field names are made of.
pub(crate) const PLAIN: u8 = 1 << 1;
/// Allowed in a path as it stands: `pchar` and `/` (RFC 3986 §3.3).
pub(crate) const PATH: u8 = 1 << 2;
/// Allowed in a query: `pchar`, `/`, `?`, and the printable bytes that browsers leave unescaped there.
pub(crate) const QUERY: u8 = 1 << 3;
/// Allowed in a registered name: letters, digits, `-`, `.` and `_`; stricter than RFC 3986 §3.2.2,
/// which no name that is looked up in DNS needs.
pub(crate) const HOST: u8 = 1 << 4;
/// Unreserved (RFC 3986 §2.3): never escaped when a URI is written.
pub(crate) const UNRESERVED: u8 = 1 << 5;
/// A sub-delimiter, `:` or `@`: what a path segment may hold besides unreserved bytes.
pub(crate) const SEGMENT_DELIM: u8 = 1 << 6;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte: usize = 0;
    while byte < 256 {
        table[byte] = class_of(byte as u8);
        byte += 1;
    }
    table
}

const fn class_of(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => {
            TCHAR | PLAIN | PATH | QUERY | HOST | UNRESERVED
        }
        b'.' | b'_' => TCHAR | PATH | QUERY | HOST | UNRESERVED,
        b'~' => TCHAR | PATH | QUERY | UNRESERVED,
        b'!' | b'$' | b'&' | b'\'' | b'*' | b'+' => TCHAR | PATH | QUERY | SEGMENT_DELIM,
        b'(' | b')' | b',' | b';' | b'=' | b':' | b'@' => PATH | QUERY | SEGMENT_DELIM,
        b'%' => TCHAR | PATH | QUERY,
        b'/' => PATH | QUERY,
        b'^' | b'`' | b'|' => TCHAR | QUERY,
        b'?' | b'"' | b'<' | b'>' | b'[' | b']' | b'\\' | b'{' | b'}' => QUERY,
        b'#' => TCHAR,
        _ => 0,
    }
}

/// The class bits of a byte.
#[inline]
pub(crate) fn class(byte: u8) -> u8 {
    CLASSES[byte as usize]
}

/// Whether every byte is of the class.
#[inline]
pub(crate) fn all(bytes: &[u8], wanted: u8) -> bool {
    bytes.iter().all(|&byte| class(byte) & wanted != 0)
}

/// Whether this is a token (RFC 9110 §5.6.2): one or more tchar.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TCHAR)
}

/// Whether this may stand as a field value: no control byte but HTAB (RFC 9110 §5.5).
pub fn is_field_value(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = control(&bytes[at..]) {
        if bytes[at + found] != b'\t' {
            return false;
        }
        at += found + 1;
    }
    true
}

/// Where the first control byte (below 0x20, or 0x7f) stands. Eight bytes a step.
#[inline]
pub(crate) fn control(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let below_space = word.wrapping_sub(0x20 * ONES) & !word;
        let delete = word ^ (0x7f * ONES);
        // A borrow only runs upwards from a real hit, so the lowest set bit is always a real one.
        let hits = (below_space | (delete.wrapping_sub(ONES) & !delete)) & HIGH;
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(|&byte| byte < 0x20 || byte == 0x7f);
    rest.map(|found| at + found)
}

/// How many bytes of no more than 24 stand in front of the first `:`. Eight bytes a step: the names that are known
/// are no longer, and of the others every byte is looked at anyway.
#[inline]
pub(crate) fn colon(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    for (step, eight) in bytes.chunks_exact(8).take(3).enumerate() {
        let word = u64::from_le_bytes(*eight.first_chunk::<8>()?) ^ (u64::from(b':') * ONES);
        // A borrow only runs upwards from a real hit, so the lowest set bit is always a real one.
        let hits = word.wrapping_sub(ONES) & !word & (0x80 * ONES);
        if hits != 0 {
            return Some(step * 8 + hits.trailing_zeros() as usize / 8);
        }
    }
    None
}

/// The value without spaces and tabs around it (RFC 9110 §5.6.3, OWS).
pub fn trim(value: &[u8]) -> &[u8] {
    let mut rest = value;
    while let [b' ' | b'\t', inner @ ..] | [inner @ .., b' ' | b'\t'] = rest {
        rest = inner;
    }
    rest
}

/// The non-empty elements of a comma-separated list, trimmed (RFC 9110 §5.6.1).
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_control_byte_is_found_at_every_offset_and_value() {
        for byte in (0..0x20).chain([0x7f]) {
            for at in 0..40 {
                let mut bytes = [0xffu8; 41];
                bytes[at] = byte;
                bytes[40] = 0;
                assert_eq!(control(&bytes), Some(at), "byte {byte:#x}");
            }
        }
        assert_eq!(control(&[0x20, 0x7e, 0x80, 0xff, 0x21, 0x60, 0x9f, 0xa0, 0x41]), None);
    }

    #[test]
    fn the_first_colon_is_found_within_24_bytes() {
        for at in 0..30 {
            let mut bytes = [b'9'; 40];
            bytes[at] = b':';
            bytes[at + 1] = b':';
            assert_eq!(colon(&bytes), (at < 24).then_some(at));
        }
        assert_eq!(colon(b"host:"), None, "too near the end to be told so");
        assert_eq!(colon(&[b';'; 40]), None);
    }

    #[test]
    fn tokens_are_those_of_the_rfc() {
        let separators = b"\"(),/:;<=>?@[\\]{} \t";
        for byte in 0..=255u8 {
            let visible = (0x21..0x7f).contains(&byte);
            assert_eq!(is_token(&[byte]), visible && !separators.contains(&byte), "{byte:#x}");
        }
        assert!(!is_token(b""));
    }

    #[test]
    fn lists_drop_empty_elements_and_whitespace() {
        let elements: Vec<_> = list(b" a ,, b\t, ,c").collect();
        assert_eq!(elements, [b"a", b"b", b"c"]);
    }
}
