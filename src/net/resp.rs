//! The Redis protocol as bytes: commands as arrays of bulk strings, replies of the few kinds that are asked for.
//!
//! RESP 2 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>), which Redis and Valkey speak to
//! whoever does not ask for more. Pure and bounded: it never performs I/O, never trusts a length, and a reply
//! that is larger or deeper than anything asked for is malformed. Written here instead of taken from a crate
//! because a core drives it over its own streams (docs/decisions/0022-fleet-limits.md).

/// Bulk strings longer than this are not a reply to anything that is sent. Unit: bytes.
const BULK_BYTES_MAX: usize = 1024;
/// Longest line: an error of the store in words. Unit: bytes.
const LINE_BYTES_MAX: usize = 1024;
/// Numbers of one array: a verdict and how far ahead each key's time lies.
pub const NUMBERS_MAX: usize = 1 + crate::base::limits::LIMITS_PER_ROUTE_MAX;

/// A reply that is longer is none. Unit: bytes.
pub const REPLY_BYTES_MAX: usize = LINE_BYTES_MAX * (NUMBERS_MAX + 1);

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and its kin.
    Fine,
    /// An error. Its words may tell of the inside and are not kept.
    Error,
    /// A number.
    Number(i64),
    /// An array of numbers.
    Numbers([i64; NUMBERS_MAX], usize),
    /// Text in place: how many bytes before the end of the reply it begins, and its length.
    Text { back: usize, len: usize },
    /// Nothing.
    Nil,
}

/// What was read is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Appends a command.
pub fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(arguments.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for argument in arguments {
        out.push(b'$');
        out.extend_from_slice(digits.format(argument.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

/// The first reply in `bytes`, and how many of them it is; `None` when it is not whole yet.
///
/// # Errors
/// It is no reply to anything that was asked.
pub fn reply(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
    let Some(Line { kind, text, used }) = line(bytes)? else { return Ok(None) };
    let simple = match kind {
        b'+' => Reply::Fine,
        b'-' => Reply::Error,
        b':' => Reply::Number(number(text)?),
        b'$' => return bulk(bytes, number(text)?, used),
        b'*' => return array(bytes, number(text)?, used),
        _ => return Err(Malformed),
    };
    Ok(Some((simple, used)))
}

fn bulk(bytes: &[u8], len: i64, used: usize) -> Result<Option<(Reply, usize)>, Malformed> {
    if len == -1 {
        return Ok(Some((Reply::Nil, used)));
    }
    let len = usize::try_from(len).ok().filter(|len| *len <= BULK_BYTES_MAX).ok_or(Malformed)?;
    let Some(rest) = bytes.get(used..used + len + 2) else { return Ok(None) };
    if &rest[len..] != b"\r\n" {
        return Err(Malformed);
    }
    Ok(Some((Reply::Text { back: len + 2, len }, used + len + 2)))
}

fn array(bytes: &[u8], count: i64, mut used: usize) -> Result<Option<(Reply, usize)>, Malformed> {
    let count = usize::try_from(count).ok().filter(|n| *n <= NUMBERS_MAX).ok_or(Malformed)?;
    let mut numbers = [0; NUMBERS_MAX];
    for place in &mut numbers[..count] {
        let Some(next) = line(&bytes[used..])? else { return Ok(None) };
        if next.kind != b':' {
            return Err(Malformed);
        }
        *place = number(next.text)?;
        used += next.used;
    }
    Ok(Some((Reply::Numbers(numbers, count), used)))
}

/// The first line of a reply.
struct Line<'a> {
    kind: u8,
    text: &'a [u8],
    /// With its end. Unit: bytes.
    used: usize,
}

/// The first line, if it is here whole.
fn line(bytes: &[u8]) -> Result<Option<Line<'_>>, Malformed> {
    let seen = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match memchr::memchr(b'\n', seen) {
        Some(end) if end >= 2 && seen[end - 1] == b'\r' => {
            Ok(Some(Line { kind: seen[0], text: &seen[1..end - 1], used: end + 1 }))
        }
        Some(_) => Err(Malformed),
        None if seen.len() == LINE_BYTES_MAX => Err(Malformed),
        None => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, Malformed> {
    // `parse` would take one, and the protocol has it only in its third version.
    if text.first() == Some(&b'+') {
        return Err(Malformed);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> Reply {
        let (reply, used) = reply(bytes).expect("a reply").expect("whole");
        assert_eq!(used, bytes.len());
        reply
    }

    #[test]
    fn replies_are_read_as_the_protocol_says() {
        assert_eq!(whole(b"+OK\r\n"), Reply::Fine);
        assert_eq!(whole(b"-NOSCRIPT No matching script\r\n"), Reply::Error);
        assert_eq!(whole(b":-7\r\n"), Reply::Number(-7));
        assert_eq!(whole(b"$-1\r\n"), Reply::Nil);
        assert_eq!(whole(b"$5\r\nhello\r\n"), Reply::Text { back: 7, len: 5 });
        let Reply::Numbers(numbers, 2) = whole(b"*2\r\n:1\r\n:42\r\n") else { panic!("two") };
        assert_eq!(numbers[..2], [1, 42]);
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"AUTH", b"a\r\nb"]);
        assert_eq!(out, b"*2\r\n$4\r\nAUTH\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn what_nobody_asked_for_is_malformed() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"$99999999999\r\n",
            b"*1000000\r\n",
            b"*1\r\n$1\r\nx\r\n",
            b"+OK\n",
            b":x\r\n",
            b":+1\r\n",
            b"$1\r\nxyz",
            &[b'+'; 2000],
        ] {
            assert_eq!(reply(bytes), Err(Malformed), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn cutting_a_reply_anywhere_asks_for_more(cut in 0usize..13) {
            prop_assert_eq!(reply(&b"*2\r\n:1\r\n:42\r\n"[..cut]), Ok(None));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = reply(&bytes);
        }
    }
}
