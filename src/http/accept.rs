//! What a client says in Accept of one media type (RFC 9110 §12.5.1).
//!
//! Only types that are named in full count here: a wildcard asks for nothing in particular, so it never
//! chooses a form that a plain client does not know. An element that cannot be read counts as absent.

/// The weight that these values of Accept give to `media_type`, which is in lower case; `None` when they do not
/// name it. Unit: thousandths, 0 to 1000.
pub fn weight<'a>(values: impl Iterator<Item = &'a [u8]>, media_type: &str) -> Option<u16> {
    let elements = values.flat_map(|value| value.split(|byte| *byte == b','));
    let weights = elements.filter_map(|element| {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let named = parts.next()?.eq_ignore_ascii_case(media_type.as_bytes());
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_at_checked(2)?;
            name.eq_ignore_ascii_case(b"q=").then(|| thousandths(value))
        });
        if named { weight.unwrap_or(Some(1000)) } else { None }
    });
    weights.max()
}

/// `0`, `0.25`, `1.000`: a qvalue of RFC 9110 §12.4.2.
pub(crate) fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, digits) = match text {
        [whole @ (b'0' | b'1')] => (*whole, &b""[..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (*whole, digits),
        _ => return None,
    };
    let mut value = u16::from(whole - b'0');
    for at in 0..3 {
        let digit = digits.get(at).copied().unwrap_or(b'0');
        value = value * 10 + u16::from(char::from(digit).to_digit(10)? as u8);
    }
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_counts() {
        for (accept, expected) in [
            ("text/event-stream", Some(1000)),
            ("Text/Event-Stream ;q=0.25", Some(250)),
            ("a/b;q=1, text/event-stream;charset=utf-8; Q=0.1", Some(100)),
            ("text/event-stream;q=0, text/event-stream;q=1.0", Some(1000)),
            ("text/event-stream;q=0", Some(0)),
            ("*/*, text/*", None),
            ("text/event-streams", None),
            ("text/event-stream;q=2", None),
            ("text/event-stream;q=1.001", None),
            ("text/event-stream;q=0.1234", None),
            ("text/event-stream;q=-1", None),
            ("", None),
            (",;,q=;", None),
        ] {
            let found = weight([accept.as_bytes()].into_iter(), "text/event-stream");
            assert_eq!(found, expected, "{accept}");
        }
        let lines = [&b"a/b"[..], b"text/event-stream"];
        assert_eq!(weight(lines.into_iter(), "text/event-stream"), Some(1000));
    }
}
