//! Is this one well-formed JSON value? 64 bytes or more at a time, almost without branches.
//!
//! Each block becomes bitmaps, one bit for each byte ([`Classes`]), and every rule of RFC 8259 becomes
//! arithmetic on whole words: which bytes are inside of strings (§7) is a prefix XOR over the quotes;
//! the grammar of numbers (§6) and which token may follow which (§2, §4, §5) are additions whose carries
//! ripple through runs of bits. Only brackets, backslashes and `true`, `false`, `null` are looked at one
//! by one, at a cost bounded for each byte (0.7 GB/s at the least measured), so an origin can never make
//! it slow: nothing backtracks, nothing recurses, nothing is allocated and the input is never written to.
//!
//! The stack of open containers is one byte each, on the machine's own stack. The same code reads a word or, with
//! AVX-512 (`json/wide.rs`), eight words at once: a [`Word`] says how bits carry. The choice refused is a library's parser (simd-json, serde_json, sonic-rs), which also builds
//! or converts what a merge only copies; figures in `docs/decisions/0010-json.md`.

use std::ops::{BitAnd, BitOr, BitXor, Not};

use crate::aggregate::json::JsonFault;
use crate::base::limits::JSON_DEPTH_MAX;

/// Bytes that one word of bits stands for.
pub(super) const BLOCK_BYTES: usize = u64::BITS as usize;

/// Bits of as many bytes as are read at once: a word, or several that carry into each other.
pub(super) trait Word:
    Copy + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self> + Not<Output = Self>
{
    /// No bit.
    const NONE: Self;
    /// The words, lowest first.
    type Words: AsRef<[u64]> + AsMut<[u64]>;

    /// Whether there is none.
    fn is_none(self) -> bool;
    /// All bits moved to the next byte. `carry` comes in at the bottom, and what falls out at the top is left in it.
    fn behind(self, carry: &mut u64) -> Self;
    /// The sum, with what carries in and out.
    fn sum(self, other: Self, carry: &mut u64) -> Self;
    /// Its words.
    fn words(self) -> Self::Words;
    /// One word of these.
    fn of(words: Self::Words) -> Self;
}

impl Word for u64 {
    const NONE: Self = 0;
    type Words = [u64; 1];

    #[inline(always)]
    fn is_none(self) -> bool {
        self == 0
    }

    #[inline(always)]
    fn behind(self, carry: &mut u64) -> Self {
        let moved = self << 1 | *carry;
        *carry = self >> 63;
        moved
    }

    #[inline(always)]
    fn sum(self, other: Self, carry: &mut u64) -> Self {
        // Nothing begins where something carries in from before.
        debug_assert_eq!(other & *carry, 0);
        let (sum, over) = self.overflowing_add(other | *carry);
        *carry = u64::from(over);
        sum
    }

    #[inline(always)]
    fn words(self) -> [u64; 1] {
        [self]
    }

    #[inline(always)]
    fn of([word]: [u64; 1]) -> Self {
        word
    }
}

/// Which bytes of a block are what: bit `i` stands for byte `i`.
#[derive(Clone, Copy, Default)]
pub(super) struct Classes<W> {
    /// `"`.
    pub quote: W,
    /// `\`.
    pub backslash: W,
    /// Below 0x20.
    pub control: W,
    /// Space, tab, line feed, carriage return.
    pub white: W,
    /// `,`.
    pub comma: W,
    /// `:`.
    pub colon: W,
    /// `[` and `{`.
    pub open: W,
    /// `]` and `}`.
    pub close: W,
    /// Bytes with bit 5 set: tells `{` and `}` from `[` and `]`.
    pub curly: W,
    /// `0` to `9`.
    pub digit: W,
    /// `0`.
    pub zero: W,
    /// `.`.
    pub dot: W,
    /// `-`.
    pub minus: W,
}

/// Reads all of `input` with the given way to classify a block and to find what is inside of quotes. `note` is told the
/// tokens of each block: where it begins, and a bit for each, for each that opens and each that closes.
#[inline(always)]
pub(super) fn scan(
    input: &[u8],
    classify: impl Fn(&[u8; BLOCK_BYTES]) -> Classes<u64>,
    prefix_xor: impl Fn(u64) -> u64,
    mut note: impl FnMut(usize, [u64; 3]),
) -> Result<(), JsonFault> {
    let mut state = State::default();
    scan_from(input, 0, &mut state, classify, prefix_xor, &mut note)
}

