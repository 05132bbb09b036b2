//! Is this one well-formed JSON value? 64 bytes at a time, almost without branches.
//!
//! Each block becomes bitmaps, one bit for each byte ([`Classes`]), and every rule of RFC 8259 becomes
//! arithmetic on whole words: which bytes are inside of strings (§7) is a prefix XOR over the quotes;
//! the grammar of numbers (§6) and which token may follow which (§2, §4, §5) are additions whose carries
//! ripple through runs of bits. Only brackets, backslashes and `true`, `false`, `null` are looked at one
//! by one, at a cost bounded for each byte (0.7 GB/s at the least measured), so an origin can never make
//! it slow: nothing backtracks, nothing recurses, nothing is allocated and the input is never written to.
//!
//! The stack of open containers is one bit each in a `u128`: that is where the bound on depth comes
//! from. The choice refused is a library's parser (simd-json, serde_json, sonic-rs), which also builds
//! or converts what a merge only copies; figures in `docs/decisions/0010-json.md`.

use crate::aggregate::json::JsonFault;
use crate::base::limits::JSON_DEPTH_MAX;

/// Bytes of one block.
pub(super) const BLOCK_BYTES: usize = 64;

const _: () = assert!(JSON_DEPTH_MAX <= u128::BITS as usize, "one bit for each open container");

/// Which bytes of a block are what: bit `i` stands for byte `i`.
#[derive(Clone, Copy, Default)]
pub(super) struct Classes {
    /// `"`.
    pub quote: u64,
    /// `\`.
    pub backslash: u64,
    /// Below 0x20.
    pub control: u64,
    /// Space, tab, line feed, carriage return.
    pub white: u64,
    /// `,`.
    pub comma: u64,
    /// `:`.
    pub colon: u64,
    /// `[` and `{`.
    pub open: u64,
    /// `]` and `}`.
    pub close: u64,
    /// Bytes with bit 5 set: tells `{` and `}` from `[` and `]`.
    pub curly: u64,
    /// `0` to `9`.
    pub digit: u64,
    /// `0`.
    pub zero: u64,
    /// `.`.
    pub dot: u64,
    /// `e` and `E`.
    pub exponent: u64,
    /// `+`.
    pub plus: u64,
    /// `-`.
    pub minus: u64,
}

/// Reads all of `input` with the given way to classify a block and to XOR prefixes. `note` is told the tokens
/// of each block: where it begins, and a bit for each, for each that opens and each that closes.
#[inline(always)]
pub(super) fn scan(
    input: &[u8],
    classify: impl Fn(&[u8; BLOCK_BYTES]) -> Classes,
    prefix_xor: impl Fn(u64) -> u64,
    mut note: impl FnMut(usize, [u64; 3]),
) -> Result<(), JsonFault> {
    let mut state = State::default();
    let (blocks, tail) = input.as_chunks::<BLOCK_BYTES>();
    for (index, block) in blocks.iter().enumerate() {
        let classes = classify(block);
        note(index * BLOCK_BYTES, state.block(&classes, input, index * BLOCK_BYTES, &prefix_xor));
        if state.wrong != 0 {
            return Err(JsonFault::Malformed);
        }
        if state.too_deep {
            return Err(JsonFault::TooDeep);
        }
    }
    // The last block is filled up with spaces, and there always is one: what waits for its next byte
    // (a sign, a dot) meets a space there.
    let mut last = [b' '; BLOCK_BYTES];
    last[..tail.len()].copy_from_slice(tail);
    let base = blocks.len() * BLOCK_BYTES;
    note(base, state.block(&classify(&last), input, base, &prefix_xor));
    state.end()
}

/// What one block leaves to the next. Fields called `…_next` hold bit 0 of the next block.
struct State {
    /// The first byte is escaped.
    escaped_next: u64,
    /// All ones inside of a string.
    in_string: u64,
    /// The last byte belonged to a scalar.
    scalar: u64,
    /// Bytes of a `true`, `false` or `null` that reaches into the next block.
    literal_next: u64,
    number: Number,
    follow: Follow,
    /// Kinds of the open containers, innermost lowest; 1 for an object.
    stack: u128,
    depth: u32,
    /// Whether the root value has begun.
    rooted: bool,
    too_deep: bool,
    /// Any bit: the document is malformed.
    wrong: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            escaped_next: 0,
            in_string: 0,
            scalar: 0,
            literal_next: 0,
            number: Number::default(),
            // A value is expected first.
            follow: Follow { value: 1, ..Follow::default() },
            stack: 0,
            depth: 0,
            rooted: false,
            too_deep: false,
            wrong: 0,
        }
    }
}

