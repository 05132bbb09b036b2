//! A bounded map that keeps what is asked for again and lets what was asked for once pass through: S3-FIFO.
//!
//! Three queues (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): what is new goes
//! through a small one, a tenth of the room; what was used there goes on to the main one, anything else leaves
//! and only its hash is remembered for a while (the ghost). What comes back while it is remembered goes to the main queue at once. A hit
//! is one hash, one comparison and a count of at most three: nothing moves, so a scan never drives out what is
//! used. The map never grows beyond its entries, and it never weighs: its owner says when something has to go.
//! Hashes come from the caller, who seeds them; keys are compared by the caller, in full.

/// No entry. Places are kept one higher, so that an untouched table is zeros, which cost no memory.
const NONE: u32 = 0;

/// A count of uses beyond this says nothing more.
const USES_MAX: u8 = 3;

/// The small queue's share of all weight, as a divisor.
const SMALL_SHARE: usize = 10;

/// A map from hashes, and what the caller compares, to `V`.
pub struct S3Fifo<V> {
    /// First entry of each chain; a power of two of them.
    chains: Box<[u32]>,
    entries: Vec<Entry<V>>,
    entries_max: usize,
    free: u32,
    small: Queue,
    main: Queue,
    ghost: Ghost,
    count: usize,
}

struct Entry<V> {
    hash: u64,
    value: Option<V>,
    weight: usize,
    chained: u32,
    older: u32,
    newer: u32,
    uses: u8,
    in_main: bool,
}

/// A list of entries from the oldest to the newest.
#[derive(Default)]
struct Queue {
    oldest: u32,
    newest: u32,
    weight: usize,
    count: usize,
}

/// Hashes of what left the small queue, and when, in a table with one place for each.
struct Ghost {
    places: Box<[(u32, u32)]>,
    turn: u32,
}

impl<V> S3Fifo<V> {
    /// A map of at most `entries_max` entries.
    pub fn new(entries_max: usize) -> Self {
        let entries_max = entries_max.clamp(1, u32::MAX as usize / 2);
        Self {
            chains: vec![NONE; entries_max.next_power_of_two()].into_boxed_slice(),
            entries: Vec::new(),
            entries_max,
            free: NONE,
            small: Queue::default(),
            main: Queue::default(),
            ghost: Ghost::new(entries_max),
            count: 0,
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What all entries weigh together.
    pub fn weight(&self) -> usize {
        self.small.weight + self.main.weight
    }

    /// The value of this hash that `is` the one, which counts as a use.
    pub fn find(&mut self, hash: u64, is: impl Fn(&V) -> bool) -> Option<&V> {
        let at = self.position(hash, is)?;
        let entry = self.entry_mut(at);
        entry.uses = (entry.uses + 1).min(USES_MAX);
        entry.value.as_ref()
    }

    /// Changes a value that is there; `change` says what it weighs afterwards. `false` when it is not there.
    pub fn change(
        &mut self,
        hash: u64,
        is: impl Fn(&V) -> bool,
        change: impl FnOnce(&mut V) -> usize,
    ) -> bool {
        let Some(at) = self.position(hash, is) else { return false };
        let entry = self.entry_mut(at);
        let Some(value) = &mut entry.value else { return false };
        let weight = change(value);
        let before = std::mem::replace(&mut entry.weight, weight);
        let queue = if entry.in_main { &mut self.main } else { &mut self.small };
        queue.weight = queue.weight - before + weight;
        true
    }

    /// Remembers a value that is not there yet. When all places are taken the value that has to leave is
    /// returned.
    pub fn insert(&mut self, hash: u64, value: V, weight: usize) -> Option<V> {
        let evicted = if self.count == self.entries_max { self.evict() } else { None };
        let in_main = self.ghost.take(hash);
        let chain = self.chain(hash);
        let chained = self.chains[chain];
        let (older, newer, uses) = (NONE, NONE, 0);
        let entry =
            Entry { hash, value: Some(value), weight, chained, older, newer, uses, in_main };
        let at = match self.free {
            NONE => {
                self.entries.push(entry);
                self.entries.len() as u32
            }
            at => {
                self.free = self.entry(at).chained;
                *self.entry_mut(at) = entry;
                at
            }
        };
        self.chains[chain] = at;
        self.count += 1;
        self.link(at);
        evicted
    }

    /// Forgets a value and returns it.
    pub fn remove(&mut self, hash: u64, is: impl Fn(&V) -> bool) -> Option<V> {
        let at = self.position(hash, is)?;
        self.unlink(at);
        self.forget(at)
    }

    /// Lets the value go that is worth the least.
    pub fn evict(&mut self) -> Option<V> {
        // Each turn takes one from a queue, or one from its uses: no entry has more than a few.
        for _ in 0..(self.count + 1) * (USES_MAX as usize + 2) {
            let from_small = self.small.count > 0
                && (self.small.weight * SMALL_SHARE >= self.weight() || self.main.count == 0);
            let at = if from_small { self.small.oldest } else { self.main.oldest };
            if at == NONE {
                return None;
            }
            self.unlink(at);
            let entry = self.entry_mut(at);
            if entry.uses == 0 {
                let hash = entry.hash;
                if from_small {
                    self.ghost.put(hash);
                }
                return self.forget(at);
            }
            // Used in the small queue: on to the main one. Used there: once more around.
            entry.uses = if from_small { 0 } else { entry.uses - 1 };
            entry.in_main = true;
            self.link(at);
        }
        None
    }

    /// Forgets all that `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        for at in 1..=self.entries.len() as u32 {
            if self.entry(at).value.as_ref().is_some_and(|value| !keep(value)) {
                self.unlink(at);
                self.forget(at);
            }
        }
    }

