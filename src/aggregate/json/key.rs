//! Names of members, compared by what they spell: `"\u0061"` is `a` (RFC 8259 §8.3).
//!
//! Names without a backslash, nearly all, are compared as bytes; the others are decoded character by
//! character. It never allocates, and a name that holds half of a surrogate pair equals no name of ours.

/// Whether a name, as `written` between its quotes in a checked text, spells `name`.
pub(in crate::aggregate) fn is(written: &[u8], name: &str) -> bool {
    if written.len() < name.len() {
        return false;
    }
    if memchr::memchr(b'\\', written).is_none() {
        return written == name.as_bytes();
    }
    let Ok(written) = std::str::from_utf8(written) else { return false };
    let mut wanted = name.chars();
    let mut same = true;
    decode(written, |character| same &= wanted.next() == Some(character))
        && same
        && wanted.next().is_none()
}

/// Hands on every character that the inside of a JSON string spells; `false` when it names half of a
/// surrogate pair (§8.2) or is not the inside of a string.
pub(in crate::aggregate) fn decode(inside: &str, mut put: impl FnMut(char)) -> bool {
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        rest[..at].chars().for_each(&mut put);
        rest = &rest[at + 1..];
        let Some(letter) = rest.bytes().next() else { return false };
        let (character, len) = match letter {
            b'b' => (Some('\u{8}'), 1),
            b'f' => (Some('\u{c}'), 1),
            b'n' => (Some('\n'), 1),
            b'r' => (Some('\r'), 1),
            b't' => (Some('\t'), 1),
            b'"' | b'\\' | b'/' => (Some(char::from(letter)), 1),
            b'u' => escaped(rest.as_bytes()),
            _ => (None, 0),
        };
        let Some(character) = character else { return false };
        put(character);
        rest = &rest[len..];
    }
    rest.chars().for_each(put);
    true
}

/// The character of `u` and four digits, or of a surrogate pair spelt so, and how many bytes spell it.
fn escaped(text: &[u8]) -> (Option<char>, usize) {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(text.get(at..at + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    match unit(1) {
        Some(high @ 0xd800..=0xdbff) => match (text.get(5..7), unit(7)) {
            (Some(b"\\u"), Some(low @ 0xdc00..=0xdfff)) => {
                (char::from_u32(0x10000 + ((high - 0xd800) << 10 | (low - 0xdc00))), 11)
            }
            _ => (None, 0),
        },
        Some(unit) => (char::from_u32(unit), 5),
        None => (None, 0),
    }
}
