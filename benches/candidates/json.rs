//! The ways to check JSON that stand beside ours in `docs/decisions/0010-json.md`: one byte after the other, and
//! a grammar over a structural index. Both accept what RFC 8259 does, at most 128 levels deep.
//!
//! Never part of the program: they are here so that the contest can be held again.

/// One byte after the other.
pub fn scalar(text: &[u8]) -> bool {
    if simdutf8::basic::from_utf8(text).is_err() {
        return false;
    }
    let mut at = 0;
    let mut grammar = Grammar::default();
    loop {
        while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            at += 1;
        }
        let Some(byte) = text.get(at) else { return grammar.is_whole() };
        if !grammar.token(*byte) {
            return false;
        }
        let behind = match byte {
            b'"' => string(text, at),
            b'{' | b'}' | b'[' | b']' | b',' | b':' => Some(at + 1),
            _ => word_or_number(text, at),
        };
        match behind {
            Some(behind) => at = behind,
            None => return false,
        }
    }
}

/// An index of tokens by vector instructions, then the grammar over it.
#[cfg(target_arch = "x86_64")]
pub fn indexed(text: &[u8], starts: &mut Vec<u32>) -> bool {
    if simdutf8::basic::from_utf8(text).is_err() {
        return false;
    }
    starts.clear();
    if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("pclmulqdq") {
        return scalar(text);
    }
    // SAFETY: both features were detected.
    if !unsafe { index(text, starts) } {
        return false;
    }
    let mut grammar = Grammar::default();
    for start in &*starts {
        let at = *start as usize;
        let byte = text[at];
        if !grammar.token(byte) {
            return false;
        }
        let plain = matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':');
        if !plain && word_or_number(text, at).is_none() {
            return false;
        }
    }
    grammar.is_whole()
}

/// Which token may follow.
#[derive(Clone, Copy, Default, PartialEq)]
enum Next {
    #[default]
    Value,
    ValueOrClose,
    KeyOrClose,
    Key,
    Colon,
    CommaOrClose,
    End,
}

#[derive(Default)]
struct Grammar {
    next: Next,
    stack: u128,
    depth: u32,
}

impl Grammar {
    #[inline(always)]
    fn token(&mut self, byte: u8) -> bool {
        let in_object = self.stack & 1 != 0;
        let behind = if self.depth == 0 { Next::End } else { Next::CommaOrClose };
        self.next = match (self.next, byte) {
            (Next::Value | Next::ValueOrClose, b'{') if self.depth < 128 => {
                (self.stack, self.depth) = (self.stack << 1 | 1, self.depth + 1);
                Next::KeyOrClose
            }
            (Next::Value | Next::ValueOrClose, b'[') if self.depth < 128 => {
                (self.stack, self.depth) = (self.stack << 1, self.depth + 1);
                Next::ValueOrClose
            }
            (Next::KeyOrClose | Next::CommaOrClose, b'}') if in_object => return self.close(),
            (Next::ValueOrClose | Next::CommaOrClose, b']') if !in_object => return self.close(),
            (Next::Key | Next::KeyOrClose, b'"') => Next::Colon,
            (Next::Colon, b':') => Next::Value,
            (Next::CommaOrClose, b',') => {
                if in_object {
                    Next::Key
                } else {
                    Next::Value
                }
            }
            (Next::Value | Next::ValueOrClose, byte) if !b"]},:{[".contains(&byte) => behind,
            _ => return false,
        };
        true
    }

    fn close(&mut self) -> bool {
        (self.stack, self.depth) = (self.stack >> 1, self.depth - 1);
        self.next = if self.depth == 0 { Next::End } else { Next::CommaOrClose };
        true
    }

    fn is_whole(&self) -> bool {
        self.next == Next::End
    }
}

fn string(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = escape(text, at + 1)?,
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

fn escape(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => {
            let digits = text.get(at + 1..at + 5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(at + 5)
        }
        _ => None,
    }
}

fn word_or_number(text: &[u8], at: usize) -> Option<usize> {
    let behind = match text[at] {
        b't' => text[at..].starts_with(b"true").then_some(at + 4)?,
        b'f' => text[at..].starts_with(b"false").then_some(at + 5)?,
        b'n' => text[at..].starts_with(b"null").then_some(at + 4)?,
        _ => number(text, at)?,
    };
    let ends =
        matches!(text.get(behind), None | Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'}'));
    ends.then_some(behind)
}

