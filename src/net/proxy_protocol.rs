//! The PROXY protocol, versions 1 and 2: who a proxy in front of us speaks for, told before the first
//! byte of HTTP. Follows haproxy's `doc/proxy-protocol.txt` (2020/03/05), §2 to §2.2.
//!
//! Reading is a pure function of the bytes so far, so that no split of them can change its outcome.
//! It never guesses: who calls it has decided that the sender is trusted and may send a header, because
//! the specification forbids both to look for one where none is agreed on, and to believe anybody's.
//! Choices where it leaves room:
//!
//! - Version 1 is taken by its exact grammar: single spaces, decimal numbers without leading zeros, CRLF
//!   within 107 bytes. A bare CR or LF anywhere is refused.
//! - What says nothing about an IP client (LOCAL, UNKNOWN, unspecified and Unix families) leaves the real
//!   peer in place, as the specification asks.
//! - An address of a datagram (a QUIC client of the proxy) is as good as one of a stream.
//! - TLVs are walked, so that one that runs past its header is refused; the checksum is verified where
//!   there is one, and `PP2_TYPE_SSL` says whether the client used TLS. All others are skipped.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::buffer::Buf;
use crate::base::crc32c::Crc32c;
use crate::base::limits::{PROXY_HEADER_BYTES_MAX, PROXY_V1_BYTES_MAX};

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// The connection that the proxy accepted; `None` leaves the real peer in place.
    pub endpoints: Option<Endpoints>,
    /// Whether the client's connection to the proxy was TLS, where the header says it.
    pub tls: bool,
}

/// Both ends of the client's connection to the proxy. IPv4 that was mapped into IPv6 is IPv4 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The beginning of no header: the connection begins with something else.
    Absent,
    /// Not enough to tell.
    Partial,
    /// A whole header; what it says, and how many bytes it took.
    Done(Header, usize),
    /// A header that is not good: the connection must be closed.
    Invalid(Malformed),
}

/// Why a header is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Version 1: no CRLF within 107 bytes, or one of the two alone.
    LineEnd,
    /// Version 1: not one of the three forms of a line.
    Line,
    /// Version 1: an address or port that cannot be read or is spelt in an unusual way.
    Address,
    /// Version 2: neither LOCAL nor PROXY, or another version.
    Command,
    /// Version 2: a family or protocol that does not exist.
    Family,
    /// Version 2: longer than we take.
    TooLong,
    /// Version 2: too short for its addresses, or a TLV runs past the end.
    Length,
    /// Version 2: the checksum is wrong.
    Checksum,
}

impl Malformed {
    /// In a few words, for operators.
    pub fn text(self) -> &'static str {
        match self {
            Self::LineEnd => "a version 1 line without CRLF within 107 bytes",
            Self::Line => "a version 1 line that is not TCP4, TCP6 or UNKNOWN",
            Self::Address => "an address or port that cannot be read",
            Self::Command => "an unknown version or command",
            Self::Family => "an unknown address family or protocol",
            Self::TooLong => "a header that is too long",
            Self::Length => "lengths that do not fit",
            Self::Checksum => "a wrong checksum",
        }
    }
}

/// How a version 1 header begins (§2.1).
const V1_SIGNATURE: &[u8] = b"PROXY ";
/// How a version 2 header begins (§2.2): no other protocol's first bytes.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Whether these bytes begin as a header does, however it goes on.
pub fn is_begun(data: &[u8]) -> bool {
    data.starts_with(V1_SIGNATURE) || data.starts_with(V2_SIGNATURE)
}
/// Signature, version and command, family, length. Unit: bytes.
const V2_FIXED_BYTES: usize = 16;

/// Reads a header from the first bytes of a connection.
///
/// More bytes never change an outcome other than `Partial`.
pub fn parse(data: &[u8]) -> Outcome {
    for (signature, read) in [(V1_SIGNATURE, v1 as fn(&[u8]) -> Outcome), (V2_SIGNATURE, v2)] {
        let known = data.len().min(signature.len());
        if data[..known] == signature[..known] {
            return if known < signature.len() { Outcome::Partial } else { read(data) };
        }
    }
    Outcome::Absent
}

