//! Looks into header blocks for pseudo-header fields in trailers, which the `h2` crate drops without a word
//! (RFC 9113 §8.1: such a request is malformed).
//!
//! Of HPACK (RFC 7541) only so much is followed as tells which entry of the dynamic table is a pseudo-header field:
//! names by their first byte, values by their length. No text is ever decoded or kept. What cannot be followed makes
//! every later trailer section suspect, for the crate closes such a connection anyway.

use std::collections::VecDeque;

use crate::base::limits::H2_BLOCK_BYTES_MAX;

/// Size of the dynamic table that we allow, and what each entry counts beyond its text (RFC 7541 §4.1, §6.5.2).
const TABLE_BYTES_MAX: usize = 4096;
const ENTRY_BYTES: usize = 32;

/// The static table: pseudo-header fields come first (RFC 7541 Appendix A).
const STATIC_PSEUDO: usize = 14;
const STATIC_NAME_BYTES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];

/// How many symbols of the Huffman code have so many bits (RFC 7541 Appendix B); it is canonical.
const CODES: [u32; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];

/// The code of the end, the last of them.
const END_BITS: usize = 30;
const END_CODE: u32 = (1 << END_BITS) - 1;

/// A field's name, as far as it matters.
#[derive(Clone, Copy)]
struct Name {
    bytes: usize,
    is_pseudo: bool,
}

/// The header blocks of one direction of one connection.
#[derive(Default)]
pub struct Blocks {
    /// The block that is arriving.
    block: Vec<u8>,
    /// Whether it is that of trailers.
    is_trailers: bool,
    /// The dynamic table, the newest first.
    table: VecDeque<(Name, usize)>,
    table_bytes: usize,
    table_bytes_max: Option<usize>,
    is_lost: bool,
}

impl Blocks {
    /// A block begins.
    pub fn begin(&mut self, is_trailers: bool) {
        self.block.clear();
        self.is_trailers = is_trailers;
    }

    /// A piece of it.
    pub fn take(&mut self, piece: &[u8]) {
        if self.block.len() + piece.len() > H2_BLOCK_BYTES_MAX {
            self.is_lost = true;
        } else {
            self.block.extend_from_slice(piece);
        }
    }

    /// It is whole. `false` when it is a trailer section with a pseudo-header field, or may be.
    pub fn end(&mut self) -> bool {
        let block = std::mem::take(&mut self.block);
        let pseudo = self.follow(&mut Reader { bytes: &block });
        self.block = block;
        self.is_lost |= pseudo.is_none();
        !(self.is_trailers && pseudo.unwrap_or(true))
    }

    /// Whether the block that ended last cannot be decoded: for asking when the protocol has given up, because texts are
    /// only read here.
    pub fn is_undecodable(&self) -> bool {
        self.is_lost || has_bad_text(&mut Reader { bytes: &self.block }).unwrap_or(true)
    }

    /// Follows a block; whether there was a pseudo-header field.
    fn follow(&mut self, block: &mut Reader<'_>) -> Option<bool> {
        if self.is_lost {
            return None;
        }
        let mut any = false;
        let mut is_first = true;
        while let Some(&first) = block.bytes.first() {
            let name = match first {
                0x80.. => {
                    let index = block.integer(7)?;
                    self.name(index)?
                }
                0x40.. => self.literal(block, 6, true)?,
                0x20.. => {
                    let size = block.integer(5)?;
                    if !is_first || size > TABLE_BYTES_MAX {
                        return None;
                    }
                    self.table_bytes_max = Some(size);
                    self.evict();
                    continue;
                }
                _ => self.literal(block, 4, false)?,
            };
            is_first = false;
            any |= name.is_pseudo;
        }
        Some(any)
    }

