//! What an OCSP answer says (RFC 6960 §4.2.1), as far as it must be known before it is stapled.
//!
//! It only reads, and never believes: clients check the signature. A stapled answer that has ended, or is about another
//! certificate, makes some clients refuse the connection, so that none at all is the better answer (RFC 6066 §8).
//! Reading stops at the first byte that is not DER of the right shape (X.690).

use crate::tls::certificate::{Fields, OCTETS, SEQUENCE, element, hex};

/// What an answer says of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The certificate's serial number, in hexadecimal.
    pub serial: String,
    /// Whether it is revoked.
    pub revoked: bool,
    /// When the answer ends, if it says so. Unit: seconds since 1970.
    pub until: Option<u64>,
}

/// `ENUMERATED`.
const ENUMERATED: u8 = 0x0a;
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, constructed: the bytes of a successful answer, a version, the end of an answer.
const FIRST: u8 = 0xa0;
/// `[1] revoked`, constructed.
const REVOKED: u8 = 0xa1;
/// `id-pkix-ocsp-basic` (RFC 6960 §4.2.1).
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 1];

/// Reads an answer; `None` when it is none, or no successful one.
pub fn read(der: &[u8]) -> Option<Answer> {
    let mut whole = Fields(Fields(der).next(SEQUENCE)?);
    if whole.next(ENUMERATED)? != [0] {
        return None;
    }
    let mut bytes = Fields(Fields(whole.next(FIRST)?).next(SEQUENCE)?);
    if bytes.next(OID)? != BASIC {
        return None;
    }
    let mut basic = Fields(Fields(bytes.next(OCTETS)?).next(SEQUENCE)?);
    let mut data = Fields(basic.next(SEQUENCE)?);
    data.skip_if(FIRST);
    // Who answers, by name or by key.
    let (_, _, rest) = element(data.0)?;
    data.0 = rest;
    data.next(GENERALIZED_TIME)?;
    let mut single = Fields(Fields(data.next(SEQUENCE)?).next(SEQUENCE)?);
    let mut id = Fields(single.next(SEQUENCE)?);
    id.next(SEQUENCE)?;
    id.next(OCTETS)?;
    id.next(OCTETS)?;
    let serial = hex(id.next(INTEGER)?);
    let (status, _, rest) = element(single.0)?;
    single.0 = rest;
    single.next(GENERALIZED_TIME)?;
    let until = match element(single.0) {
        Some((FIRST, end, _)) => Some(Fields(end).time()?),
        _ => None,
    };
    Some(Answer { serial, revoked: status == REVOKED, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_made_up_is_no_answer() {
        for bytes in
            [&b""[..], b"\x30\x03\x0a\x01\x06", b"\x30\x05\x0a\x01\x00\xa0\x00", b"\x30\x80"]
        {
            assert_eq!(read(bytes), None);
        }
    }
}
