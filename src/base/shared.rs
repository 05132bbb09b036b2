//! The only atomics that cores share: cells of rate limits, counts of connections, flags and counters.
//! Bounded, without locks.
//!
//! A [`Cells`] is a table of 64-bit words in buckets of fifteen (two cache lines with the bucket's epoch).
//! A word holds a tag of the key, a mark "shared" and the key's TAT (`base/gcra.rs`), so that one
//! compare-and-swap decides about one request, whichever core it came to. It must never let more pass than the rule allows, must
//! never allocate after it was made, and never waits: a core that loses a race tries again, a bounded
//! number of times, and then refuses.
//!
//! **Places.** A key uses the cell with its tag; else its own past cell, or one that has been past for a
//! while, which it takes over (a past TAT says the same as none); else, in a bucket full of live cells,
//! it *shares* the one cell that its hash names, and both keys live from one budget until it is past.
//! Two keys with equal tag in one bucket share as well (once in 32,768 per neighbour). Sharing can only
//! refuse more. A TAT's clock turns; so whoever is first in a bucket in a new epoch, an eighth of a turn,
//! empties the cells that are past, and all cells when nobody was there in the epoch before.
//!
//! **Why two cores can never open two budgets for one key.** A core charges a cell first and then looks
//! through the bucket for every other live record of its key (same tag, or the shared cell), and charges
//! those too; it grants only if all do. Of two records the later one was made after the earlier; whoever
//! charges the later one looks around after that, so it meets the earlier. So the earliest live record
//! counts every grant, and it alone already keeps the rule. All operations are sequentially consistent.
//! A lock per bucket was refused: a thread that is put aside while it holds one stops every core.

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::base::gcra::{EPOCH_BITS, Grant, Rule, TAT_BITS};
use crate::base::limits::{CELL_TRIES_MAX, CLIENT_COUNTS_MAX, LIMIT_KEYS_MAX};
use crate::base::time::Instant;

const WAYS: usize = 15;
const SHARED: u64 = 1 << TAT_BITS;
const TAG_SHIFT: u32 = TAT_BITS + 1;
const TAT_MASK: u64 = SHARED - 1;

/// Fifteen cells and the epoch in which somebody was last here, on two cache lines.
#[repr(C, align(128))]
struct Bucket {
    cells: [AtomicU64; WAYS],
    epoch: AtomicU64,
}

const _: () = assert!(size_of::<Bucket>() == 128, "two cache lines");

/// The cells of one limit: shared by all cores and by all routes that name the limit.
pub struct Cells {
    buckets: Box<[Bucket]>,
    rule: Rule,
    seed: u64,
}