fn v1(data: &[u8]) -> Outcome {
    let window = &data[..data.len().min(PROXY_V1_BYTES_MAX)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        let too_long = window.len() == PROXY_V1_BYTES_MAX;
        return if too_long { Outcome::Invalid(Malformed::LineEnd) } else { Outcome::Partial };
    };
    let line = window[..end].strip_suffix(b"\r").filter(|line| !line.contains(&b'\r'));
    let Some(line) = line else { return Outcome::Invalid(Malformed::LineEnd) };
    match v1_line(&line[V1_SIGNATURE.len()..]) {
        Ok(endpoints) => Outcome::Done(Header { endpoints, tls: false }, end + 1),
        Err(why) => Outcome::Invalid(why),
    }
}

/// What stands behind `PROXY ` (§2.1).
fn v1_line(line: &[u8]) -> Result<Option<Endpoints>, Malformed> {
    let mut words = line.split(|byte| *byte == b' ');
    let family = words.next().unwrap_or_default();
    if family == b"UNKNOWN" {
        // Whatever follows is to be ignored.
        return Ok(None);
    }
    let (Some(source), Some(destination), Some(from), Some(to), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed::Line);
    };
    let address = match family {
        b"TCP4" => |word: &str| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        b"TCP6" => |word: &str| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(Malformed::Line),
    };
    let end = |word: &[u8], port: &[u8]| {
        let word = std::str::from_utf8(word).ok()?;
        Some(SocketAddr::new(address(word)?.to_canonical(), v1_port(port)?))
    };
    match (end(source, from), end(destination, to)) {
        (Some(source), Some(destination)) => Ok(Some(Endpoints { source, destination })),
        _ => Err(Malformed::Address),
    }
}

/// 0 to 65535 in digits, without leading zeros.
fn v1_port(word: &[u8]) -> Option<u16> {
    let plain =
        word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || word.first() != Some(&b'0'));
    std::str::from_utf8(word).ok().filter(|_| plain)?.parse().ok()
}

fn v2(data: &[u8]) -> Outcome {
    let Some(fixed) = data.first_chunk::<V2_FIXED_BYTES>() else { return Outcome::Partial };
    let [.., command, family, high, low] = *fixed;
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Outcome::Invalid(Malformed::Command),
    };
    if family >> 4 > 3 || family & 0xf > 2 {
        return Outcome::Invalid(Malformed::Family);
    }
    let whole = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if whole > PROXY_HEADER_BYTES_MAX {
        return Outcome::Invalid(Malformed::TooLong);
    }
    let Some(header) = data.get(..whole) else { return Outcome::Partial };
    if local {
        // The proxy's own connection (a health check): the rest is to be discarded, whatever it is.
        return Outcome::Done(Header::default(), whole);
    }
    match v2_block(header, family) {
        Ok(said) => Outcome::Done(said, whole),
        Err(why) => Outcome::Invalid(why),
    }
}

/// The addresses and TLVs of a whole header.
fn v2_block(header: &[u8], family: u8) -> Result<Header, Malformed> {
    let block = &header[V2_FIXED_BYTES..];
    let (endpoints, addresses_bytes) = match family >> 4 {
        1 => (Some(v2_ipv4(block).ok_or(Malformed::Length)?), 12),
        2 => (Some(v2_ipv6(block).ok_or(Malformed::Length)?), 36),
        3 => (None, 216),
        _ => (None, 0),
    };
    // An unspecified protocol makes the addresses unspecified, too.
    let endpoints = endpoints.filter(|_| family & 0xf != 0);
    let tls = v2_tlvs(header, V2_FIXED_BYTES + addresses_bytes)?;
    Ok(Header { endpoints, tls })
}

fn v2_ipv4(block: &[u8]) -> Option<Endpoints> {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *block.first_chunk::<12>()?;
    let end = |ip: [u8; 4], port| SocketAddr::new(ip.into(), u16::from_be_bytes(port));
    Some(Endpoints { source: end([a, b, c, d], [i, j]), destination: end([e, f, g, h], [k, l]) })
}