impl State {
    /// Reads one block; returns where its tokens begin, which of them open and which close.
    #[inline(always)]
    fn block(
        &mut self,
        classes: &Classes,
        input: &[u8],
        base: usize,
        prefix_xor: impl Fn(u64) -> u64,
    ) -> [u64; 3] {
        // Strings: from the opening quote to the byte before the closing one.
        let escaped = self.escaped(classes.backslash);
        let quotes = classes.quote & !escaped;
        let inside = prefix_xor(quotes) ^ self.in_string;
        self.in_string = ((inside as i64) >> 63) as u64;
        self.wrong |= classes.control & inside;
        if escaped & inside != 0 {
            self.check_escapes(escaped & inside, input, base);
        }

        // Scalars: whatever is neither string nor structure nor white space.
        let outside = !(inside | quotes);
        let comma = classes.comma & outside;
        let colon = classes.colon & outside;
        let open = classes.open & outside;
        let close = classes.close & outside;
        let scalar = outside & !(comma | colon | open | close | classes.white);
        let starts = scalar & !(scalar << 1 | self.scalar);
        self.scalar = scalar >> 63;
        let words = starts & !(classes.digit | classes.minus);
        let mut literal = std::mem::take(&mut self.literal_next);
        if words != 0 {
            literal |= self.check_words(words, input, base);
        }
        self.wrong |= self.number.check(classes, scalar & !literal, starts & !words);

        // Structure.
        let string = quotes & inside;
        let tokens = comma | colon | open | close | string | starts;
        let curly = classes.curly;
        let object = self.check_brackets(open, close, curly, tokens);
        let kinds =
            Tokens { tokens, comma, colon, open, close, string, scalar: starts, curly, object };
        self.wrong |= self.follow.check(&kinds);
        [tokens, open, close]
    }

    /// Which bytes stand behind a backslash that is not itself escaped. Runs of backslashes are told
    /// even or odd by a subtraction (simdjson, Langdale and Lemire 2019, in its later form).
    #[inline(always)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        if backslash == 0 {
            return std::mem::take(&mut self.escaped_next);
        }
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let begins = backslash & !self.escaped_next;
        let codes = ((begins << 1) | ODD).wrapping_sub(begins) ^ ODD;
        let escaped = codes ^ (backslash | self.escaped_next);
        self.escaped_next = (codes & backslash) >> 63;
        escaped
    }

    /// Escapes are `\" \\ \/ \b \f \n \r \t` and `\u` with four hexadecimal digits. Whether those name
    /// half of a surrogate pair is the client's business: the bytes are well-formed (RFC 8259 §8.2).
    fn check_escapes(&mut self, escaped: u64, input: &[u8], base: usize) {
        let mut left = escaped;
        while left != 0 {
            let at = base + left.trailing_zeros() as usize;
            left &= left - 1;
            let fine = match input.get(at) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
                Some(b'u') => match input.get(at + 1..at + 5) {
                    Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
                    None => false,
                },
                // Behind the end of the input: the string is not closed either.
                None => true,
                Some(_) => false,
            };
            self.wrong |= u64::from(!fine);
        }
    }

    /// The bits of `true`, `false` and `null` that begin at `starts`; all else there is wrong.
    fn check_words(&mut self, starts: u64, input: &[u8], base: usize) -> u64 {
        let mut left = starts;
        let mut bits = 0u128;
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            let text = input.get(base + at as usize..).unwrap_or(&[]);
            let len = match text {
                [b't', b'r', b'u', b'e', ..] | [b'n', b'u', b'l', b'l', ..] => 4,
                [b'f', b'a', b'l', b's', b'e', ..] => 5,
                _ => {
                    self.wrong |= 1;
                    return 0;
                }
            };
            bits |= ((1u128 << len) - 1) << at;
        }
        self.literal_next = (bits >> 64) as u64;
        bits as u64
    }

    /// Opens and closes containers; returns which positions lie directly in an object.
    #[inline(always)]
    fn check_brackets(&mut self, open: u64, close: u64, curly: u64, tokens: u64) -> u64 {
        if self.depth == 0 && tokens != 0 {
            // One root value, and nothing beside it.
            let first = tokens & tokens.wrapping_neg();
            let scalar_and_more = if first & open == 0 { tokens ^ first } else { 0 };
            self.wrong |= if self.rooted { tokens } else { scalar_and_more };
            self.rooted = true;
        }
        let mut kind = self.stack as u64 & 1;
        let mut object = kind.wrapping_neg();
        let mut left = open | close;
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            let before = kind;
            let curly = curly >> at & 1;
            if open >> at & 1 != 0 {
                if self.depth == JSON_DEPTH_MAX as u32 {
                    self.too_deep = true;
                    break;
                }
                self.stack = self.stack << 1 | u128::from(curly);
                self.depth += 1;
                kind = curly;
            } else {
                if self.depth == 0 || before != curly {
                    self.wrong |= 1;
                    break;
                }
                self.stack >>= 1;
                self.depth -= 1;
                kind = self.stack as u64 & 1;
                if self.depth == 0 {
                    self.wrong |= tokens & (!1 << at);
                }
            }
            object ^= (before ^ kind).wrapping_neg() & (!0 << at);
        }
        object
    }

    fn end(&self) -> Result<(), JsonFault> {
        if self.wrong != 0 {
            Err(JsonFault::Malformed)
        } else if self.too_deep {
            Err(JsonFault::TooDeep)
        } else if self.in_string != 0 || self.depth != 0 {
            Err(JsonFault::Truncated)
        } else if !self.rooted {
            Err(JsonFault::Empty)
        } else {
            Ok(())
        }
    }
}