impl std::fmt::Debug for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cells").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl Cells {
    /// A table for `keys_max` keys at once (1 to `LIMIT_KEYS_MAX`), with twice as many cells, rounded up
    /// to a power of two. `seed` must be random: it keeps clients from choosing keys that share a cell.
    pub fn new(rule: Rule, keys_max: usize, seed: u64) -> Cells {
        let cells = keys_max.clamp(1, LIMIT_KEYS_MAX) * 2;
        let count = cells.div_ceil(WAYS + 1).next_power_of_two();
        let zeroed = Box::<[Bucket]>::new_zeroed_slice(count);
        // SAFETY: a Bucket is made of AtomicU64, for which all-zero bytes are a valid value. Zeroed
        // memory from the allocator costs no page until a cell is used.
        let buckets = unsafe { zeroed.assume_init() };
        Cells { buckets, rule, seed }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The seed with which keys of this table are hashed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Decides about one request of the key with this hash, at `now`, and charges its cost if it may pass.
    pub fn take(&self, hash: u64, cost: u64, now: Instant) -> Grant {
        let bucket = self.bucket(hash);
        let ask = Ask { key: Key::of(hash), ticks: self.rule.ticks(now), cost };
        self.enter(bucket, ask.ticks);
        for _ in 0..CELL_TRIES_MAX {
            let (way, seen) = self.place(bucket, ask);
            match self.charge(bucket, ask, way, seen) {
                Charge::Granted(grant) => return self.charge_others(bucket, ask, way, grant),
                Charge::Refused(grant) => return grant,
                Charge::Raced => {}
            }
        }
        self.rule.refused(0, cost)
    }

    /// What [`take`](Self::take) would say; nothing is charged.
    pub fn look(&self, hash: u64, cost: u64, now: Instant) -> Grant {
        let bucket = self.bucket(hash);
        let ask = Ask { key: Key::of(hash), ticks: self.rule.ticks(now), cost };
        self.enter(bucket, ask.ticks);
        let (first, seen) = self.place(bucket, ask);
        let said =
            |word| self.rule.take(self.ahead(word, ask.ticks).unwrap_or(0), ask.ticks, cost).1;
        let mut grant = said(seen);
        for (way, cell) in bucket.cells.iter().enumerate() {
            let word = cell.load(SeqCst);
            if way != first && self.is_of(word, way, ask) {
                grant = stricter(grant, said(word));
            }
        }
        grant
    }

    /// Moves a key's count up, so that its TAT lies at least this far ahead: others have spent of it.
    pub fn raise(&self, hash: u64, ahead: Duration, now: Instant) {
        let bucket = self.bucket(hash);
        let ask = Ask { key: Key::of(hash), ticks: self.rule.ticks(now), cost: 1 };
        let wanted = self.rule.ahead_of(ahead);
        if ahead.is_zero() {
            return;
        }
        self.enter(bucket, ask.ticks);
        for _ in 0..CELL_TRIES_MAX {
            let (way, seen) = self.place(bucket, ask);
            let known = self.ahead(seen, ask.ticks);
            if known.is_some_and(|known| known >= wanted) {
                return;
            }
            let next = owner(seen, known, ask.key) | self.rule.tat(wanted, ask.ticks);
            if bucket.cells[way].compare_exchange(seen, next, SeqCst, SeqCst).is_ok() {
                return;
            }
        }
    }

    /// What is said of a count that lies so far ahead, the request's cost charged already if it was granted.
    pub fn said(&self, ahead: Duration, cost: u64, granted: bool) -> Grant {
        self.rule.said(self.rule.ahead_of(ahead), cost, granted)
    }

    fn bucket(&self, hash: u64) -> &Bucket {
        &self.buckets[hash as usize & (self.buckets.len() - 1)]
    }

    /// Whether a word is a live record of the key.
    fn is_of(&self, word: u64, way: usize, ask: Ask) -> bool {
        word != 0
            && (tag(word) == ask.key.tag || (way == ask.key.home && word & SHARED != 0))
            && self.ahead(word, ask.ticks).is_some()
    }

    /// Empties what an earlier epoch left behind, so that the clock's turn never makes a past TAT look
    /// like a live one. The words are read before the epoch is claimed: whoever charges a cell later
    /// makes the exchange of that cell fail.
    fn enter(&self, bucket: &Bucket, ticks: u64) {
        let epoch = ticks >> EPOCH_BITS;
        let seen = bucket.epoch.load(SeqCst);
        if seen >= epoch {
            return;
        }
        let words: [u64; WAYS] = std::array::from_fn(|way| bucket.cells[way].load(SeqCst));
        if bucket.epoch.compare_exchange(seen, epoch, SeqCst, SeqCst).is_err() {
            return;
        }
        for (cell, word) in bucket.cells.iter().zip(words) {
            if epoch - seen > 1 || self.rule.forgettable(word & TAT_MASK, ticks) {
                let _ = cell.compare_exchange(word, 0, SeqCst, SeqCst);
            }
        }
    }

    /// The cell to charge first, and the word seen in it.
    fn place(&self, bucket: &Bucket, Ask { key, ticks, .. }: Ask) -> (usize, u64) {
        let mut own_past = None;
        let mut free = None;
        for (way, cell) in bucket.cells.iter().enumerate() {
            let word = cell.load(SeqCst);
            if word != 0 && tag(word) == key.tag {
                if self.ahead(word, ticks).is_some() {
                    return (way, word);
                }
                own_past = own_past.or(Some((way, word)));
            } else if word == 0 || self.rule.forgettable(word & TAT_MASK, ticks) {
                free = free.or(Some((way, word)));
            }
        }
        own_past.or(free).unwrap_or_else(|| (key.home, bucket.cells[key.home].load(SeqCst)))
    }

    /// Charges one cell in which `seen` was seen.
    fn charge(&self, bucket: &Bucket, ask: Ask, way: usize, seen: u64) -> Charge {
        let Ask { key, ticks, cost } = ask;
        let ahead = self.ahead(seen, ticks);
        let (tat, grant) = self.rule.take(ahead.unwrap_or(0), ticks, cost);
        let Some(tat) = tat else {
            return Charge::Refused(grant);
        };
        let next = owner(seen, ahead, key) | tat;
        match bucket.cells[way].compare_exchange(seen, next, SeqCst, SeqCst) {
            Ok(_) => Charge::Granted(grant),
            Err(_) => Charge::Raced,
        }
    }

    /// Charges every other live record of the key; the strictest answer counts.
    fn charge_others(&self, bucket: &Bucket, ask: Ask, first: usize, mut grant: Grant) -> Grant {
        for (way, cell) in bucket.cells.iter().enumerate().filter(|(way, _)| *way != first) {
            let mut tries = 0;
            loop {
                let word = cell.load(SeqCst);
                if !self.is_of(word, way, ask) {
                    break;
                }
                match self.charge(bucket, ask, way, word) {
                    Charge::Granted(other) => {
                        grant = stricter(grant, other);
                        break;
                    }
                    Charge::Refused(other) => return other,
                    Charge::Raced if tries == CELL_TRIES_MAX => {
                        return self.rule.refused(0, ask.cost);
                    }
                    Charge::Raced => tries += 1,
                }
            }
        }
        grant
    }

    /// How far the TAT in a word lies ahead; `None` for an empty word or a past TAT.
    fn ahead(&self, word: u64, ticks: u64) -> Option<u64> {
        if word == 0 { None } else { self.rule.ahead(word & TAT_MASK, ticks) }
    }
}