    fn literal(&mut self, block: &mut Reader<'_>, bits: u32, is_kept: bool) -> Option<Name> {
        let index = block.integer(bits)?;
        let name = match index {
            0 => block.text(is_kept)?,
            index => self.name(index)?,
        };
        let value = block.text(is_kept)?;
        if is_kept {
            let bytes = name.bytes + value.bytes + ENTRY_BYTES;
            self.table.push_front((name, bytes));
            self.table_bytes += bytes;
            self.evict();
        }
        Some(name)
    }

    fn name(&self, index: usize) -> Option<Name> {
        let at = index.checked_sub(1)?;
        match STATIC_NAME_BYTES.get(at) {
            Some(bytes) => {
                Some(Name { bytes: usize::from(*bytes), is_pseudo: index <= STATIC_PSEUDO })
            }
            None => self.table.get(at - STATIC_NAME_BYTES.len()).map(|(name, _)| *name),
        }
    }

    fn evict(&mut self) {
        while self.table_bytes > self.table_bytes_max.unwrap_or(TABLE_BYTES_MAX) {
            let Some((_, bytes)) = self.table.pop_back() else { return };
            self.table_bytes -= bytes;
        }
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
}

impl Reader<'_> {
    /// An integer with a prefix of so many bits (RFC 7541 §5.1).
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let mask = (1_usize << bits) - 1;
        let mut value = usize::from(*self.bytes.first()?) & mask;
        self.bytes = &self.bytes[1..];
        if value < mask {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(*self.bytes.first()?);
            self.bytes = &self.bytes[1..];
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A text (RFC 7541 §5.2); its length is only found out where it `matters`.
    fn text(&mut self, matters: bool) -> Option<Name> {
        let is_coded = self.bytes.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let text = self.bytes.get(..length)?;
        self.bytes = &self.bytes[length..];
        let first = text.first().copied().unwrap_or_default();
        // The code of `:` is 1011100.
        let is_pseudo = if is_coded { first >> 1 == 0b101_1100 } else { first == b':' };
        let bytes = if is_coded && matters { decoded_bytes(text) } else { length };
        Some(Name { bytes, is_pseudo })
    }

    /// Whether a text that may be in Huffman code ends as one must: with fewer than eight bits of the code for its end,
    /// which never stands in it (§5.2).
    fn is_coded_well(&mut self) -> Option<bool> {
        let is_coded = self.bytes.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let text = self.bytes.get(..length)?;
        self.bytes = &self.bytes[length..];
        if !is_coded {
            return Some(true);
        }
        let (mut code, mut first, mut bits) = (0_u32, 0_u32, 0_usize);
        for at in 0..text.len() * 8 {
            code = code << 1 | u32::from(text[at / 8] >> (7 - at % 8) & 1);
            first = (first + CODES.get(bits).copied().unwrap_or_default()) << 1;
            bits += 1;
            match CODES.get(bits) {
                None => return Some(false),
                Some(_) if bits == END_BITS && code == END_CODE => return Some(false),
                Some(codes) if code.wrapping_sub(first) < *codes => (code, first, bits) = (0, 0, 0),
                Some(_) => {}
            }
        }
        Some(bits < 8 && code == (1 << bits) - 1)
    }
}

/// Whether one of a block's texts is no Huffman code; `None` when the block is cut.
fn has_bad_text(block: &mut Reader<'_>) -> Option<bool> {
    let mut any = false;
    while let Some(&first) = block.bytes.first() {
        let bits = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let index = block.integer(bits)?;
        if matches!(bits, 4 | 6) {
            any |= index == 0 && !block.is_coded_well()?;
            any |= !block.is_coded_well()?;
        }
    }
    Some(any)
}

/// How many symbols a text in Huffman code has.
fn decoded_bytes(text: &[u8]) -> usize {
    let (mut symbols, mut code, mut first, mut bits) = (0, 0_u32, 0_u32, 0_usize);
    for byte in text {
        for at in (0..8).rev() {
            code = code << 1 | u32::from(byte >> at & 1);
            first = (first + CODES.get(bits).copied().unwrap_or_default()) << 1;
            bits += 1;
            let codes = CODES.get(bits).copied().unwrap_or_default();
            if code.wrapping_sub(first) < codes {
                symbols += 1;
                (code, first, bits) = (0, 0, 0);
            }
        }
    }
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(blocks: &mut Blocks, is_trailers: bool, bytes: &[u8]) -> bool {
        blocks.begin(is_trailers);
        bytes.iter().for_each(|byte| blocks.take(&[*byte]));
        blocks.end()
    }

    #[test]
    fn codes_have_the_lengths_of_the_standard() {
        assert_eq!(CODES.iter().sum::<u32>(), 257, "256 symbols and the end");
        // RFC 7541 C.4.1, C.4.2, C.4.3, C.6.1: texts with their codes.
        let known: [(&[u8], usize); 4] = [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], 15),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], 8),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], 12),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], 7),
        ];
        for (text, bytes) in known {
            assert_eq!(decoded_bytes(text), bytes);
        }
    }

    #[test]
    fn pseudo_header_fields_are_found_however_they_are_written() {
        let mut blocks = Blocks::default();
        let request = [&[0x82, 0x86, 0x44, 2][..], b"/a", &[0x41, 1], b"a"].concat();
        assert!(block(&mut blocks, false, &request), "a request has them");
        let bad: [&[u8]; 6] = [
            &[0x82],
            &[0x04, 2, b'/', b'a'],
            b"\x00\x05:path\x02/a",
            // `:path` in Huffman code.
            &[0x00, 0x84, 0xb9, 0x58, 0xd3, 0x3f, 1, b'/'],
            &[0xbe],
            &[0xbf],
        ];
        for trailers in bad {
            assert!(!block(&mut blocks, true, trailers), "{trailers:?}");
        }
        assert!(block(&mut blocks, true, b"\x40\x05x-sum\x016"));
        assert!(block(&mut blocks, true, &[0xbe]), "the newest entry is x-sum now");
        assert!(!block(&mut blocks, true, &[0xbf]), "and :authority the one before");
    }

    #[test]
    fn entries_leave_the_table_when_the_standard_says_so() {
        let mut blocks = Blocks::default();
        assert!(block(&mut blocks, false, &[0x44, 2, b'/', b'a']));
        assert_eq!((blocks.table.len(), blocks.table_bytes), (1, 5 + 2 + 32));
        assert!(block(&mut blocks, false, &[0x20]), "a table of no size");
        assert_eq!((blocks.table.len(), blocks.table_bytes), (0, 0));
        assert!(!block(&mut blocks, true, &[0xbe]), "what cannot be followed is suspect");
        assert!(!block(&mut blocks, true, b"\x00\x01x\x01y"), "and so is all behind it");
    }

    #[test]
    fn what_cannot_be_decoded_is_known_when_somebody_asks() {
        let good: [&[u8]; 5] = [
            &[0x82, 0x84],
            b"\x00\x01x\x82\x3f\x5f",
            b"\x00\x82\x3f\x5f\x01y",
            &[0x20, 0x3f, 0xe1, 0x1f, 0x82],
            b"\x00\x01x\x80",
        ];
        let bad: [&[u8]; 9] = [
            &[0x80],
            &[0xc6],
            &[0x40],
            &[0x82, 0x20],
            &[0x3f, 0xe2, 0x1f],
            b"\x00\x01x\x83\x3f\x5f\xff",
            b"\x00\x01x\x82\x3f\x50",
            b"\x00\x01x\x84\xff\xff\xff\xff",
            b"\x00\x01x\x85\xff\xff\xff\xfd\x7f",
        ];
        for (bytes, is_good) in
            good.iter().map(|it| (it, true)).chain(bad.iter().map(|it| (it, false)))
        {
            let mut blocks = Blocks::default();
            assert!(block(&mut blocks, false, bytes));
            assert_eq!(blocks.is_undecodable(), !is_good, "{bytes:x?}");
        }
    }
}
