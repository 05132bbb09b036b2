//! HTTP dates (RFC 9110 §5.6.7): written in one form, read in three.
//!
//! No clock here: seconds are handed in. Anything but the three forms of the RFC is never accepted, and a date
//! that does not exist is none. The calendar arithmetic is the usual one on the proleptic Gregorian calendar.

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
/// Seconds of 9999-12-31T23:59:59Z, the last second that four digits of a year can name.
const LAST_SECOND: u64 = 253_402_300_799;

/// `Sun, 06 Nov 1994 08:49:37 GMT` for seconds since the Unix epoch; later than year 9999 shows the end of it.
pub fn imf_fixdate(secs: u64) -> [u8; 29] {
    let secs = secs.min(LAST_SECOND);
    let (days, second) = (secs / 86_400, (secs % 86_400) as u32);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[0..3].copy_from_slice(DAYS[(days % 7) as usize]);
    two_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[month as usize - 1]);
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], second / 3600);
    two_digits(&mut text[20..22], second / 60 % 60);
    two_digits(&mut text[23..25], second % 60);
    text
}

/// Seconds since the Unix epoch of an IMF-fixdate, RFC 850 or asctime date; `None` for anything else and for
/// dates before 1970. `now_secs` places the two-digit year of RFC 850 dates (RFC 9110 §5.6.7).
pub fn parse(text: &[u8], now_secs: u64) -> Option<u64> {
    let day_name = text.get(..3)?;
    if !DAYS.iter().any(|day| day_name == *day) {
        return None;
    }
    match text.len() {
        29 => parse_imf(text),
        24 => parse_asctime(text),
        _ => parse_rfc850(text, now_secs),
    }
}

/// The same whatever the case of its words: for caches, which RFC 9111 §4.2 asks to be so liberal.
pub fn parse_in_any_case(text: &[u8], now_secs: u64) -> Option<u64> {
    let mut spelt = [0; LONGEST];
    let room = spelt.get_mut(..text.len())?;
    let mut begun = false;
    for (to, from) in room.iter_mut().zip(text) {
        *to = if begun { from.to_ascii_lowercase() } else { from.to_ascii_uppercase() };
        begun = from.is_ascii_alphabetic();
    }
    if room.ends_with(b" Gmt") {
        let zone = room.len() - 2;
        room[zone..].make_ascii_uppercase();
    }
    parse(room, now_secs)
}

/// `Wednesday, 30-Sep-94 08:49:37 GMT`. Unit: bytes.
const LONGEST: usize = 33;

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_imf(text: &[u8]) -> Option<u64> {
    let fixed = &text[3..5] == b", " && text[7] == b' ' && text[11] == b' ' && text[16] == b' ';
    if !fixed || &text[25..] != b" GMT" {
        return None;
    }
    seconds(number(&text[12..16])?, &text[8..11], number(&text[5..7])?, &text[17..25])
}