/// One request, as a bucket sees it.
#[derive(Clone, Copy)]
struct Ask {
    key: Key,
    ticks: u64,
    cost: u64,
}

/// What one compare-and-swap came to.
enum Charge {
    Granted(Grant),
    Refused(Grant),
    Raced,
}

/// The parts of a key's hash that are not the bucket.
#[derive(Clone, Copy)]
struct Key {
    /// 15 bits, never zero, so that no word in use is zero.
    tag: u64,
    /// The way that is shared when the bucket is full.
    home: usize,
}

impl Key {
    fn of(hash: u64) -> Key {
        Key { tag: (hash >> TAG_SHIFT).max(1), home: (hash >> 40) as usize % WAYS }
    }
}

fn tag(word: u64) -> u64 {
    word >> TAG_SHIFT
}

/// The upper part of a word that this key uses, where `seen` was seen with its TAT so far `ahead`.
fn owner(seen: u64, ahead: Option<u64>, key: Key) -> u64 {
    match ahead {
        Some(_) if tag(seen) == key.tag => seen & !TAT_MASK,
        Some(_) => seen & !TAT_MASK | SHARED,
        None => key.tag << TAG_SHIFT,
    }
}

fn stricter(one: Grant, other: Grant) -> Grant {
    match (one.granted, other.granted) {
        (true, false) => other,
        (false, true) => one,
        _ if other.remaining < one.remaining => other,
        _ => one,
    }
}