/// As `scan`, from byte `from` on.
#[inline(always)]
pub(super) fn scan_from(
    input: &[u8],
    from: usize,
    state: &mut State,
    classify: impl Fn(&[u8; BLOCK_BYTES]) -> Classes<u64>,
    prefix_xor: impl Fn(u64) -> u64,
    note: &mut impl FnMut(usize, [u64; 3]),
) -> Result<(), JsonFault> {
    let inside = |quotes, in_string: &mut u64| {
        let inside = prefix_xor(quotes) ^ *in_string;
        *in_string = ((inside as i64) >> 63) as u64;
        inside
    };
    let (blocks, tail) = input[from..].as_chunks::<BLOCK_BYTES>();
    let mut base = from;
    for block in blocks {
        state.block(&classify(block), input, base, inside, note);
        if state.wrong {
            return Err(JsonFault::Malformed);
        }
        if state.too_deep {
            return Err(JsonFault::TooDeep);
        }
        base += BLOCK_BYTES;
    }
    // The last block is filled up with spaces, and there always is one: what waits for its next byte
    // (a sign, a dot) meets a space there.
    let mut last = [b' '; BLOCK_BYTES];
    last[..tail.len()].copy_from_slice(tail);
    state.block(&classify(&last), input, base, inside, note);
    state.end()
}

/// What one block leaves to the next. Fields called `…_next` hold bit 0 of the next block.
pub(super) struct State {
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
    /// Kinds of the open containers, outermost first; 1 for an object. The first is none.
    stack: [u8; JSON_DEPTH_MAX + 1],
    depth: usize,
    /// Whether the root value has begun.
    rooted: bool,
    too_deep: bool,
    /// The document is malformed.
    wrong: bool,
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
            stack: [0; JSON_DEPTH_MAX + 1],
            depth: 0,
            rooted: false,
            too_deep: false,
            wrong: false,
        }
    }
}

impl State {
    /// Reads one block, and notes its tokens.
    #[inline(always)]
    pub fn block<W: Word>(
        &mut self,
        classes: &Classes<W>,
        input: &[u8],
        base: usize,
        inside: impl Fn(W, &mut u64) -> W,
        note: &mut impl FnMut(usize, [u64; 3]),
    ) {
        // Strings: from the opening quote to the byte before the closing one.
        let escaped = self.escaped(classes.backslash);
        let quotes = classes.quote & !escaped;
        let inside = inside(quotes, &mut self.in_string);
        let mut wrong = classes.control & inside;
        if !(escaped & inside).is_none() {
            self.check_escapes(escaped & inside, input, base);
        }

        // Scalars: whatever is neither string nor structure nor white space.
        let outside = !(inside | quotes);
        let comma = classes.comma & outside;
        let colon = classes.colon & outside;
        let open = classes.open & outside;
        let close = classes.close & outside;
        let scalar = outside & !(comma | colon | open | close | classes.white);
        let starts = scalar & !scalar.behind(&mut self.scalar);
        let words = starts & !(classes.digit | classes.minus);
        let literal = if words.is_none() && self.literal_next == 0 {
            W::NONE
        } else {
            self.check_words(words, input, base)
        };
        let numbers = Numbers { all: scalar & !literal, starts: starts & !words };
        wrong = wrong | self.number.check(classes, numbers, input, base);

        // Structure.
        let string = quotes & inside;
        let tokens = comma | colon | open | close | string | starts;
        let curly = classes.curly;
        let object = self.check_brackets(open, close, curly, tokens, base, note);
        let kinds =
            Tokens { tokens, comma, colon, open, close, string, scalar: starts, curly, object };
        wrong = wrong | self.follow.check(&kinds);
        self.wrong |= !wrong.is_none();
    }