/// `Sun Nov  6 08:49:37 1994`.
fn parse_asctime(text: &[u8]) -> Option<u64> {
    let fixed = text[3] == b' ' && text[7] == b' ' && text[10] == b' ' && text[19] == b' ';
    if !fixed {
        return None;
    }
    let day = if text[8] == b' ' { number(&text[9..10])? } else { number(&text[8..10])? };
    seconds(number(&text[20..24])?, &text[4..7], day, &text[11..19])
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`. A year more than fifty years ahead is one of the past century.
fn parse_rfc850(text: &[u8], now_secs: u64) -> Option<u64> {
    const ENDINGS: [&[u8]; 7] = [b"rs", b"", b"ur", b"", b"", b"s", b"nes"];
    let comma = text.iter().position(|&byte| byte == b',')?;
    let day = DAYS.iter().position(|day| text.starts_with(*day))?;
    let long = text.get(3..comma)?.strip_prefix(ENDINGS[day]) == Some(&b"day"[..]);
    let rest = &text[comma + 1..];
    let fixed = long
        && rest.len() == 23
        && rest[0] == b' '
        && rest[3] == b'-'
        && rest[7] == b'-'
        && rest[10] == b' '
        && &rest[19..] == b" GMT";
    if !fixed {
        return None;
    }
    let (this_year, ..) = civil(now_secs.min(LAST_SECOND) / 86_400);
    let mut year = this_year / 100 * 100 + number(&rest[8..10])?;
    if year > this_year + 50 {
        year -= 100;
    }
    seconds(year, &rest[4..7], number(&rest[1..3])?, &rest[11..19])
}

/// The instant of a date and `HH:MM:SS`; a leap second counts as the second before it.
fn seconds(year: u32, month: &[u8], day: u32, clock: &[u8]) -> Option<u64> {
    let month = MONTHS.iter().position(|name| month == *name)? as u32 + 1;
    let (hour, minute, second) =
        (number(&clock[..2])?, number(&clock[3..5])?, number(&clock[6..])?);
    let fixed = clock[2] == b':' && clock[5] == b':';
    let exists =
        (1..=days_of(year, month)).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !fixed || !exists || year < 1970 {
        return None;
    }
    let of_day = hour * 3600 + minute * 60 + second.min(59);
    Some(days_since_epoch(year, month, day) * 86_400 + u64::from(of_day))
}

fn number(digits: &[u8]) -> Option<u32> {
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

fn two_digits(place: &mut [u8], number: u32) {
    place[0] = b'0' + (number / 10 % 10) as u8;
    place[1] = b'0' + (number % 10) as u8;
}

fn days_of(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date not before it. Years are counted from March, so that the leap day is last.
fn days_since_epoch(year: u32, month: u32, day: u32) -> u64 {
    let year = u64::from(if month <= 2 { year - 1 } else { year });
    let day_of_year = u64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: u64) -> (u32, u32, u32) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    // All three are bounded by year 9999.
    (year as u32, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: u64 = 784_111_777;
    const NOW: u64 = 1_790_000_000;

    #[test]
    fn the_three_forms_of_the_rfc_are_one_instant() {
        assert_eq!(&imf_fixdate(EXAMPLE), b"Sun, 06 Nov 1994 08:49:37 GMT");
        for text in [
            &b"Sun, 06 Nov 1994 08:49:37 GMT"[..],
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text, NOW), Some(EXAMPLE), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for secs in (0..LAST_SECOND).step_by(86_400 * 13 + 3_607) {
            assert_eq!(parse(&imf_fixdate(secs), NOW), Some(secs));
        }
        assert_eq!(&imf_fixdate(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(&imf_fixdate(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&imf_fixdate(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
    }

    #[test]
    fn dates_that_do_not_exist_are_none() {
        for text in [
            &b""[..],
            b"Sun",
            b"Xxx, 06 Nov 1994 08:49:37 GMT",
            b"Sun, 31 Nov 1994 08:49:37 GMT",
            b"Sun, 29 Feb 1994 08:49:37 GMT",
            b"Sun, 06 Nov 1994 24:49:37 GMT",
            b"Sun, 06 Nov 1994 08:49:37 UTC",
            b"Sun, 06 Nov 1969 08:49:37 GMT",
            b"Sun, +6 Nov 1994 08:49:37 GMT",
            b"Sunnyday, 06-Nov-94 08:49:37 GMT",
        ] {
            assert_eq!(parse(text, NOW), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_two_digit_year_is_at_most_fifty_years_ahead() {
        let year = |text: &[u8]| parse(text, NOW).map(|secs| imf_fixdate(secs)[12..16].to_vec());
        assert_eq!(year(b"Monday, 06-Nov-76 08:49:37 GMT"), Some(b"2076".to_vec()));
        assert_eq!(year(b"Monday, 06-Nov-77 08:49:37 GMT"), Some(b"1977".to_vec()));
    }

    #[test]
    fn caches_read_dates_in_any_case() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "sUN, 06 nOV 1994 08:49:37 gmt",
            "SUNDAY, 06-NOV-94 08:49:37 GMT",
            "sun nov  6 08:49:37 1994",
        ] {
            assert_eq!(
                parse_in_any_case(text.as_bytes(), 1_795_608_000),
                Some(784_111_777),
                "{text}"
            );
        }
        for text in ["Sun, 06 Nov 1994 08:49:37 UTC", "", "a date that is longer than any date is"]
        {
            assert_eq!(parse_in_any_case(text.as_bytes(), 1_795_608_000), None, "{text}");
        }
    }
}
