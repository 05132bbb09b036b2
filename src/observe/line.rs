//! Writes one JSON line into fixed room: strings from clients, numbers, moments, addresses.
//!
//! Bytes from outside are written byte by byte as the code point of the same number: what is not
//! printable ASCII becomes `\u00XX`. So every line is ASCII, the bytes received can be read back from it,
//! nothing in it can move a terminal's cursor, and no request can ever end a line or a string
//! (RFC 8259 §7). The choice refused was to pass valid UTF-8 through: line separators and direction
//! marks come with it. A line that does not fit is given up whole, never torn.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::time::Wall;

/// One line being written into `room`. After the first piece that does not fit nothing more is written
/// and `finish` answers `None`.
pub(crate) struct Line<'p> {
    room: &'p mut [u8],
    at: usize,
    overflow: bool,
}

impl<'p> Line<'p> {
    pub(crate) fn new(room: &'p mut [u8]) -> Self {
        Self { room, at: 0, overflow: false }
    }

    /// The line's length, line feed included; `None` when it did not fit.
    pub(crate) fn finish(self) -> Option<usize> {
        (!self.overflow).then_some(self.at)
    }

    /// Bytes left.
    pub(crate) fn left(&self) -> usize {
        self.room.len() - self.at
    }

    /// Bytes that are known to be fine JSON. Inlined everywhere: for a name of constant length the copy is
    /// a few stores instead of a call.
    #[inline(always)]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match self.room.get_mut(self.at..self.at + bytes.len()) {
            Some(place) if !self.overflow => {
                place.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            _ => self.overflow = true,
        }
    }

    /// `,"name":`, or without the comma behind an opening bracket.
    #[inline(always)]
    pub(crate) fn name(&mut self, name: &str) {
        let behind = self.at.checked_sub(1).map(|last| self.room[last]);
        if !matches!(behind, Some(b'{' | b'[') | None) {
            self.put(b",");
        }
        self.put(b"\"");
        self.put(name.as_bytes());
        self.put(b"\":");
    }

    /// A member whose value is fine inside a JSON string as it is.
    #[inline(always)]
    pub(crate) fn plain(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.put(b"\"");
        self.put(value);
        self.put(b"\"");
    }

    /// A member from bytes that anybody may have made, cut to `bytes_max` bytes of the line. Answers
    /// whether it was cut.
    pub(crate) fn outside(&mut self, name: &str, value: &[u8], bytes_max: usize) -> bool {
        self.name(name);
        self.put(b"\"");
        let cut = self.escape(value, bytes_max);
        self.put(b"\"");
        cut
    }

    /// A member with a number.
    #[inline(always)]
    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.put(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A member with a duration in milliseconds and three decimals.
    #[inline(always)]
    pub(crate) fn millis(&mut self, name: &str, value: Duration) {
        self.name(name);
        self.millis_value(value);
    }

    pub(crate) fn millis_value(&mut self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        let mut fraction = *b".000";
        digits((micros % 1000) as u32, &mut fraction[1..]);
        self.put(itoa::Buffer::new().format(micros / 1000).as_bytes());
        self.put(&fraction);
    }

    /// A member with a moment as RFC 3339 in UTC with microseconds.
    pub(crate) fn moment(&mut self, name: &str, wall: Wall) {
        self.plain(name, &Self::rfc3339(wall));
    }

    /// A moment as RFC 3339 in UTC with microseconds.
    pub(crate) fn rfc3339(wall: Wall) -> [u8; 27] {
        let (year, month, day) = civil(wall.as_secs() / 86_400);
        let second = (wall.as_secs() % 86_400) as u32;
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        digits(year as u32, &mut text[0..4]);
        digits(month as u32, &mut text[5..7]);
        digits(day as u32, &mut text[8..10]);
        digits(second / 3600, &mut text[11..13]);
        digits(second / 60 % 60, &mut text[14..16]);
        digits(second % 60, &mut text[17..19]);
        digits((wall.as_micros() % 1_000_000) as u32, &mut text[20..26]);
        text
    }

    /// A member with a number in lower-case hexadecimal digits.
    pub(crate) fn hex(&mut self, name: &str, value: u128, digits: usize) {
        let mut text = [0; 32];
        let text = &mut text[..digits.min(32)];
        write_hex(value, text);
        self.plain(name, text);
    }

    /// A member with an address, and a port unless it is `None`.
    pub(crate) fn address(&mut self, name: &str, address: IpAddr, port: Option<u16>) {
        self.name(name);
        self.put(b"\"");
        match (address, port) {
            (IpAddr::V4(address), _) => self.octets(address.octets()),
            // The Display of an IPv6 address is printable ASCII and allocates nothing.
            (IpAddr::V6(address), None) => self.overflow |= write!(self, "{address}").is_err(),
            (IpAddr::V6(address), Some(_)) => self.overflow |= write!(self, "[{address}]").is_err(),
        }
        if let Some(port) = port {
            self.put(b":");
            self.put(itoa::Buffer::new().format(port).as_bytes());
        }
        self.put(b"\"");
    }

    fn octets(&mut self, octets: [u8; 4]) {
        let (mut text, mut len) = (*b"...............", 0);
        for (index, octet) in octets.into_iter().enumerate() {
            len += usize::from(index > 0);
            let width = 1 + usize::from(octet > 9) + usize::from(octet > 99);
            digits(u32::from(octet), &mut text[len..len + width]);
            len += width;
        }
        self.put(&text[..len]);
    }

    pub(crate) fn escape(&mut self, value: &[u8], bytes_max: usize) -> bool {
        let mut written = 0;
        let mut rest = value;
        while let Some(first) = rest.first() {
            let run = rest.iter().position(|byte| ESCAPED[*byte as usize]).unwrap_or(rest.len());
            let fits = run.min(bytes_max - written);
            self.put(&rest[..fits]);
            written += fits;
            if fits < run {
                return true;
            }
            rest = &rest[run..];
            if run > 0 {
                continue;
            }
            let mut escape = [0; 6];
            let escape = escape_of(*first, &mut escape);
            if written + escape.len() > bytes_max {
                return true;
            }
            self.put(escape);
            written += escape.len();
            rest = &rest[1..];
        }
        false
    }
}

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        if self.overflow { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Writes `value` into all of `text`, at most 32 lower-case hexadecimal digits.
pub(crate) fn write_hex(value: u128, text: &mut [u8]) {
    // Two words instead of one of 128 bits: shifting those is slow.
    let split = text.len().saturating_sub(16);
    let (upper, lower) = text.split_at_mut(split);
    write_hex_word((value >> 64) as u64, upper);
    write_hex_word(value as u64, lower);
}

fn write_hex_word(value: u64, text: &mut [u8]) {
    let digits = [hex_digits((value >> 32) as u32), hex_digits(value as u32)];
    let digits = digits.as_flattened();
    text.copy_from_slice(&digits[digits.len() - text.len()..]);
}

/// The eight digits of a word, made at once in one register.
fn hex_digits(word: u32) -> [u8; 8] {
    // Each byte gets one digit: the halves are pulled apart, and theirs, and theirs.
    let mut nibbles = u64::from(word);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // A digit above nine, and six more, reaches the fifth bit.
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let ascii = nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - 10 - b'0');
    ascii.to_be_bytes()
}

