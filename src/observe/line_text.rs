//! Pieces of a line of plain text, as other formats than JSON have them.
//!
//! What comes from outside is escaped as nginx does: `\xHH` for everything that is not printable ASCII, for quotes
//! and for backslashes, so that no request ever ends a line or a quoted field. An empty value is `-`.

use std::fmt::Write;
use std::net::IpAddr;

use crate::base::time::Wall;
use crate::observe::line::{Line, civil, digits, write_hex};

impl Line<'_> {
    /// Bytes that anybody may have made, cut to about `bytes_max`; `-` where there are none.
    pub(crate) fn text(&mut self, value: &[u8], bytes_max: usize) {
        if value.is_empty() {
            return self.put(b"-");
        }
        self.text_or_nothing(value, bytes_max);
    }

    /// The same, nothing where there are none.
    pub(crate) fn text_or_nothing(&mut self, value: &[u8], bytes_max: usize) {
        for byte in &value[..value.len().min(bytes_max)] {
            match byte {
                b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                    let mut escape = *b"\\x00";
                    write_hex(u128::from(*byte), &mut escape[2..]);
                    self.put(&escape);
                }
                byte => self.put(&[*byte]),
            }
        }
    }

    /// The same as [`text`](Self::text), blanks escaped as well: it stays one column.
    pub(crate) fn word(&mut self, value: &[u8], bytes_max: usize) {
        let value = &value[..value.len().min(bytes_max)];
        let mut words = value.split(|byte| *byte == b' ');
        self.text(words.next().unwrap_or_default(), bytes_max);
        for word in words {
            self.put(b"\\x20");
            self.text_or_nothing(word, bytes_max);
        }
    }

    pub(crate) fn bare_number(&mut self, value: u64) {
        self.put(itoa::Buffer::new().format(value).as_bytes());
    }

    pub(crate) fn bare_hex(&mut self, value: u128) {
        let mut text = [0; 32];
        write_hex(value, &mut text);
        self.put(&text);
    }

    pub(crate) fn bare_address(&mut self, address: IpAddr, port: Option<u16>) {
        // What does not fit marks the line as too long by itself.
        let _ = match (address, port) {
            (address, None) => write!(self, "{address}"),
            (IpAddr::V4(address), Some(port)) => write!(self, "{address}:{port}"),
            (IpAddr::V6(address), Some(port)) => write!(self, "[{address}]:{port}"),
        };
    }

    /// RFC 3339 in UTC with microseconds.
    pub(crate) fn bare_moment(&mut self, wall: Wall) {
        self.put(&Self::rfc3339(wall));
    }

    /// `25/Nov/2026:19:00:00 +0000`, as the Common Log Format has it.
    pub(crate) fn common_moment(&mut self, wall: Wall) {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let (year, month, day) = civil(wall.as_secs() / 86_400);
        let second = (wall.as_secs() % 86_400) as u32;
        let mut text = *b"00/xxx/0000:00:00:00 +0000";
        digits(day as u32, &mut text[0..2]);
        let at = (month as usize).saturating_sub(1).min(11) * 3;
        text[3..6].copy_from_slice(&MONTHS[at..at + 3]);
        digits(year as u32, &mut text[7..11]);
        digits(second / 3600, &mut text[12..14]);
        digits(second / 60 % 60, &mut text[15..17]);
        digits(second % 60, &mut text[18..20]);
        self.put(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut room = [0; 256];
        let mut line = Line::new(&mut room);
        write(&mut line);
        let len = line.finish().expect("it fits");
        String::from_utf8(room[..len].to_vec()).expect("ASCII")
    }

    #[test]
    fn what_comes_from_outside_never_ends_a_line_or_a_quote() {
        let text = written(|line| line.text(b"a\"b\\c\r\n\x00\xff d", 100));
        assert_eq!(text, "a\\x22b\\x5cc\\x0d\\x0a\\x00\\xff d");
        assert_eq!(written(|line| line.text(b"", 9)), "-");
        assert_eq!(written(|line| line.text(b"abcdef", 3)), "abc");
        assert_eq!(written(|line| line.word(b"ada \"l\"", 100)), "ada\\x20\\x22l\\x22");
        assert_eq!(written(|line| line.word(b"", 9)), "-");
    }

    #[test]
    fn moments_are_those_of_the_common_log_format() {
        let wall = Wall::from_micros(1_764_097_200_000_000);
        assert_eq!(written(|line| line.common_moment(wall)), "25/Nov/2025:19:00:00 +0000");
    }
}
