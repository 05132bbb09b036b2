//! From 64 bytes to bitmaps: with `json/wide.rs` the only part of the JSON check (RFC 8259) that depends on the processor.
//!
//! Four ways that never differ in their answer: AVX-512 for all but short texts and AVX2 where the processor has them
//! (asked once, by the standard library's cache), SSE2 on every other x86-64, and plain Rust elsewhere, which
//! compilers turn into vector code as far as they can. NEON has no way of its own yet.

use crate::aggregate::json::JsonFault;
use crate::aggregate::json::index::{Open, Tokens};
use crate::aggregate::json::scan::{BLOCK_BYTES, Classes, scan};
#[cfg(target_arch = "x86_64")]
use crate::aggregate::json::wide;

/// Reads all of `input` in the fastest way that this processor knows.
pub(super) fn check(input: &[u8]) -> Result<(), JsonFault> {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: the features were detected.
        if wide::fits(input.len()) && unsafe { wide::check(input) } {
            return Ok(());
        }
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("popcnt")
        {
            // SAFETY: the four features were detected.
            return unsafe { x86::check_avx2(input) };
        }
        x86::check_sse2(input)
    }
    #[cfg(not(target_arch = "x86_64"))]
    check_portable(input)
}

/// As `check`, and appends the place of every token to `starts`.
pub(super) fn index(input: &[u8], room: &mut Tokens) -> Result<(), JsonFault> {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: the features were detected.
        if wide::fits(input.len()) && unsafe { wide::index(input, room) } {
            return Ok(());
        }
        room.clear();
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("popcnt")
        {
            // SAFETY: the four features were detected.
            return unsafe { x86::index_avx2(input, room) };
        }
        x86::index_sse2(input, room)
    }
    #[cfg(not(target_arch = "x86_64"))]
    index_portable(input, room)
}

/// As `check`, in plain Rust.
#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) fn check_portable(input: &[u8]) -> Result<(), JsonFault> {
    scan(input, portable, prefix_xor, |_, _| {})
}

/// As `index`, in plain Rust.
#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) fn index_portable(input: &[u8], room: &mut Tokens) -> Result<(), JsonFault> {
    let mut open = Open::default();
    scan(input, portable, prefix_xor, |base, tokens| room.note(base, tokens, &mut open))
}

/// As `check` and `index`, with SSE2 only.
#[cfg(all(test, target_arch = "x86_64"))]
pub(super) use x86::{check_sse2, index_sse2};