    fn entry(&self, at: u32) -> &Entry<V> {
        &self.entries[at as usize - 1]
    }

    fn entry_mut(&mut self, at: u32) -> &mut Entry<V> {
        &mut self.entries[at as usize - 1]
    }

    fn chain(&self, hash: u64) -> usize {
        hash as usize & (self.chains.len() - 1)
    }

    fn position(&self, hash: u64, is: impl Fn(&V) -> bool) -> Option<u32> {
        let mut at = self.chains[self.chain(hash)];
        while at != NONE {
            let entry = self.entry(at);
            if entry.hash == hash && entry.value.as_ref().is_some_and(&is) {
                return Some(at);
            }
            at = entry.chained;
        }
        None
    }

    /// Puts an entry at the new end of its queue.
    fn link(&mut self, at: u32) {
        let (in_main, weight) = (self.entry(at).in_main, self.entry(at).weight);
        let queue = if in_main { &mut self.main } else { &mut self.small };
        let second = std::mem::replace(&mut queue.newest, at);
        queue.weight += weight;
        queue.count += 1;
        if second == NONE {
            queue.oldest = at;
        } else {
            self.entry_mut(second).newer = at;
        }
        let entry = self.entry_mut(at);
        (entry.older, entry.newer) = (second, NONE);
    }

    fn unlink(&mut self, at: u32) {
        let Entry { older, newer, weight, in_main, .. } = *self.entry(at);
        let queue = if in_main { &mut self.main } else { &mut self.small };
        queue.weight -= weight;
        queue.count -= 1;
        if newer == NONE {
            queue.newest = older;
        }
        if older == NONE {
            queue.oldest = newer;
        }
        if newer != NONE {
            self.entry_mut(newer).older = older;
        }
        if older != NONE {
            self.entry_mut(older).newer = newer;
        }
    }

    /// Takes an entry that is in no queue any more out of its chain.
    fn forget(&mut self, at: u32) -> Option<V> {
        let (hash, chained) = (self.entry(at).hash, self.entry(at).chained);
        let chain = self.chain(hash);
        let mut before = self.chains[chain];
        if before == at {
            self.chains[chain] = chained;
        } else {
            while self.entry(before).chained != at {
                before = self.entry(before).chained;
            }
            self.entry_mut(before).chained = chained;
        }
        let free = std::mem::replace(&mut self.free, at);
        self.count -= 1;
        let entry = self.entry_mut(at);
        entry.chained = free;
        entry.value.take()
    }
}