fn v2_ipv6(block: &[u8]) -> Option<Endpoints> {
    let (source, block) = block.split_first_chunk::<16>()?;
    let (destination, block) = block.split_first_chunk::<16>()?;
    let [from_high, from_low, to_high, to_low] = *block.first_chunk::<4>()?;
    let end = |ip: [u8; 16], port| {
        SocketAddr::new(IpAddr::from(ip).to_canonical(), u16::from_be_bytes(port))
    };
    Some(Endpoints {
        source: end(*source, [from_high, from_low]),
        destination: end(*destination, [to_high, to_low]),
    })
}

/// `PP2_TYPE_CRC32C` (§2.2.3): a checksum of the whole header, its own four bytes taken as zero.
const TLV_CRC32C: u8 = 0x03;
/// `PP2_TYPE_SSL` (§2.2.6); bit 0 of its first byte is `PP2_CLIENT_SSL`.
const TLV_SSL: u8 = 0x20;

/// Walks the TLVs from `at` to the end; says whether the client used TLS.
fn v2_tlvs(header: &[u8], mut at: usize) -> Result<bool, Malformed> {
    let (mut tls, mut checked) = (false, false);
    let mut rest = header.get(at..).ok_or(Malformed::Length)?;
    while !rest.is_empty() {
        let [kind, high, low] = *rest.first_chunk::<3>().ok_or(Malformed::Length)?;
        let end = 3 + usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(3..end).ok_or(Malformed::Length)?;
        match kind {
            TLV_CRC32C if checked || value.len() != 4 => return Err(Malformed::Length),
            TLV_CRC32C if value != checksum(header, at + 3).to_be_bytes() => {
                return Err(Malformed::Checksum);
            }
            TLV_CRC32C => checked = true,
            TLV_SSL => tls = value.first().is_some_and(|client| client & 1 == 1),
            _ => {}
        }
        rest = &rest[end..];
        at += end;
    }
    Ok(tls)
}

/// The checksum of a header whose own is at `own`.
fn checksum(header: &[u8], own: usize) -> u32 {
    let mut crc = Crc32c::default();
    crc.update(&header[..own]);
    crc.update(&[0; 4]);
    crc.update(&header[own + 4..]);
    crc.sum()
}

/// Appends a version 1 header; `false`, and nothing appended, when it does not fit.
pub fn write_v1(out: &mut Buf, ends: &Endpoints) -> bool {
    let (source, destination) = same_family(ends);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let mut line = [0; PROXY_V1_BYTES_MAX];
    let mut room = &mut line[..];
    let (from, to) = (source.port(), destination.port());
    let (source, destination) = (source.ip(), destination.ip());
    // The bound is the specification's own: the longest line fits.
    let written = write!(room, "PROXY {family} {source} {destination} {from} {to}\r\n");
    let left = room.len();
    written.is_ok() && out.put(&line[..PROXY_V1_BYTES_MAX - left])
}

/// Appends a version 2 header; `false`, and nothing appended, when it does not fit.
pub fn write_v2(out: &mut Buf, ends: &Endpoints) -> bool {
    const LONGEST: usize = V2_FIXED_BYTES + 36;
    let mut header = [0; LONGEST];
    let mut room = &mut header[..];
    let mut put = |bytes: &[u8]| room.write_all(bytes).is_ok();
    let (source, destination) = same_family(ends);
    let mut fits = put(V2_SIGNATURE);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            fits &=
                put(&[0x21, 0x11, 0, 12]) && put(&source.octets()) && put(&destination.octets());
        }
        (source, destination) => {
            fits &= put(&[0x21, 0x21, 0, 36]);
            fits &= put(&mapped(source).octets()) && put(&mapped(destination).octets());
        }
    }
    fits &= put(&source.port().to_be_bytes()) && put(&destination.port().to_be_bytes());
    let left = room.len();
    fits && out.put(&header[..LONGEST - left])
}

/// Both ends in one family: where they differ, IPv4 is mapped into IPv6 as haproxy does it.
fn same_family(ends: &Endpoints) -> (SocketAddr, SocketAddr) {
    let (source, destination) = (ends.source, ends.destination);
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let in_ipv6 = |end: SocketAddr| SocketAddr::new(mapped(end.ip()).into(), end.port());
    (in_ipv6(source), in_ipv6(destination))
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests;
