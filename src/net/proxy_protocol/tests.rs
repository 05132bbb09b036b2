//! By the specification's sections: what it allows is read, what it forbids is never read as something.

use super::*;
use crate::base::buffer::BufferPool;

fn ends(source: &str, destination: &str) -> Option<Endpoints> {
    let parse = |text: &str| text.parse().expect("an address");
    Some(Endpoints { source: parse(source), destination: parse(destination) })
}

/// A version 2 header of this command, family and block.
fn v2_header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("short");
    [V2_SIGNATURE, &[command, family], &length.to_be_bytes(), block].concat()
}

fn done(bytes: &[u8]) -> Header {
    match parse(bytes) {
        Outcome::Done(header, used) if used == bytes.len() => header,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];

fn ipv6_block() -> Vec<u8> {
    let ip = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
    [&ip("2001:db8::1")[..], &ip("2001:db8::2"), &[0xdc, 0x04, 0x01, 0xbb]].concat()
}

/// The checksum TLV at the end of a header that is otherwise whole.
fn with_checksum(block: &[u8]) -> Vec<u8> {
    let mut header = v2_header(0x21, 0x11, &[block, &[TLV_CRC32C, 0, 4, 0, 0, 0, 0]].concat());
    let own = header.len() - 4;
    let sum = checksum(&header, own).to_be_bytes();
    header[own..].copy_from_slice(&sum);
    header
}

#[test]
fn v1_lines_of_section_2_1_are_read() {
    let table: &[(&str, Option<Endpoints>)] = &[
        (
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
            ends("192.0.2.1:56324", "198.51.100.7:443"),
        ),
        // The longest lines that the section lists.
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            ends("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            ends(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        ("PROXY UNKNOWN\r\n", None),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            None,
        ),
        ("PROXY TCP6 2001:DB8::1 ::1 1 0\r\n", ends("[2001:db8::1]:1", "[::1]:0")),
        (
            "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.7 1 2\r\n",
            ends("192.0.2.1:1", "198.51.100.7:2"),
        ),
    ];
    for (line, expected) in table {
        assert_eq!(done(line.as_bytes()), Header { endpoints: *expected, tls: false }, "{line}");
    }
    assert_eq!(table[4].0.len(), 104 + 3, "107 bytes, the longest there is");
}

#[test]
fn v1_lines_outside_of_the_grammar_are_refused() {
    use Malformed::{Address, Line, LineEnd};
    let table: &[(&str, Malformed)] = &[
        ("PROXY \r\n", Line),
        ("PROXY TCP\r\n", Line),
        ("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", Line),
        ("PROXY UNKNOWNX\r\n", Line),
        ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", Line),
        ("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", Line),
        ("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", Line),
        ("PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n", Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", Line),
        ("PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", Address),
        ("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", Address),
        ("PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", Address),
        ("PROXY TCP4 0x1.2.3.4 1.2.3.4 1 2\r\n", Address),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", Address),
        ("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", Address),
        ("PROXY TCP6 [::1] [::1] 1 2\r\n", Address),
        ("PROXY TCP6 fe80::1%lo ::1 1 2\r\n", Address),
        ("PROXY TCP6 00001::1 ::1 1 2\r\n", Address),
        ("PROXY TCP6 1::2::3 ::1 1 2\r\n", Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 00 2\r\n", Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", LineEnd),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n", LineEnd),
        ("PROXY UNKNOWN a\rb\r\n", LineEnd),
        ("PROXY UNKNOWN \n\r\n", LineEnd),
    ];
    for (line, why) in table {
        assert_eq!(parse(line.as_bytes()), Outcome::Invalid(*why), "{line:?}");
    }
    let long = [b"PROXY UNKNOWN ", &[b'x'; 92][..], b"\r\n"].concat();
    assert_eq!(parse(&long), Outcome::Invalid(Malformed::LineEnd), "108 bytes");
    assert!(matches!(parse(&long[..106]), Outcome::Partial));
}

#[test]
fn v2_headers_of_section_2_2_are_read() {
    let stream = ends("192.0.2.1:56324", "198.51.100.7:443");
    for family in [0x11, 0x12] {
        assert_eq!(done(&v2_header(0x21, family, &IPV4)).endpoints, stream);
    }
    let six = ends("[2001:db8::1]:56324", "[2001:db8::2]:443");
    assert_eq!(done(&v2_header(0x21, 0x21, &ipv6_block())).endpoints, six);
    // What keeps the real peer: unspecified, Unix, and the proxy's own connections whatever they hold.
    let unix = [0; 216];
    let quiet: &[(u8, u8, &[u8])] = &[
        (0x21, 0x00, b""),
        (0x21, 0x01, b""),
        (0x21, 0x10, &IPV4),
        (0x21, 0x31, &unix),
        (0x21, 0x32, &unix),
        (0x20, 0x00, b""),
        (0x20, 0x11, &IPV4),
        (0x20, 0x11, b"nonsense"),
    ];
    for (command, family, block) in quiet {
        let header = v2_header(*command, *family, block);
        assert_eq!(done(&header), Header::default(), "{command:x} {family:x}");
    }
}

#[test]
fn v2_headers_outside_of_the_section_are_refused() {
    use Malformed::{Command, Family, Length, TooLong};
    let table: &[(u8, u8, &[u8], Malformed)] = &[
        (0x11, 0x11, &IPV4, Command),
        (0x31, 0x11, &IPV4, Command),
        (0x22, 0x11, &IPV4, Command),
        (0x2f, 0x11, &IPV4, Command),
        (0x21, 0x41, &IPV4, Family),
        (0x21, 0xf1, &IPV4, Family),
        (0x21, 0x13, &IPV4, Family),
        (0x21, 0x1f, &IPV4, Family),
        (0x21, 0x11, &IPV4[..11], Length),
        (0x21, 0x21, &IPV4, Length),
        (0x21, 0x31, &IPV4, Length),
        (0x21, 0x11, b"", Length),
        (0x21, 0x11, &[0; 4081], TooLong),
    ];
    for (command, family, block, why) in table {
        let header = v2_header(*command, *family, block);
        assert_eq!(parse(&header), Outcome::Invalid(*why), "{command:x} {family:x}");
    }
}

#[test]
fn tlvs_are_skipped_and_never_run_past_the_header() {
    // PP2_TYPE_ALPN, AWS's VPC endpoint id, NOOP.
    let good = [&IPV4[..], b"\x01\0\x02h2", b"\xea\0\x04\x01vpc", b"\x04\0\0"].concat();
    assert!(done(&v2_header(0x21, 0x11, &good)).endpoints.is_some());
    for bad in
        [&b"\x01"[..], b"\x01\0", b"\x01\0\x01", b"\x01\0\x02x", b"\x01\xff\xff", b"\x04\0\0\x01"]
    {
        let block = [&IPV4[..], bad].concat();
        assert_eq!(parse(&v2_header(0x21, 0x11, &block)), Outcome::Invalid(Malformed::Length));
    }
    assert_eq!(
        parse(&v2_header(0x21, 0x00, b"\x01\0\x02x")),
        Outcome::Invalid(Malformed::Length),
        "TLVs of a header without addresses, too"
    );
}

#[test]
fn a_checksum_is_verified_where_there_is_one() {
    let good = with_checksum(&IPV4);
    assert!(done(&good).endpoints.is_some());
    // Byte 28 says that the TLV is a checksum.
    for at in (16..good.len()).filter(|at| *at != 28) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(matches!(parse(&bad), Outcome::Invalid(_)), "byte {at}");
    }
    let mut wrong = good.clone();
    *wrong.last_mut().expect("long") ^= 0xff;
    assert_eq!(parse(&wrong), Outcome::Invalid(Malformed::Checksum));
    let short = [&IPV4[..], &[TLV_CRC32C, 0, 2, 0, 0]].concat();
    assert_eq!(parse(&v2_header(0x21, 0x11, &short)), Outcome::Invalid(Malformed::Length));
}

#[test]
fn the_ssl_tlv_says_whether_the_client_used_tls() {
    for (client, tls) in [(0x01, true), (0x07, true), (0x00, false), (0x06, false)] {
        let block = [&IPV4[..], &[TLV_SSL, 0, 5, client, 0, 0, 0, 0]].concat();
        assert_eq!(done(&v2_header(0x21, 0x11, &block)).tls, tls);
    }
}

#[test]
fn what_is_no_header_is_absent_as_soon_as_it_can_be_told() {
    for text in [
        "GET / HTTP/1.1",
        "POST",
        "PROPFIND",
        "PROXY/",
        "proxy TCP4",
        "\r\nGET",
        "\r\n\r\n\0\r\nQUIX",
    ] {
        assert_eq!(parse(text.as_bytes()), Outcome::Absent, "{text:?}");
    }
    for text in ["", "P", "PROXY", "PROXY ", "\r\n", "\r\n\r\n\0\r\nQUIT"] {
        assert_eq!(parse(text.as_bytes()), Outcome::Partial, "{text:?}");
    }
}

#[test]
fn bytes_behind_a_header_are_left() {
    let line = b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n";
    let both = [&line[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert!(matches!(parse(&both), Outcome::Done(_, used) if used == line.len()));
    let header = v2_header(0x21, 0x11, &IPV4);
    let both = [&header[..], b"GET"].concat();
    assert!(matches!(parse(&both), Outcome::Done(_, used) if used == header.len()));
}

#[test]
fn what_is_written_is_what_the_specification_shows() {
    let pool = BufferPool::new(1);
    let written = |write: fn(&mut Buf, &Endpoints) -> bool, ends: Option<Endpoints>| {
        let mut out = pool.take().expect("a buffer");
        assert!(write(&mut out, &ends.expect("both ends")));
        out.data().to_vec()
    };
    let four = ends("192.0.2.1:56324", "198.51.100.7:443");
    assert_eq!(written(write_v1, four), b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n");
    assert_eq!(written(write_v2, four), v2_header(0x21, 0x11, &IPV4));
    let six = ends("[2001:db8::1]:56324", "[2001:db8::2]:443");
    assert_eq!(written(write_v1, six), b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n");
    assert_eq!(written(write_v2, six), v2_header(0x21, 0x21, &ipv6_block()));
    let mixed = ends("192.0.2.1:1", "[2001:db8::2]:2");
    assert_eq!(written(write_v1, mixed), b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    assert_eq!(done(&written(write_v2, mixed)).endpoints, mixed);
}
