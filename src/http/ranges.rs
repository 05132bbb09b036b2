//! Which bytes of a whole a client asks for (RFC 9110 §14).
//!
//! One range is taken; several get the whole, which §14.2 allows and which costs less than what attacks with
//! many ranges have cost servers (CVE-2011-3192). What cannot be read as a range of bytes never fails a request:
//! the field is ignored then.

use crate::http::chars;

/// What a Range field comes to for a whole of some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, the end excluded; never empty.
    Part(u64, u64),
    /// Nothing that is there (416).
    Nothing,
}

/// What `value` asks of a whole of `length` bytes.
pub fn wanted(value: &[u8], length: u64) -> Wanted {
    let Some((unit, set)) = value.split_at_checked(6) else { return Wanted::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return Wanted::Whole;
    }
    let mut ranges = chars::list(set);
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Wanted::Whole };
    let Some(dash) = range.iter().position(|byte| *byte == b'-') else { return Wanted::Whole };
    let (first, last) = (&range[..dash], &range[dash + 1..]);
    match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() => part(first, length, length),
        (Some(first), Some(last)) if first <= last => part(first, last.saturating_add(1), length),
        (None, Some(suffix)) if first.is_empty() => match suffix {
            0 => Wanted::Nothing,
            suffix => part(length.saturating_sub(suffix), length, length),
        },
        _ => Wanted::Whole,
    }
}

fn part(first: u64, end: u64, length: u64) -> Wanted {
    if first >= length { Wanted::Nothing } else { Wanted::Part(first, end.min(length)) }
}

/// Digits; what is too large for any length counts as the largest number.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |number: u64, digit: &u8| {
        number.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0')))
    };
    Some(text.iter().try_fold(0, digit).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_taken_and_what_is_none_is_ignored() {
        for (value, want) in [
            ("bytes=0-0", Wanted::Part(0, 1)),
            ("bytes=2-5", Wanted::Part(2, 6)),
            ("BYTES=2-", Wanted::Part(2, 10)),
            ("bytes=2-99", Wanted::Part(2, 10)),
            ("bytes=0-99999999999999999999999", Wanted::Part(0, 10)),
            ("bytes=-3", Wanted::Part(7, 10)),
            ("bytes=-99", Wanted::Part(0, 10)),
            ("bytes= 1-2 ", Wanted::Part(1, 3)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=10-12", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=1", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(wanted(value.as_bytes(), 10), want, "{value}");
        }
        assert_eq!(wanted(b"bytes=0-", 0), Wanted::Nothing);
    }
}
