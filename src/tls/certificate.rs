//! What stands in a certificate (X.509, RFC 5280 §4.1), as far as operators and policies want to know it.
//!
//! It only reads, and never decides whom to believe: rustls has checked signatures and names of whatever a peer
//! shows. Reading stops at the first byte that is not DER of the right shape (X.690). A few fields do not
//! justify a whole parser among the dependencies.

use aws_lc_rs::digest;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Facts {
    /// Whom it is about, as RFC 4514 writes names; printable ASCII.
    pub subject: String,
    /// Who signed it, the same way.
    pub issuer: String,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// DNS names (subjectAltName), in lower case.
    pub names: Vec<String>,
    /// All alternative names with their kind: `DNS:a.example`, `URI:spiffe://…`, `email:a@b`, `IP:10.0.0.1`.
    pub alternatives: Vec<String>,
    /// From when it holds. Unit: seconds since 1970.
    pub not_before: u64,
    /// Until when it holds. Unit: seconds since 1970.
    pub not_after: u64,
    /// SHA-256 of its public key with the algorithm (SubjectPublicKeyInfo): what a pin names.
    pub key_sha256: [u8; 32],
    /// SHA-256 of the whole: its fingerprint.
    pub sha256: [u8; 32],
    /// How long before its end it is worth a word. Unit: seconds.
    pub ends_soon: u64,
    /// Until when the OCSP answer holds that is shown with it, if one is and says so. Unit: seconds since 1970.
    pub stapled_until: Option<u64>,
}

/// Reads a certificate; `None` when it is none.
pub fn read(der: &[u8]) -> Option<Facts> {
    let (tag, whole, _) = element(der)?;
    let mut fields = Fields((tag == SEQUENCE).then_some(whole)?);
    let mut signed = Fields(fields.next(SEQUENCE)?);
    signed.skip_if(VERSION);
    let serial = signed.next(INTEGER)?;
    signed.next(SEQUENCE)?;
    let issuer = signed.next(SEQUENCE)?;
    let mut validity = Fields(signed.next(SEQUENCE)?);
    let (not_before, not_after) = (validity.time()?, validity.time()?);
    let subject = signed.next(SEQUENCE)?;
    let key = signed.whole(SEQUENCE)?;
    let mut facts = Facts {
        subject: distinguished_name(subject)?,
        issuer: distinguished_name(issuer)?,
        serial: hex(serial),
        not_before,
        not_after,
        key_sha256: sha256(key),
        sha256: sha256(der),
        ..Facts::default()
    };
    while !signed.0.is_empty() {
        let (tag, content, rest) = element(signed.0)?;
        signed.0 = rest;
        if tag == EXTENSIONS {
            extensions(content, &mut facts)?;
        }
    }
    Some(facts)
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    sum
}