    /// Which bytes stand behind a backslash that is not itself escaped. Runs of backslashes are told
    /// even or odd by a subtraction (simdjson, Langdale and Lemire 2019, in its later form).
    #[inline(always)]
    fn escaped<W: Word>(&mut self, backslash: W) -> W {
        let mut words = W::NONE.words();
        if backslash.is_none() {
            words.as_mut()[0] = std::mem::take(&mut self.escaped_next);
            return W::of(words);
        }
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        for (backslash, escaped) in backslash.words().as_ref().iter().zip(words.as_mut()) {
            let begins = backslash & !self.escaped_next;
            let codes = ((begins << 1) | ODD).wrapping_sub(begins) ^ ODD;
            *escaped = codes ^ (backslash | self.escaped_next);
            self.escaped_next = (codes & backslash) >> 63;
        }
        W::of(words)
    }

    /// Escapes are `\" \\ \/ \b \f \n \r \t` and `\u` with four hexadecimal digits. Whether those name
    /// half of a surrogate pair is the client's business: the bytes are well-formed (RFC 8259 §8.2).
    #[inline(always)]
    fn check_escapes<W: Word>(&mut self, escaped: W, input: &[u8], base: usize) {
        for (index, word) in escaped.words().as_ref().iter().enumerate() {
            for at in bits(*word).map(|bit| base + index * BLOCK_BYTES + bit) {
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
                self.wrong |= !fine;
            }
        }
    }

    /// The bits of `true`, `false` and `null` that begin at `starts`; all else there is wrong.
    #[inline(always)]
    fn check_words<W: Word>(&mut self, starts: W, input: &[u8], base: usize) -> W {
        let mut literal = W::NONE.words();
        for (index, (starts, literal)) in
            starts.words().as_ref().iter().zip(literal.as_mut()).enumerate()
        {
            let mut found = u128::from(std::mem::take(&mut self.literal_next));
            for at in bits(*starts) {
                let text = input.get(base + index * BLOCK_BYTES + at..).unwrap_or(&[]);
                let len = match text {
                    [b't', b'r', b'u', b'e', ..] | [b'n', b'u', b'l', b'l', ..] => 4,
                    [b'f', b'a', b'l', b's', b'e', ..] => 5,
                    _ => {
                        self.wrong = true;
                        0
                    }
                };
                found |= ((1u128 << len) - 1) << at;
            }
            self.literal_next = (found >> 64) as u64;
            *literal = found as u64;
        }
        W::of(literal)
    }

    /// Opens and closes containers; returns which positions lie directly in an object.
    #[inline(always)]
    fn check_brackets<W: Word>(
        &mut self,
        open: W,
        close: W,
        curly: W,
        tokens: W,
        base: usize,
        note: &mut impl FnMut(usize, [u64; 3]),
    ) -> W {
        let (open, close) = (open.words(), close.words());
        let (curly, tokens) = (curly.words(), tokens.words());
        let mut object = W::NONE.words();
        for (index, object) in object.as_mut().iter_mut().enumerate() {
            let (open, close) = (open.as_ref()[index], close.as_ref()[index]);
            let (curly, tokens) = (curly.as_ref()[index], tokens.as_ref()[index]);
            *object = self.nest(open, close, curly, tokens);
            note(base + index * BLOCK_BYTES, [tokens, open, close]);
        }
        W::of(object)
    }

    /// The same of one word.
    #[inline(always)]
    fn nest(&mut self, open: u64, close: u64, curly: u64, tokens: u64) -> u64 {
        if self.depth == 0 && tokens != 0 {
            // One root value, and nothing beside it.
            let first = tokens & tokens.wrapping_neg();
            let scalar_and_more = if first & open == 0 { tokens ^ first } else { 0 };
            self.wrong |= (if self.rooted { tokens } else { scalar_and_more }) != 0;
            self.rooted = true;
        }
        let mut kind = self.stack[self.depth];
        let mut object = u64::from(kind).wrapping_neg();
        let mut left = open | close;
        while left != 0 {
            let bit = left & left.wrapping_neg();
            left ^= bit;
            let before = kind;
            let curly = u8::from(curly & bit != 0);
            if open & bit != 0 {
                if self.depth == JSON_DEPTH_MAX {
                    self.too_deep = true;
                    break;
                }
                self.depth += 1;
                self.stack[self.depth] = curly;
                kind = curly;
            } else {
                if self.depth == 0 || before != curly {
                    self.wrong = true;
                    break;
                }
                self.depth -= 1;
                kind = self.stack[self.depth];
                if self.depth == 0 {
                    self.wrong |= tokens & !(bit | (bit - 1)) != 0;
                }
            }
            object ^= u64::from(before ^ kind).wrapping_neg() & bit.wrapping_neg();
        }
        object
    }