/// A number that cores write and the control thread reads, or the other way round.
#[derive(Debug, Default)]
pub struct Word(AtomicU64);

impl Word {
    /// A word holding `value`.
    pub const fn new(value: u64) -> Word {
        Word(AtomicU64::new(value))
    }

    /// The value.
    pub fn load(&self) -> u64 {
        self.0.load(SeqCst)
    }

    /// Replaces the value.
    pub fn store(&self, value: u64) {
        self.0.store(value, SeqCst);
    }

    /// Replaces `seen` by `value`; `false` when somebody else was first.
    pub fn replace(&self, seen: u64, value: u64) -> bool {
        self.0.compare_exchange(seen, value, SeqCst, SeqCst).is_ok()
    }

    /// Replaces the value and returns the one before.
    pub fn swap(&self, value: u64) -> u64 {
        self.0.swap(value, SeqCst)
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, SeqCst);
    }

    /// Adds one if that leaves at most `max`; `false` when it would not.
    pub fn next_below(&self, max: u64) -> bool {
        let next = |seen: u64| (seen < max).then_some(seen + 1);
        self.0.fetch_update(SeqCst, SeqCst, next).is_ok()
    }

    /// Takes one away and returns the value before.
    pub fn previous(&self) -> u64 {
        self.0.fetch_sub(1, SeqCst)
    }

    /// Adds one and returns the value before.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, SeqCst)
    }

    /// Adds `n` if that leaves at most `max`; `false` when it would not.
    pub fn add_below(&self, n: u64, max: u64) -> bool {
        let added = |seen: u64| seen.checked_add(n).filter(|sum| *sum <= max);
        self.0.fetch_update(SeqCst, SeqCst, added).is_ok()
    }

    /// Takes `n` away, which was added before.
    pub fn take_away(&self, n: u64) {
        self.0.fetch_sub(n, SeqCst);
    }
}

/// A number that no other call in this process returns; never zero.
pub fn unique() -> u64 {
    static NEXT: Word = Word::new(1);
    NEXT.next()
}

/// Connections that are open on one listener, on all cores: all together, and by client address.
pub struct Occupancy {
    all: Word,
    clients: Counts,
    seed: SharedSeed,
}

impl std::fmt::Debug for Occupancy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Occupancy").field("all", &self.all).finish_non_exhaustive()
    }
}

/// Words of a bucket of counts: two cache lines.
const COUNT_WAYS: usize = 16;
/// A word of counts holds a tag of the key above these bits, and the count in them.
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Sixteen counts.
#[repr(C, align(128))]
struct CountBucket([AtomicU64; COUNT_WAYS]);

const _: () = assert!(size_of::<CountBucket>() == 128, "two cache lines");
const _: () = assert!(CLIENT_COUNTS_MAX.is_power_of_two());

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The listener has as many as it may.
    Listener,
    /// The client has as many as it may.
    Client,
}

/// A connection's place in the counts, given back when dropped.
#[derive(Debug)]
pub struct Admission {
    occupancy: Arc<Occupancy>,
    client: Option<u32>,
}

impl Default for Occupancy {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Occupancy {
    /// Nothing is open. `seed` must be random: it keeps clients from choosing addresses that lie together.
    pub fn new(seed: u64) -> Self {
        Self { all: Word::new(0), clients: Counts::default(), seed: SharedSeed::from_u64(seed) }
    }

    /// Connections that are open.
    pub fn all(&self) -> u64 {
        self.all.load()
    }

    /// Counts one more connection, unless there are `max` or, of this client, `client_max`. A client of
    /// `None` is not counted by itself.
    ///
    /// Never more than either bound are admitted, whichever cores they come to; of two that race for the
    /// last place of one client both may be refused.
    ///
    /// # Errors
    /// Which of the two bounds is reached.
    pub fn admit(
        self: &Arc<Self>,
        max: u64,
        client: Option<(IpAddr, u64)>,
    ) -> Result<Admission, Full> {
        if !self.all.next_below(max) {
            return Err(Full::Listener);
        }
        // From here on a refusal gives the place back by dropping it.
        let mut admission = Admission { occupancy: self.clone(), client: None };
        if let Some((address, client_max)) = client {
            let counted = self.clients.count(self.hash(address), client_max);
            admission.client = counted.map_err(|_| Full::Client)?;
        }
        Ok(admission)
    }