impl Ghost {
    fn new(entries_max: usize) -> Self {
        Self { places: vec![(0, 0); entries_max.next_power_of_two()].into_boxed_slice(), turn: 0 }
    }

    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    fn put(&mut self, hash: u64) {
        self.turn = self.turn.wrapping_add(1);
        let place = self.place(hash);
        self.places[place] = (mark(hash), self.turn);
    }

    /// Whether the hash is remembered; it is forgotten then. As many are remembered as there can be entries.
    fn take(&mut self, hash: u64) -> bool {
        let place = self.place(hash);
        let (known, turn) = self.places[place];
        let found = known == mark(hash) && self.turn.wrapping_sub(turn) < self.places.len() as u32;
        if found {
            self.places[place] = (0, 0);
        }
        found
    }
}

/// The half of a hash that does not choose its place; never zero.
fn mark(hash: u64) -> u32 {
    ((hash >> 32) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Rng;

    /// Spreads small numbers as a hash does.
    fn hash(key: u64) -> u64 {
        key.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn put(map: &mut S3Fifo<u64>, key: u64) -> Option<u64> {
        map.insert(hash(key), key, 1)
    }

    fn has(map: &mut S3Fifo<u64>, key: u64) -> bool {
        map.find(hash(key), |value| *value == key).is_some()
    }

    #[test]
    fn what_is_used_survives_what_is_asked_for_once() {
        let mut map = S3Fifo::new(100);
        (0..100).for_each(|key| assert_eq!(put(&mut map, key), None));
        for _ in 0..2 {
            assert!((0..50).all(|key| has(&mut map, key)));
        }
        let gone: Vec<u64> = (1000..1400).filter_map(|key| put(&mut map, key)).collect();
        assert_eq!((gone.len(), map.len()), (400, 100));
        assert!((0..50).all(|key| has(&mut map, key)), "a scan drives out nothing that is used");
    }

    #[test]
    fn what_comes_back_soon_stays() {
        let mut map = S3Fifo::new(10);
        (0..11).for_each(|key| _ = put(&mut map, key));
        assert!(!has(&mut map, 0));
        put(&mut map, 0);
        (100..140).for_each(|key| _ = put(&mut map, key));
        assert!(has(&mut map, 0), "it went to the main queue at once");
    }

    #[test]
    fn weight_follows_changes_and_removals() {
        let mut map = S3Fifo::new(4);
        map.insert(hash(1), 1, 10);
        map.insert(hash(2), 2, 20);
        assert!(map.change(hash(1), |value| *value == 1, |_| 15) && map.weight() == 35);
        assert!(!map.change(hash(3), |value| *value == 3, |_| 15));
        assert_eq!(map.remove(hash(2), |value| *value == 2), Some(2));
        assert_eq!((map.weight(), map.len()), (15, 1));
        map.retain(|_| false);
        assert!(map.is_empty() && map.weight() == 0 && map.evict().is_none());
    }

    /// The books agree with a plain list of what is there, whatever happens.
    #[test]
    fn the_books_are_kept() {
        let mut rng = Rng::new(7);
        let mut map = S3Fifo::new(32);
        let mut there = std::collections::BTreeMap::new();
        for _ in 0..50_000 {
            let key = u64::from(rng.below(80));
            match rng.below(8) {
                0 => assert_eq!(
                    map.remove(hash(key), |value| *value == key).is_some(),
                    there.remove(&key).is_some()
                ),
                1 => {
                    if let Some(gone) = map.evict() {
                        assert!(there.remove(&gone).is_some());
                    }
                }
                _ if has(&mut map, key) => assert!(there.contains_key(&key)),
                _ => {
                    let weight = rng.below(9) as usize;
                    assert!(!there.contains_key(&key));
                    if let Some(gone) = map.insert(hash(key), key, weight) {
                        assert!(there.remove(&gone).is_some());
                    }
                    there.insert(key, weight);
                }
            }
            assert_eq!((map.len(), map.weight()), (there.len(), there.values().sum()));
        }
    }
}
