//! 512 bytes at a time, with AVX-512: eight words of bits in one register.
//!
//! The grammar is that of single words (RFC 8259; `json/scan.rs`), and its arithmetic is done on eight of them at
//! once: what carries from each to the next is one addition of eight bits. Bytes become bits by a table of 128 kinds
//! and the transposition of 8 × 8 bits that `GF2P8AFFINEQB` does. It never says what is wrong with a text: one that
//! is not fine is read again a word at a time, so that all ways of reading say the same. Wanted are the features of
//! processors since Ice Lake and Zen 4; older ones with AVX-512 pay for wide registers with their clock.

use std::arch::x86_64::*;
use std::ops::{BitAnd, BitOr, BitXor, Not};

use crate::aggregate::json::classify::x86::{classify_avx2, prefix_xor_carryless};
use crate::aggregate::json::index::{Open, Tokens};
use crate::aggregate::json::scan::{BLOCK_BYTES, Classes, State, Word, scan_from};

/// Words of a block.
const WORDS: usize = 8;

/// Bytes of a block.
const WIDE_BYTES: usize = WORDS * BLOCK_BYTES;

/// What is left over is read a word at a time if it is shorter: a block filled up with spaces takes as long as a full
/// one. Unit: bytes.
const TAIL_BYTES_MIN: usize = WIDE_BYTES / 2;

/// Whether the processor can, and whether it is worth it for a text of so many bytes.
pub(super) fn fits(bytes: usize) -> bool {
    bytes >= TAIL_BYTES_MIN && is_here()
}

/// Whether the processor can.
pub(super) fn is_here() -> bool {
    is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("gfni")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("popcnt")
}

/// Whether `input` is fine.
#[target_feature(
    enable = "avx2,avx512f,avx512bw,avx512dq,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq,pclmulqdq,bmi1,popcnt"
)]
pub(super) fn check(input: &[u8]) -> bool {
    read(input, |_, _| {})
}

/// The same; notes its tokens in `room`.
#[target_feature(
    enable = "avx2,avx512f,avx512bw,avx512dq,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq,pclmulqdq,bmi1,popcnt"
)]
pub(super) fn index(input: &[u8], room: &mut Tokens) -> bool {
    let mut open = Open::default();
    read(input, |base, tokens| room.note(base, tokens, &mut open))
}

#[inline]
#[target_feature(
    enable = "avx2,avx512f,avx512bw,avx512dq,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq,pclmulqdq,bmi1,popcnt"
)]
fn read(input: &[u8], mut note: impl FnMut(usize, [u64; 3])) -> bool {
    let mut state = State::default();
    let (blocks, tail) = input.as_chunks::<WIDE_BYTES>();
    let mut last = [b' '; WIDE_BYTES];
    let is_filled_up = tail.len() >= TAIL_BYTES_MIN;
    if is_filled_up {
        last[..tail.len()].copy_from_slice(tail);
    }
    let mut base = 0;
    // In one place, so that it is compiled into it.
    for block in blocks.iter().chain(is_filled_up.then_some(&last)) {
        let classes = classify(block);
        state.block(&classes, input, base, |quotes, open| inside(quotes, open), &mut note);
        if !state.is_fine() {
            return false;
        }
        base += WIDE_BYTES;
    }
    if is_filled_up {
        return state.end().is_ok();
    }
    let prefix_xor = |bits| prefix_xor_carryless(bits);
    let classify = |block: &_| classify_avx2(block);
    scan_from(input, base, &mut state, classify, prefix_xor, &mut note).is_ok()
}

/// Eight words. Only made where AVX-512 was detected.
#[derive(Clone, Copy)]
pub(super) struct Wide(__m512i);

/// Eight words in memory.
#[repr(align(64))]
#[derive(Clone, Copy, Default)]
pub(super) struct Words([u64; WORDS]);

impl AsRef<[u64]> for Words {
    #[inline(always)]
    fn as_ref(&self) -> &[u64] {
        &self.0
    }
}

impl AsMut<[u64]> for Words {
    #[inline(always)]
    fn as_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}

impl BitAnd for Wide {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        // SAFETY: a `Wide` is only made where AVX-512 is.
        Self(unsafe { _mm512_and_si512(self.0, other.0) })
    }
}

impl BitOr for Wide {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        // SAFETY: a `Wide` is only made where AVX-512 is.
        Self(unsafe { _mm512_or_si512(self.0, other.0) })
    }
}

impl BitXor for Wide {
    type Output = Self;

    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        // SAFETY: a `Wide` is only made where AVX-512 is.
        Self(unsafe { _mm512_xor_si512(self.0, other.0) })
    }
}

