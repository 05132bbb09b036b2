//! Of header compression (RFC 7541).
//!
//! Tables only; the harness is in the module above. Texts in Huffman code are those of RFC 7541 Appendix B, by hand.

use super::{COMPRESSION_ERROR, Case, Do, Expected, acts, ask, case};
use crate::support::h2_wire::{END_HEADERS, END_STREAM, block, request};
use Expected::{ConnectionError, Status};

const BROKEN: Expected = ConnectionError(&[COMPRESSION_ERROR]);

pub(super) fn cases() -> Vec<Case> {
    [representations(), tables(), integers(), texts()].into_iter().flatten().collect()
}

fn on(stream: u32, blocks: &[&[u8]]) -> Vec<u8> {
    ask(stream, END_STREAM | END_HEADERS, &blocks.concat())
}

fn head() -> Vec<u8> {
    block(&request("GET", "/", &[]))
}

/// A request whose block ends with these bytes.
fn behind(name: &'static str, bytes: &[u8], expected: Expected) -> Case {
    case(name, on(1, &[&head(), bytes]), expected)
}

/// A request whose block begins with them.
fn before(name: &'static str, bytes: &[u8], expected: Expected) -> Case {
    case(name, on(1, &[bytes, &head()]), expected)
}

fn representations() -> Vec<Case> {
    const GOOD: Expected = Status(1, 200);
    // x-test and user-agent, and "ok" as it is and in Huffman code.
    let plain = b"\x06x-test\x02ok";
    let coded = b"\x85\xf2\xb2\x4a\x84\xff\x82\x3f\x5f";
    let with = |first: u8, rest: &[u8]| [&[first], rest].concat();
    vec![
        behind("§6.1 an indexed field", &[0xba], GOOD),
        behind("§6.2.1 kept, with an indexed name", b"\x7a\x02ok", GOOD),
        behind("§6.2.1 the same in Huffman code", b"\x7a\x82\x3f\x5f", GOOD),
        behind("§6.2.1 kept, with a new name", &with(0x40, plain), GOOD),
        behind("§6.2.1 the same in Huffman code", &with(0x40, coded), GOOD),
        behind("§6.2.2 not kept, with an indexed name", b"\x0f\x2b\x02ok", GOOD),
        behind("§6.2.2 the same in Huffman code", b"\x0f\x2b\x82\x3f\x5f", GOOD),
        behind("§6.2.2 not kept, with a new name", &with(0, plain), GOOD),
        behind("§6.2.2 the same in Huffman code", &with(0, coded), GOOD),
        behind("§6.2.3 never kept, with an indexed name", b"\x1f\x2b\x02ok", GOOD),
        behind("§6.2.3 the same in Huffman code", b"\x1f\x2b\x82\x3f\x5f", GOOD),
        behind("§6.2.3 never kept, with a new name", &with(0x10, plain), GOOD),
        behind("§6.2.3 the same in Huffman code", &with(0x10, coded), GOOD),
        acts(
            "§2.3.2 what was kept is known later",
            vec![
                Do::Send(on(1, &[&head(), b"\x40\x06x-test\x02ok"])),
                Do::AwaitEnd(1),
                Do::Send(on(3, &[&head(), &[0xbe]])),
            ],
            Status(3, 200),
        ),
    ]
}

fn tables() -> Vec<Case> {
    const GOOD: Expected = Status(1, 200);
    vec![
        behind("§2.3.3 an index beyond both tables", &[0xc6], BROKEN),
        behind("§2.3.3 a name beyond both tables", b"\x7f\x07\x02ok", BROKEN),
        behind("§6.1 an index of 0", &[0x80], BROKEN),
        before("§6.3 a smaller table", &[0x20], GOOD),
        before("§4.2 several sizes", &[0x20, 0x3f, 0xe1, 0x1f], GOOD),
        behind("§4.2 a size at the end of a block", &[0x21], BROKEN),
        case(
            "§4.2 a size between fields",
            on(
                1,
                &[&block(&[(":method", "GET")]), &[0x20], &block(&request("GET", "/", &[])[1..])],
            ),
            BROKEN,
        ),
        before("§6.3 a size beyond SETTINGS_HEADER_TABLE_SIZE", &[0x3f, 0xe2, 0x1f], BROKEN),
        acts(
            "§4.3 what a smaller table has lost",
            vec![
                Do::Send(on(1, &[&head(), b"\x40\x06x-test\x02ok"])),
                Do::AwaitEnd(1),
                Do::Send(on(3, &[&[0x20, 0x3f, 0xe1, 0x1f], &head(), &[0xbe]])),
            ],
            BROKEN,
        ),
        behind(
            "§4.4 an entry larger than the table empties it",
            &[b"\x40\x06x-test\x7f\x81\x1f".as_slice(), &[b'v'; 4096], &[0xbe]].concat(),
            BROKEN,
        ),
    ]
}

fn integers() -> Vec<Case> {
    vec![
        behind("§5.1 an index without an end", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], BROKEN),
        behind("§5.1 a length without an end", b"\x00\x7f\xff\xff\xff\xff\xff\xff", BROKEN),
        behind("§5.1 an index that is cut", &[0xff], BROKEN),
        behind("§5.1 a length that is cut", &[0x00, 0x7f], BROKEN),
        case("§4.3 of RFC 9113: a block that cannot be read", on(1, &[&[0x40]]), BROKEN),
    ]
}

fn texts() -> Vec<Case> {
    vec![
        behind("§5.2 a name that is cut", b"\x00\x06x-te", BROKEN),
        behind("§5.2 a value that is cut", b"\x00\x06x-test\x05ok", BROKEN),
        behind("§5.2 a value that is not there", b"\x00\x06x-test", BROKEN),
        behind("§5.2 padding of more than seven bits", b"\x00\x06x-test\x83\x3f\x5f\xff", BROKEN),
        behind("§5.2 padding of zeros", b"\x00\x06x-test\x82\x3f\x50", BROKEN),
        behind("§5.2 the symbol of the end", b"\x00\x06x-test\x85\xff\xff\xff\xfd\x7f", BROKEN),
        behind("§5.2 a name with the symbol of the end", b"\x00\x84\xff\xff\xff\xff\x02ok", BROKEN),
    ]
}