/// Writes `value` into all of `text` in decimal digits, the upper ones cut off.
pub(crate) fn digits(mut value: u32, text: &mut [u8]) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// A text of ours (a name from the configuration) as it stands inside a JSON string: UTF-8 stays, except
/// what is a control character. Cut to `bytes_max`.
pub(crate) fn escaped(text: &str, bytes_max: usize) -> Box<[u8]> {
    let mut out = Vec::with_capacity(text.len());
    for character in text.chars() {
        let mut utf8 = [0; 4];
        let mut escape = [0; 6];
        let piece = match character {
            '"' | '\\' => escape_of(character as u8, &mut escape),
            _ if character.is_control() => escape_of(character as u8, &mut escape),
            _ => character.encode_utf8(&mut utf8).as_bytes(),
        };
        if out.len() + piece.len() > bytes_max {
            break;
        }
        out.extend_from_slice(piece);
    }
    out.into_boxed_slice()
}

/// Whether a byte from outside may not stand in a JSON string as it is.
const ESCAPED: [bool; 256] = {
    let mut escaped = [true; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        escaped[byte] = byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    escaped
};

fn escape_of(byte: u8, room: &mut [u8; 6]) -> &[u8] {
    match byte {
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        _ => {
            room[..2].copy_from_slice(b"\\u");
            write_hex(u128::from(byte), &mut room[2..]);
            room
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level
/// date algorithms", `civil_from_days`), for days from that one on.
pub(crate) fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut room = [0; 512];
        let mut line = Line::new(&mut room);
        write(&mut line);
        let len = line.finish().expect("fits");
        String::from_utf8(room[..len].to_vec()).expect("ASCII")
    }

    #[test]
    fn moments_are_rfc_3339() {
        let moment = |micros| written(|line| line.moment("t", Wall::from_micros(micros)));
        assert_eq!(moment(0), r#""t":"1970-01-01T00:00:00.000000Z""#);
        assert_eq!(moment(951_782_400_000_001), r#""t":"2000-02-29T00:00:00.000001Z""#);
        assert_eq!(moment(1_764_000_000_123_456), r#""t":"2025-11-24T16:00:00.123456Z""#);
        assert_eq!(moment(4_102_444_799_999_999), r#""t":"2099-12-31T23:59:59.999999Z""#);
    }

    #[test]
    fn durations_have_three_decimals() {
        let millis = |micros| written(|line| line.millis("d", Duration::from_micros(micros)));
        assert_eq!(millis(0), r#""d":0.000"#);
        assert_eq!(millis(12_045), r#""d":12.045"#);
    }

    #[test]
    fn bytes_from_outside_cannot_end_the_string_or_the_line() {
        let text = written(|line| {
            assert!(!line.outside("p", b"a\"\\\r\n\0\x1b[2J\x7f\xc3\xa9", 100));
        });
        assert_eq!(text, r#""p":"a\"\\\u000d\u000a\u0000\u001b[2J\u007f\u00c3\u00a9""#);
    }

    #[test]
    fn a_cut_never_splits_an_escape() {
        for bytes_max in 0..=14 {
            let text = written(|line| assert!(line.outside("p", b"ab\n\n-", bytes_max)));
            let value: serde_json::Value =
                serde_json::from_str(&format!("{{{text}}}")).expect("fine JSON");
            assert!("ab\n\n-".starts_with(value["p"].as_str().expect("a string")));
            assert!(text.len() <= bytes_max + 6);
        }
        written(|line| assert!(!line.outside("p", b"ab\n\n-", 15)));
    }

    #[test]
    fn addresses_look_as_usual() {
        let v4 = written(|line| line.address("a", "10.0.200.7".parse().expect("fine"), Some(80)));
        assert_eq!(v4, r#""a":"10.0.200.7:80""#);
        let v6 = written(|line| line.address("a", "2001:db8::1".parse().expect("fine"), Some(80)));
        assert_eq!(v6, r#""a":"[2001:db8::1]:80""#);
        let bare = written(|line| line.address("a", "::1".parse().expect("fine"), None));
        assert_eq!(bare, r#""a":"::1""#);
    }

    #[test]
    fn a_line_without_room_is_given_up_whole() {
        let mut room = [0; 8];
        let mut line = Line::new(&mut room);
        line.put(b"12345678");
        line.put(b"9");
        line.put(b"");
        assert_eq!(line.finish(), None);
    }

    #[test]
    fn names_of_ours_keep_their_letters() {
        assert_eq!(&*escaped("Süd \"1\"\n", 99), "Süd \\\"1\\\"\\u000a".as_bytes());
        assert_eq!(&*escaped("ää", 3), "ä".as_bytes());
    }
}