impl Not for Wide {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        // SAFETY: a `Wide` is only made where AVX-512 is.
        Self(unsafe { _mm512_xor_si512(self.0, _mm512_set1_epi64(-1)) })
    }
}

impl Word for Wide {
    // SAFETY: eight words of any bits are a value of the type.
    const NONE: Self = Self(unsafe { std::mem::transmute::<[u64; WORDS], __m512i>([0; WORDS]) });
    type Words = Words;

    #[inline(always)]
    fn is_none(self) -> bool {
        // SAFETY: a `Wide` is only made where AVX-512 is.
        unsafe { _mm512_test_epi64_mask(self.0, self.0) == 0 }
    }

    #[inline(always)]
    fn behind(self, carry: &mut u64) -> Self {
        // SAFETY: a `Wide` is only made where AVX-512 with VBMI2 is.
        unsafe {
            // The words below, and what carries in at the top of the lowest.
            let below = _mm512_set1_epi64((*carry << 63) as i64);
            let below = _mm512_alignr_epi64::<7>(self.0, below);
            *carry = u64::from(_mm512_movepi64_mask(self.0) >> 7);
            Self(_mm512_shldi_epi64::<1>(self.0, below))
        }
    }

    #[inline(always)]
    fn sum(self, other: Self, carry: &mut u64) -> Self {
        // SAFETY: a `Wide` is only made where AVX-512 is.
        unsafe {
            let ones = _mm512_set1_epi64(-1);
            let sum = _mm512_add_epi64(self.0, other.0);
            // Words that carry, and words that pass a carry on.
            let over = u32::from(_mm512_cmplt_epu64_mask(sum, self.0));
            let full = u32::from(_mm512_cmpeq_epi64_mask(sum, ones));
            let carried = (full + (over << 1 | *carry as u32)) ^ full;
            *carry = u64::from(carried >> WORDS);
            Self(_mm512_mask_sub_epi64(sum, carried as u8, sum, ones))
        }
    }

    #[inline(always)]
    fn words(self) -> Words {
        let mut words = Words::default();
        // SAFETY: as above, and the words are as many bytes as are written, aligned as they must be.
        unsafe { _mm512_store_si512(words.0.as_mut_ptr().cast(), self.0) };
        words
    }

    #[inline(always)]
    fn of(words: Words) -> Self {
        // SAFETY: as above, for what is read.
        Self(unsafe { _mm512_load_si512(words.0.as_ptr().cast()) })
    }
}

/// What is inside of strings: from each opening quote to the byte before its closing one.
#[inline]
#[target_feature(
    enable = "avx2,avx512f,avx512bw,avx512dq,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq,pclmulqdq,bmi1,popcnt"
)]
pub(super) fn inside(quotes: Wide, in_string: &mut u64) -> Wide {
    // A carry-less product with all ones is the prefix XOR of a word.
    let ones = _mm512_set1_epi64(-1);
    let even = _mm512_clmulepi64_epi128::<0>(quotes.0, ones);
    let odd = _mm512_clmulepi64_epi128::<1>(quotes.0, ones);
    let inside = _mm512_unpacklo_epi64(even, odd);
    // Words that end inside of a string if they began outside; the same of their sequence.
    let mut open = _mm512_movepi64_mask(inside);
    for shift in [1, 2, 4] {
        open ^= open << shift;
    }
    let open = open ^ *in_string as u8;
    let begun = open << 1 | (*in_string & 1) as u8;
    *in_string = 0u64.wrapping_sub(u64::from(open >> 7));
    Wide(_mm512_mask_xor_epi64(inside, begun, inside, ones))
}

/// What each character is, as bits that `classify` takes apart. What is not of ASCII is the last.
const KINDS: [u8; 128] = {
    let mut kinds = [0; 128];
    let mut at = 0;
    while at < 128 {
        kinds[at] = match at as u8 {
            b'"' => QUOTE,
            b'\\' => BACKSLASH,
            b'\t' | b'\n' | b'\r' => CONTROL | WHITE,
            0..0x20 => CONTROL,
            b' ' => WHITE,
            b',' => MARK,
            b':' => MARK | ONE,
            b'[' => MARK | TWO,
            b']' => MARK | ONE | TWO,
            b'{' => MARK | NUMBER | TWO,
            b'}' => MARK | NUMBER | ONE | TWO,
            b'1'..=b'9' => NUMBER,
            b'0' => NUMBER | ONE,
            b'.' => NUMBER | TWO,
            b'-' => NUMBER | ONE | TWO,
            _ => 0,
        };
        at += 1;
    }
    kinds
};
const QUOTE: u8 = 1 << 0;
const BACKSLASH: u8 = 1 << 1;
const CONTROL: u8 = 1 << 2;
const WHITE: u8 = 1 << 3;
/// A comma, a colon or a bracket: which, say the last two bits, and with a bracket the next one whether it is curly.
const MARK: u8 = 1 << 4;
/// A byte of a number: which, say the last two bits.
const NUMBER: u8 = 1 << 5;
const ONE: u8 = 1 << 6;
const TWO: u8 = 1 << 7;