    /// An IPv6 client is its /64: the smallest network that one customer is given (RFC 6177 §2), within
    /// which it chooses addresses at will.
    fn hash(&self, address: IpAddr) -> u64 {
        let mut hasher = FoldHasher::with_seed(0, &self.seed);
        match address.to_canonical() {
            IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
            IpAddr::V6(address) => hasher.write_u64((address.to_bits() >> 64) as u64),
        }
        hasher.finish()
    }
}

/// Counts by key, on all cores: `CLIENT_COUNTS_MAX` keys at once.
pub struct Counts(Box<[CountBucket]>);

/// A key has as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFull;

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

impl Default for Counts {
    fn default() -> Self {
        let zeroed = Box::<[CountBucket]>::new_zeroed_slice(CLIENT_COUNTS_MAX / COUNT_WAYS);
        // SAFETY: a CountBucket is made of AtomicU64, for which all-zero bytes are a valid value. Zeroed
        // memory from the allocator costs no page until a count is used.
        Self(unsafe { zeroed.assume_init() })
    }
}

impl Counts {
    /// Counts one more of a key. A key's count is the sum of its words: two cores that meet a new key at
    /// once may make one each. Each adds first and then sums, so that the later one sees both. `None` when
    /// its bucket is full of other keys: this one is then counted nowhere.
    ///
    /// # Errors
    /// The key has `max`.
    pub fn count(&self, hash: u64, max: u64) -> Result<Option<u32>, KeyFull> {
        let bucket = hash as usize & (self.0.len() - 1);
        let words = &self.0[bucket].0;
        let tag = (hash & !COUNT_MASK).max(1 << COUNT_BITS);
        for _ in 0..CELL_TRIES_MAX {
            let seen: [u64; COUNT_WAYS] = std::array::from_fn(|way| words[way].load(SeqCst));
            if sum_of(tag, seen) >= max {
                return Err(KeyFull);
            }
            let own = seen.iter().position(|word| *word & !COUNT_MASK == tag);
            let Some(way) = own.or_else(|| seen.iter().position(|word| *word == 0)) else {
                return Ok(None);
            };
            let next = if seen[way] == 0 { tag | 1 } else { seen[way] + 1 };
            if words[way].compare_exchange(seen[way], next, SeqCst, SeqCst).is_err() {
                continue;
            }
            let place = (bucket * COUNT_WAYS + way) as u32;
            if sum_of(tag, std::array::from_fn(|way| words[way].load(SeqCst))) > max {
                self.discount(place);
                return Err(KeyFull);
            }
            return Ok(Some(place));
        }
        Err(KeyFull)
    }

    /// Takes one away again.
    pub fn discount(&self, place: u32) {
        let place = place as usize;
        let word = &self.0[place / COUNT_WAYS].0[place % COUNT_WAYS];
        let left = word.fetch_sub(1, SeqCst) - 1;
        if left & COUNT_MASK == 0 {
            // Whoever has counted the same key here in between keeps the word.
            let _ = word.compare_exchange(left, 0, SeqCst, SeqCst);
        }
    }
}

/// The count of a key, over all words of its bucket.
fn sum_of(tag: u64, words: [u64; COUNT_WAYS]) -> u64 {
    let mine = words.iter().filter(|word| **word & !COUNT_MASK == tag);
    mine.map(|word| word & COUNT_MASK).sum()
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(place) = self.client {
            self.occupancy.clients.discount(place);
        }
        self.occupancy.all.previous();
    }
}

#[cfg(test)]
mod tests;
