//! The only atomics that cores share: cells of rate limits, flags and counters. Bounded, without locks.
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

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::base::gcra::{EPOCH_BITS, Grant, Rule, TAT_BITS};
use crate::base::limits::{CELL_TRIES_MAX, LIMIT_KEYS_MAX};
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

    /// Decides about one request of the key with this hash, at `now`.
    pub fn take(&self, hash: u64, now: Instant) -> Grant {
        let bucket = &self.buckets[hash as usize & (self.buckets.len() - 1)];
        let key = Key::of(hash);
        let ticks = self.rule.ticks(now);
        self.enter(bucket, ticks);
        for _ in 0..CELL_TRIES_MAX {
            let (way, seen) = self.place(bucket, key, ticks);
            match self.charge(bucket, key, way, seen, ticks) {
                Charge::Granted(grant) => {
                    return self.charge_others(bucket, key, way, ticks, grant);
                }
                Charge::Refused(grant) => return grant,
                Charge::Raced => {}
            }
        }
        self.rule.refused(0)
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
    fn place(&self, bucket: &Bucket, key: Key, ticks: u64) -> (usize, u64) {
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
    fn charge(&self, bucket: &Bucket, key: Key, way: usize, seen: u64, ticks: u64) -> Charge {
        let own = seen != 0 && tag(seen) == key.tag;
        let ahead = self.ahead(seen, ticks);
        let (tat, grant) = self.rule.take(ahead.unwrap_or(0), ticks);
        let Some(tat) = tat else {
            return Charge::Refused(grant);
        };
        let owner = match ahead {
            Some(_) if own => seen & !TAT_MASK,
            Some(_) => seen & !TAT_MASK | SHARED,
            None => key.tag << TAG_SHIFT,
        };
        match bucket.cells[way].compare_exchange(seen, owner | tat, SeqCst, SeqCst) {
            Ok(_) => Charge::Granted(grant),
            Err(_) => Charge::Raced,
        }
    }

    /// Charges every other live record of the key; the strictest answer counts.
    fn charge_others(
        &self,
        bucket: &Bucket,
        key: Key,
        first: usize,
        ticks: u64,
        mut grant: Grant,
    ) -> Grant {
        for (way, cell) in bucket.cells.iter().enumerate() {
            if way == first {
                continue;
            }
            let mut tries = 0;
            loop {
                let word = cell.load(SeqCst);
                let mine = word != 0
                    && (tag(word) == key.tag || (way == key.home && word & SHARED != 0))
                    && self.ahead(word, ticks).is_some();
                if !mine {
                    break;
                }
                match self.charge(bucket, key, way, word, ticks) {
                    Charge::Granted(other) => {
                        grant = stricter(grant, other);
                        break;
                    }
                    Charge::Refused(other) => return other,
                    Charge::Raced if tries == CELL_TRIES_MAX => return self.rule.refused(0),
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

fn stricter(one: Grant, other: Grant) -> Grant {
    if other.remaining < one.remaining { other } else { one }
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

    /// Takes one away and returns the value before.
    pub fn previous(&self) -> u64 {
        self.0.fetch_sub(1, SeqCst)
    }

    /// Adds one and returns the value before.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, SeqCst)
    }
}

/// A number that no other call in this process returns; never zero.
pub fn unique() -> u64 {
    static NEXT: Word = Word::new(1);
    NEXT.next()
}

#[cfg(test)]
mod tests;