    /// Whether nothing wrong was found so far.
    #[cfg(target_arch = "x86_64")]
    pub fn is_fine(&self) -> bool {
        !self.wrong && !self.too_deep
    }

    /// What is to be said of the whole.
    pub fn end(&self) -> Result<(), JsonFault> {
        if self.wrong {
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

/// The places of the bits of a word.
#[inline(always)]
fn bits(word: u64) -> impl Iterator<Item = usize> {
    let mut left = word;
    std::iter::from_fn(move || {
        let at = left.trailing_zeros() as usize;
        left &= left.wrapping_sub(1);
        (at < BLOCK_BYTES).then_some(at)
    })
}

/// The bytes of numbers, and where each begins.
struct Numbers<W> {
    all: W,
    starts: W,
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
    /// The wrong bits of `numbers`. Exponents are rare, and paid for where they are.
    #[inline(always)]
    fn check<W: Word>(
        &mut self,
        classes: &Classes<W>,
        numbers: Numbers<W>,
        input: &[u8],
        base: usize,
    ) -> W {
        let rare = numbers.all & !(classes.digit | classes.dot | classes.minus);
        if rare.is_none() && (self.exponent_next | self.sign_next) == 0 {
            (self.exponent_next, self.sign_next) = (0, 0);
            return self.grammar(classes, numbers, W::NONE, W::NONE);
        }
        let (mut exponent, mut plus) = (W::NONE.words(), W::NONE.words());
        for (index, word) in rare.words().as_ref().iter().enumerate() {
            for bit in bits(*word) {
                match input.get(base + index * BLOCK_BYTES + bit) {
                    Some(b'e' | b'E') => exponent.as_mut()[index] |= 1 << bit,
                    Some(b'+') => plus.as_mut()[index] |= 1 << bit,
                    _ => {}
                }
            }
        }
        let (exponent, plus) = (W::of(exponent), W::of(plus));
        self.grammar(classes, numbers, exponent, plus) | rare & !(exponent | plus)
    }

    #[inline(always)]
    fn grammar<W: Word>(
        &mut self,
        classes: &Classes<W>,
        numbers: Numbers<W>,
        exponent: W,
        plus: W,
    ) -> W {
        let digit = classes.digit & numbers.all;
        let dot = classes.dot & numbers.all;
        let minus = classes.minus & numbers.all;
        let signs = plus | minus;

        let negative = numbers.starts & minus;
        let behind_minus = negative.behind(&mut self.negative_next);
        let int = (numbers.starts | behind_minus) & digit;
        let behind_zero = (int & classes.zero).behind(&mut self.zero_next);
        let int_end = digit.sum(int, &mut self.int_runs) & !digit;

        let fraction = dot.behind(&mut self.dot_next);
        let fraction_end = digit.sum(fraction & digit, &mut self.fraction_runs) & !digit;

        let power = exponent.behind(&mut self.exponent_next);
        let sign = power & signs;
        let behind_sign = sign.behind(&mut self.sign_next);
        let digit_starts = digit & !digit.behind(&mut self.digit);

        (behind_minus | fraction | behind_sign) & !digit
            | behind_zero & digit
            | dot & !int_end
            | exponent & !(int_end | fraction_end)
            | power & !(digit | sign)
            | signs & !(negative | sign)
            | digit_starts & !(int | fraction | power | behind_sign)
    }
}

/// The tokens of a block, by kind. A string or scalar stands where it begins.
struct Tokens<W> {
    tokens: W,
    comma: W,
    colon: W,
    open: W,
    close: W,
    string: W,
    scalar: W,
    curly: W,
    /// Positions directly in an object.
    object: W,
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
    fn check<W: Word>(&mut self, t: &Tokens<W>) -> W {
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
fn next_tokens<W: Word>(these: W, tokens: W, pending: &mut u64) -> W {
    let (mut moved, mut carried) = (*pending, 0);
    let sum = (!tokens).sum(these.behind(&mut moved), &mut carried);
    *pending = moved | carried;
    sum & tokens
}