/// The grammar of numbers (RFC 8259 §6): `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`.
///
/// ```text
///   bytes        - 1 2 . 5 e + 3 ,
///   negative     1
///   int            1               first digit of the integer
///   int_end            1           found by adding: the carry runs through the digits
///   fraction             1         behind the dot
///   fraction_end           1
///   sign                     1     behind the exponent's letter
///   power                      1
/// ```
#[derive(Default)]
struct Number {
    negative_next: u64,
    zero_next: u64,
    int_runs: u64,
    dot_next: u64,
    fraction_runs: u64,
    exponent_next: u64,
    sign_next: u64,
    digit: u64,
}

impl Number {
    /// The wrong bits of `number`, the bytes that must make up numbers beginning at `starts`.
    #[inline(always)]
    fn check(&mut self, classes: &Classes, number: u64, starts: u64) -> u64 {
        let digit = classes.digit & number;
        let dot = classes.dot & number;
        let exponent = classes.exponent & number;
        let minus = classes.minus & number;
        let signs = classes.plus & number | minus;

        let negative = starts & minus;
        let behind_minus = negative << 1 | self.negative_next;
        let int = (starts | behind_minus) & digit;
        let behind_zero = (int & classes.zero) << 1 | self.zero_next;
        let (sum, int_runs) = digit.overflowing_add(int | self.int_runs);
        let int_end = sum & !digit;

        let fraction = dot << 1 | self.dot_next;
        let (sum, fraction_runs) = digit.overflowing_add(fraction & digit | self.fraction_runs);
        let fraction_end = sum & !digit;

        let power = exponent << 1 | self.exponent_next;
        let sign = power & signs;
        let behind_sign = sign << 1 | self.sign_next;
        let digit_starts = digit & !(digit << 1 | self.digit);

        self.negative_next = negative >> 63;
        self.zero_next = (int & classes.zero) >> 63;
        self.int_runs = u64::from(int_runs);
        self.dot_next = dot >> 63;
        self.fraction_runs = u64::from(fraction_runs);
        self.exponent_next = exponent >> 63;
        self.sign_next = sign >> 63;
        self.digit = digit >> 63;

        number & !(digit | dot | exponent | signs)
            | (behind_minus | fraction | behind_sign) & !digit
            | behind_zero & digit
            | dot & !int_end
            | exponent & !(int_end | fraction_end)
            | power & !(digit | sign)
            | signs & !(negative | sign)
            | digit_starts & !(int | fraction | power | behind_sign)
    }
}

/// The tokens of a block, by kind. A string or scalar stands where it begins.
struct Tokens {
    tokens: u64,
    comma: u64,
    colon: u64,
    open: u64,
    close: u64,
    string: u64,
    scalar: u64,
    curly: u64,
    /// Positions directly in an object.
    object: u64,
}

/// Which token may follow which (RFC 8259 §2, §4, §5). Holds what the last token of a block expects.
#[derive(Default)]
struct Follow {
    key: u64,
    value: u64,
    separator: u64,
    colon: u64,
}

impl Follow {
    /// The wrong tokens.
    #[inline(always)]
    fn check(&mut self, t: &Tokens) -> u64 {
        let open_object = t.open & t.curly;
        let comma_object = t.comma & t.object;
        let opens_value = t.colon | (t.comma & !t.object) | (t.open & !t.curly);
        // Behind `{` and an object's comma stands a key, behind `:`, `[` and an array's comma a value.
        let key = next_tokens(open_object | comma_object, t.tokens, &mut self.key);
        let value = next_tokens(opens_value, t.tokens, &mut self.value);
        // Behind a comma or a colon nothing is closed; an empty container may be.
        let separated = next_tokens(t.comma | t.colon, t.tokens, &mut self.separator);
        // Behind a key, and there only, stands a colon.
        let behind_key = next_tokens(key & t.string, t.tokens, &mut self.colon);
        // Behind a value stands a comma, or its container is closed.
        let behind_value = t.tokens & !(key | value | behind_key);

        key & !(t.string | t.close)
            | value & !(t.string | t.scalar | t.open | t.close)
            | separated & t.close
            | behind_key ^ t.colon
            | behind_value & !(t.comma | t.close)
    }
}

/// The tokens that directly follow those of `these`: a carry runs from each over the bytes between.
/// `pending` is whether one of `these` still waits for its next token.
#[inline(always)]
fn next_tokens(these: u64, tokens: u64, pending: &mut u64) -> u64 {
    let (sum, carry) = (!tokens).overflowing_add(these << 1 | *pending);
    *pending = these >> 63 | u64::from(carry);
    sum & tokens
}