/// Classifies 512 bytes: the bits of a table, turned from eight for each byte into eight planes.
#[inline]
#[target_feature(
    enable = "avx2,avx512f,avx512bw,avx512dq,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq,pclmulqdq,bmi1,popcnt"
)]
pub(super) fn classify(block: &[u8; WIDE_BYTES]) -> Classes<Wide> {
    // SAFETY: the table is twice 64 readable bytes, and the loads ask for no alignment.
    let [low, high] = unsafe {
        [
            _mm512_loadu_si512(KINDS.as_ptr().cast()),
            _mm512_loadu_si512(KINDS.as_ptr().add(64).cast()),
        ]
    };
    // SAFETY: as above, of 64 bytes each.
    let [reverse, gather] = unsafe {
        [_mm512_loadu_si512(REVERSE.as_ptr().cast()), _mm512_loadu_si512(GATHER.as_ptr().cast())]
    };
    // Ones of the unit matrix; whatever is not of ASCII is taken for a character that is of no kind.
    let (ascii, units) =
        (_mm512_set1_epi8(0x7f), _mm512_set1_epi64(0x8040_2010_0804_0201u64 as i64));
    let mut rows = [_mm512_setzero_si512(); WORDS];
    for (row, bytes) in rows.iter_mut().zip(block.as_chunks::<BLOCK_BYTES>().0) {
        // SAFETY: the chunk is 64 readable bytes, and the load asks for no alignment.
        let bytes = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        let bytes = _mm512_min_epu8(_mm512_permutexvar_epi8(reverse, bytes), ascii);
        let kinds = _mm512_permutex2var_epi8(low, bytes, high);
        // Byte n of eight takes bit n of all eight, the last one's lowest.
        let turned = _mm512_gf2p8affine_epi64_epi8::<0>(units, kinds);
        *row = _mm512_permutexvar_epi8(gather, turned);
    }
    let [quote, backslash, control, white, mark, number, one, two] = transposed(rows);
    let [mark, number, one, two] = [Wide(mark), Wide(number), Wide(one), Wide(two)];
    let figure = number & !mark;
    Classes {
        quote: Wide(quote),
        backslash: Wide(backslash),
        control: Wide(control),
        white: Wide(white),
        comma: mark & !one & !two,
        colon: mark & one & !two,
        open: mark & !one & two,
        close: mark & one & two,
        curly: number,
        digit: figure & !two,
        zero: figure & one & !two,
        dot: figure & !one & two,
        minus: figure & one & two,
    }
}

/// The bytes of each eight in reverse.
const REVERSE: [u8; 64] = {
    let mut places = [0; 64];
    let mut at = 0;
    while at < 64 {
        places[at] = (at ^ 7) as u8;
        at += 1;
    }
    places
};

/// The first bytes of all eights, then their second ones, and so on.
const GATHER: [u8; 64] = {
    let mut places = [0; 64];
    let mut at = 0;
    while at < 64 {
        places[at] = ((at % 8) * 8 + at / 8) as u8;
        at += 1;
    }
    places
};

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; WORDS]) -> [__m512i; WORDS] {
    let mut columns = rows;
    for odd in 0..2 {
        let pair = |n: usize| match odd {
            0 => _mm512_unpacklo_epi64(rows[2 * n], rows[2 * n + 1]),
            _ => _mm512_unpackhi_epi64(rows[2 * n], rows[2 * n + 1]),
        };
        let [a, b, c, d] = [pair(0), pair(1), pair(2), pair(3)];
        let (ab, cd) = (_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0x44>(c, d));
        columns[odd] = _mm512_shuffle_i64x2::<0x88>(ab, cd);
        columns[odd + 2] = _mm512_shuffle_i64x2::<0xdd>(ab, cd);
        let (ab, cd) = (_mm512_shuffle_i64x2::<0xee>(a, b), _mm512_shuffle_i64x2::<0xee>(c, d));
        columns[odd + 4] = _mm512_shuffle_i64x2::<0x88>(ab, cd);
        columns[odd + 6] = _mm512_shuffle_i64x2::<0xdd>(ab, cd);
    }
    columns
}