/// Bit `i` of the result is the XOR of bits `0..=i`.
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable(block: &[u8; BLOCK_BYTES]) -> Classes<u64> {
    let bits = |is: fn(u8) -> bool| {
        block.iter().rev().fold(0u64, |bits, byte| bits << 1 | u64::from(is(*byte)))
    };
    Classes {
        quote: bits(|byte| byte == b'"'),
        backslash: bits(|byte| byte == b'\\'),
        control: bits(|byte| byte < 0x20),
        white: bits(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')),
        comma: bits(|byte| byte == b','),
        colon: bits(|byte| byte == b':'),
        open: bits(|byte| byte | 0x20 == b'{'),
        close: bits(|byte| byte | 0x20 == b'}'),
        curly: bits(|byte| byte & 0x20 != 0),
        digit: bits(|byte| byte.is_ascii_digit()),
        zero: bits(|byte| byte == b'0'),
        dot: bits(|byte| byte == b'.'),
        minus: bits(|byte| byte == b'-'),
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK_BYTES, Classes, JsonFault, Open, Tokens, prefix_xor, scan};

    #[target_feature(enable = "avx2,pclmulqdq,bmi1,popcnt")]
    pub(in crate::aggregate::json) fn check_avx2(input: &[u8]) -> Result<(), JsonFault> {
        scan(input, |block| classify_avx2(block), |bits| prefix_xor_carryless(bits), |_, _| {})
    }

    #[target_feature(enable = "avx2,pclmulqdq,bmi1,popcnt")]
    pub(in crate::aggregate::json) fn index_avx2(
        input: &[u8],
        room: &mut Tokens,
    ) -> Result<(), JsonFault> {
        let mut open = Open::default();
        let note = |base, tokens| room.note(base, tokens, &mut open);
        scan(input, |block| classify_avx2(block), |bits| prefix_xor_carryless(bits), note)
    }

    pub(in crate::aggregate::json) fn check_sse2(input: &[u8]) -> Result<(), JsonFault> {
        #[target_feature(enable = "sse2")]
        fn check(input: &[u8]) -> Result<(), JsonFault> {
            scan(input, |block| classify_sse2(block), prefix_xor, |_, _| {})
        }
        // SAFETY: SSE2 belongs to every x86-64.
        unsafe { check(input) }
    }

    pub(in crate::aggregate::json) fn index_sse2(
        input: &[u8],
        room: &mut Tokens,
    ) -> Result<(), JsonFault> {
        #[target_feature(enable = "sse2")]
        fn index(input: &[u8], room: &mut Tokens) -> Result<(), JsonFault> {
            let mut open = Open::default();
            let note = |base, tokens| room.note(base, tokens, &mut open);
            scan(input, |block| classify_sse2(block), prefix_xor, note)
        }
        // SAFETY: SSE2 belongs to every x86-64.
        unsafe { index(input, room) }
    }

    /// A carry-less product with all ones is the prefix XOR.
    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq,bmi1,popcnt")]
    pub(in crate::aggregate::json) fn prefix_xor_carryless(bits: u64) -> u64 {
        let product = _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, bits as i64), _mm_set1_epi8(-1));
        _mm_cvtsi128_si64(product) as u64
    }

    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq,bmi1,popcnt")]
    pub(in crate::aggregate::json) fn classify_avx2(block: &[u8; BLOCK_BYTES]) -> Classes<u64> {
        let (halves, _) = block.as_chunks::<32>();
        // SAFETY: both chunks are 32 readable bytes, and the loads ask for no alignment.
        let [low, high] = unsafe {
            [
                _mm256_loadu_si256(halves[0].as_ptr().cast()),
                _mm256_loadu_si256(halves[1].as_ptr().cast()),
            ]
        };
        let bits = |low: __m256i, high: __m256i| {
            u64::from(_mm256_movemask_epi8(low) as u32)
                | u64::from(_mm256_movemask_epi8(high) as u32) << 32
        };
        let equal = |byte: u8| {
            let byte = _mm256_set1_epi8(byte as i8);
            bits(_mm256_cmpeq_epi8(low, byte), _mm256_cmpeq_epi8(high, byte))
        };
        // Letters and brackets, without bit 5's distinction.
        let folded = |byte: u8| {
            let (bit, byte) = (_mm256_set1_epi8(0x20), _mm256_set1_epi8(byte as i8));
            let (low, high) = (_mm256_or_si256(low, bit), _mm256_or_si256(high, bit));
            bits(_mm256_cmpeq_epi8(low, byte), _mm256_cmpeq_epi8(high, byte))
        };
        let at_most = |low: __m256i, high: __m256i, most: u8| {
            let most = _mm256_set1_epi8(most as i8);
            bits(
                _mm256_cmpeq_epi8(_mm256_min_epu8(low, most), low),
                _mm256_cmpeq_epi8(_mm256_min_epu8(high, most), high),
            )
        };
        // White space by its low four bits; the other entries equal no byte with those bits.
        let white = _mm256_setr_epi8(
            0x20, 100, 100, 100, 17, 100, 113, 2, 100, 9, 10, 112, 100, 13, 100, 100, 0x20, 100,
            100, 100, 17, 100, 113, 2, 100, 9, 10, 112, 100, 13, 100, 100,
        );
        let (zero_low, zero_high) = {
            let zero = _mm256_set1_epi8(b'0' as i8);
            (_mm256_sub_epi8(low, zero), _mm256_sub_epi8(high, zero))
        };
        Classes {
            quote: equal(b'"'),
            backslash: equal(b'\\'),
            control: at_most(low, high, 0x1f),
            white: bits(
                _mm256_cmpeq_epi8(_mm256_shuffle_epi8(white, low), low),
                _mm256_cmpeq_epi8(_mm256_shuffle_epi8(white, high), high),
            ),
            comma: equal(b','),
            colon: equal(b':'),
            open: folded(b'{'),
            close: folded(b'}'),
            curly: bits(_mm256_slli_epi16::<2>(low), _mm256_slli_epi16::<2>(high)),
            digit: at_most(zero_low, zero_high, 9),
            zero: equal(b'0'),
            dot: equal(b'.'),
            minus: equal(b'-'),
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn classify_sse2(block: &[u8; BLOCK_BYTES]) -> Classes<u64> {
        let (quarters, _) = block.as_chunks::<16>();
        let mut classes = Classes::default();
        for (index, quarter) in quarters.iter().enumerate() {
            // SAFETY: the chunk is 16 readable bytes, and the load asks for no alignment.
            let bytes = unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) };
            let bits = |bytes| u64::from(_mm_movemask_epi8(bytes) as u32) << (index * 16);
            let same = |bytes, byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
            let equal = |byte| bits(same(bytes, byte));
            let folded = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
            let at_most = |bytes, most: u8| {
                bits(_mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(most as i8)), bytes))
            };
            classes.quote |= equal(b'"');
            classes.backslash |= equal(b'\\');
            classes.control |= at_most(bytes, 0x1f);
            classes.white |= equal(b' ') | equal(b'\t') | equal(b'\n') | equal(b'\r');
            classes.comma |= equal(b',');
            classes.colon |= equal(b':');
            classes.open |= bits(same(folded, b'{'));
            classes.close |= bits(same(folded, b'}'));
            classes.curly |= bits(_mm_slli_epi16::<2>(bytes));
            classes.digit |= at_most(_mm_sub_epi8(bytes, _mm_set1_epi8(b'0' as i8)), 9);
            classes.zero |= equal(b'0');
            classes.dot |= equal(b'.');
            classes.minus |= equal(b'-');
        }
        classes
    }
}