fn number(text: &[u8], start: usize) -> Option<usize> {
    let digits = |mut at: usize| {
        let from = at;
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        (at > from).then_some(at)
    };
    let mut at = start + usize::from(text[start] == b'-');
    at = if text.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        at = digits(at)?;
    }
    Some(at)
}

/// Notes where tokens begin; `false` on a string that is not closed or not well-formed.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,pclmulqdq")]
fn index(text: &[u8], starts: &mut Vec<u32>) -> bool {
    use std::arch::x86_64::*;
    let (mut escaped_next, mut in_string, mut scalar_before) = (0u64, 0u64, 0u64);
    let mut base = 0;
    let mut last = [b' '; 64];
    while base <= text.len() {
        let block: &[u8; 64] = match text.get(base..base + 64).and_then(|b| b.try_into().ok()) {
            Some(block) => block,
            None => {
                last[..text.len() - base].copy_from_slice(&text[base..]);
                &last
            }
        };
        // SAFETY: 64 readable bytes, and the loads ask for no alignment.
        let (low, high) = unsafe {
            (
                _mm256_loadu_si256(block.as_ptr().cast()),
                _mm256_loadu_si256(block.as_ptr().add(32).cast()),
            )
        };
        let bits = |low: __m256i, high: __m256i| {
            u64::from(_mm256_movemask_epi8(low) as u32)
                | u64::from(_mm256_movemask_epi8(high) as u32) << 32
        };
        let equal = |byte: u8| {
            let byte = _mm256_set1_epi8(byte as i8);
            bits(_mm256_cmpeq_epi8(low, byte), _mm256_cmpeq_epi8(high, byte))
        };
        let most = _mm256_set1_epi8(0x1f);
        let control = bits(
            _mm256_cmpeq_epi8(_mm256_min_epu8(low, most), low),
            _mm256_cmpeq_epi8(_mm256_min_epu8(high, most), high),
        );
        let folded = |byte: u8| {
            let (bit, byte) = (_mm256_set1_epi8(0x20), _mm256_set1_epi8(byte as i8));
            bits(
                _mm256_cmpeq_epi8(_mm256_or_si256(low, bit), byte),
                _mm256_cmpeq_epi8(_mm256_or_si256(high, bit), byte),
            )
        };
        let backslash = equal(b'\\');
        let escaped = if backslash == 0 {
            std::mem::take(&mut escaped_next)
        } else {
            const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
            let begins = backslash & !escaped_next;
            let codes = ((begins << 1) | ODD).wrapping_sub(begins) ^ ODD;
            let escaped = codes ^ (backslash | escaped_next);
            escaped_next = (codes & backslash) >> 63;
            escaped
        };
        let quotes = equal(b'"') & !escaped;
        let product =
            _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, quotes as i64), _mm_set1_epi8(-1));
        let inside = _mm_cvtsi128_si64(product) as u64 ^ in_string;
        in_string = ((inside as i64) >> 63) as u64;
        if control & inside != 0 {
            return false;
        }
        let mut left = escaped & inside;
        while left != 0 {
            if escape(text, base + left.trailing_zeros() as usize).is_none() {
                return false;
            }
            left &= left - 1;
        }
        let outside = !(inside | quotes);
        let structure = (equal(b',') | equal(b':') | folded(b'{') | folded(b'}')) & outside;
        let white = equal(b' ') | equal(b'\t') | equal(b'\n') | equal(b'\r');
        let scalar = outside & !(structure | white);
        let begins = scalar & !(scalar << 1 | scalar_before);
        scalar_before = scalar >> 63;
        let mut tokens = structure | begins | (quotes & inside);
        let count = tokens.count_ones() as usize;
        let mut places = [0u32; 64];
        for eight in places.chunks_exact_mut(8) {
            for place in eight {
                *place = base as u32 + tokens.trailing_zeros();
                tokens &= tokens.wrapping_sub(1);
            }
            if tokens == 0 {
                break;
            }
        }
        starts.extend_from_slice(&places[..count]);
        base += 64;
    }
    in_string == 0
}