const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] version`.
const VERSION: u8 = 0xa0;
/// `[3] extensions`.
const EXTENSIONS: u8 = 0xa3;

/// subjectAltName (RFC 5280 §4.2.1.6).
const ALTERNATIVES: &[u8] = &[0x55, 0x1d, 0x11];

/// One element: its tag, its content, what follows.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let digits = usize::from(first & 0x7f);
        let (digits, rest) = rest.split_at_checked(digits).filter(|_| (1..=3).contains(&digits))?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The elements of a sequence, one after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn next(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content, rest) = element(self.0)?;
        self.0 = rest;
        (tag == wanted).then_some(content)
    }

    /// The same with tag and length.
    fn whole(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.next(wanted)?;
        Some(&before[..before.len() - self.0.len()])
    }

    pub(super) fn skip_if(&mut self, unwanted: u8) {
        if self.0.first() == Some(&unwanted)
            && let Some((_, _, rest)) = element(self.0)
        {
            self.0 = rest;
        }
    }

    /// UTCTime or GeneralizedTime, both in Greenwich and with seconds (RFC 5280 §4.1.2.5).
    pub(super) fn time(&mut self) -> Option<u64> {
        let (tag, text, rest) = element(self.0)?;
        self.0 = rest;
        let (year, text) = match tag {
            UTC_TIME => {
                let year = number(text.get(..2)?)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
            }
            GENERALIZED_TIME => (number(text.get(..4)?)?, text.get(4..)?),
            _ => return None,
        };
        let [month, day, hour, minute, second] =
            [0, 2, 4, 6, 8].map(|at| text.get(at..at + 2).and_then(number));
        let days = days_since_1970(year, month?, day?);
        Some(days * 86_400 + hour? * 3_600 + minute? * 60 + second?)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Days of the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms"); 0 before.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year.saturating_sub(1) } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let shifted = (month + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + day.saturating_sub(1);
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    days.saturating_sub(719_468)
}

/// A name as RFC 4514 writes it: the most specific part first.
fn distinguished_name(mut sets: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !sets.is_empty() {
        let (tag, mut set, rest) = element(sets)?;
        sets = rest;
        let mut values = Vec::new();
        while tag == SET && !set.is_empty() {
            let (_, pair, rest) = element(set)?;
            set = rest;
            let mut pair = Fields(pair);
            let kind = pair.next(OID)?;
            let (_, value, _) = element(pair.0)?;
            values.push(format!("{}={}", attribute(kind), escaped(value)));
        }
        parts.push(values.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// The short name of an attribute (RFC 4514 §3), or its object identifier.
fn attribute(oid: &[u8]) -> String {
    let known = match oid {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 5] => "serialNumber",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        _ => return dotted(oid),
    };
    known.to_owned()
}

fn dotted(oid: &[u8]) -> String {
    let first = oid.first().copied().unwrap_or_default();
    let mut text = format!("{}.{}", (first / 40).min(2), first - 40 * (first / 40).min(2));
    let mut arc: u64 = 0;
    for byte in oid.iter().skip(1) {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            text.push_str(&format!(".{arc}"));
            arc = 0;
        }
    }
    text
}

/// A value of a name as RFC 4514 §2.4 escapes it; all but printable ASCII in hexadecimal, so that it can stand
/// in a field.
fn escaped(value: &[u8]) -> String {
    let mut text = String::new();
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if at == 0 || at == last => text.push_str("\\ "),
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\{byte:02X}")),
        }
    }
    text
}

/// A name of printable ASCII, which a DNS name, a URI and a mail address are (RFC 5280 §4.2.1.6); what is not is written as
/// in a URI, so that it is nobody's name.
fn printable(name: &[u8]) -> String {
    let mut text = String::new();
    for byte in name {
        match byte {
            0x21..=0x7e => text.push(char::from(*byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn extensions(content: &[u8], facts: &mut Facts) -> Option<()> {
    let mut list = Fields(Fields(content).next(SEQUENCE)?);
    while !list.0.is_empty() {
        let mut extension = Fields(list.next(SEQUENCE)?);
        if extension.next(OID)? != ALTERNATIVES {
            continue;
        }
        /// `critical BOOLEAN`.
        const BOOLEAN: u8 = 0x01;
        extension.skip_if(BOOLEAN);
        let mut names = Fields(Fields(extension.next(OCTETS)?).next(SEQUENCE)?);
        while !names.0.is_empty() {
            let (tag, name, rest) = element(names.0)?;
            names.0 = rest;
            alternative(tag, name, facts);
        }
    }
    Some(())
}

fn alternative(tag: u8, name: &[u8], facts: &mut Facts) {
    let plain = || printable(name);
    let text = match (tag, name) {
        (0x81, _) => format!("email:{}", plain()),
        (0x82, _) => {
            facts.names.push(plain().to_ascii_lowercase());
            format!("DNS:{}", plain())
        }
        (0x86, _) => format!("URI:{}", plain()),
        (0x87, [a, b, c, d]) => format!("IP:{a}.{b}.{c}.{d}"),
        (0x87, address) if address.len() == 16 => {
            let mut octets = [0; 16];
            octets.copy_from_slice(address);
            format!("IP:{}", std::net::Ipv6Addr::from(octets))
        }
        _ => return,
    };
    facts.alternatives.push(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_everybody_does() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
        assert_eq!(days_since_1970(2026, 11, 25), 20_782);
        assert_eq!(days_since_1970(1, 1, 1), 0);
    }

    #[test]
    fn names_are_escaped_so_that_they_can_stand_in_a_field() {
        assert_eq!(escaped(b" a,b\r\n\xc3\xa9 "), "\\ a\\,b\\0D\\0A\\C3\\A9\\ ");
        assert_eq!(dotted(&[0x2a, 0x86, 0x48]), "1.2.840");
    }

    #[test]
    fn what_is_cut_or_made_up_is_no_certificate() {
        for bytes in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x80\x00"] {
            assert_eq!(read(bytes), None);
        }
    }
}
