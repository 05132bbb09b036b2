//! A bounded map of byte keys that forgets what was used least recently; bounded in entries and in bytes.
//!
//! All room for entries is made at once, so that a hit allocates nothing: it is one hash, one comparison
//! of the key's bytes and two moves in a list. It never trusts a hash: keys are compared in full. The
//! hash is seeded by the caller, so that nobody outside can choose keys that fall together.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

const NONE: u32 = u32::MAX;

/// A map from bytes to `V`, bounded in entries and in weight.
pub struct Lru<V> {
    /// First entry of each chain; a power of two of them.
    chains: Box<[u32]>,
    entries: Vec<Entry<V>>,
    free: u32,
    newest: u32,
    oldest: u32,
    count: usize,
    weight: usize,
    weight_max: usize,
    seed: SharedSeed,
}

struct Entry<V> {
    space: u64,
    hash: u64,
    key: Box<[u8]>,
    value: Option<V>,
    weight: usize,
    chained: u32,
    newer: u32,
    older: u32,
}

impl<V> Lru<V> {
    /// A map of at most `entries_max` entries that together weigh at most `weight_max`.
    pub fn new(entries_max: usize, weight_max: usize, seed: u64) -> Lru<V> {
        let entries_max = entries_max.clamp(1, NONE as usize - 1);
        Lru {
            chains: vec![NONE; entries_max.next_power_of_two()].into_boxed_slice(),
            entries: Vec::with_capacity(entries_max),
            free: NONE,
            newest: NONE,
            oldest: NONE,
            count: 0,
            weight: 0,
            weight_max,
            seed: SharedSeed::from_u64(seed),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.newest == NONE
    }

    /// What all entries weigh together.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The value of `key` in the space `space`, which becomes the most recently used.
    pub fn find(&mut self, space: u64, key: &[u8]) -> Option<&V> {
        let at = self.position(space, self.hash(space, key), key)?;
        if at != self.newest {
            self.unlink(at);
            self.link_newest(at);
        }
        self.entries[at as usize].value.as_ref()
    }

    /// Remembers `value`, in place of an older one of the same key. What weighs more than the whole map
    /// may is not remembered.
    pub fn insert(&mut self, space: u64, key: &[u8], value: V, weight: usize) {
        self.remove(space, key);
        if weight > self.weight_max {
            return;
        }
        while self.weight + weight > self.weight_max {
            self.forget(self.oldest);
        }
        let hash = self.hash(space, key);
        let chain = self.chain(hash);
        let at = self.vacancy();
        let entry = Entry {
            space,
            hash,
            key: key.into(),
            value: Some(value),
            weight,
            chained: self.chains[chain],
            newer: NONE,
            older: NONE,
        };
        match self.entries.get_mut(at as usize) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        self.chains[chain] = at;
        self.weight += weight;
        self.count += 1;
        self.link_newest(at);
    }

    /// Forgets `key`, if it is there.
    pub fn remove(&mut self, space: u64, key: &[u8]) {
        if let Some(at) = self.position(space, self.hash(space, key), key) {
            self.forget(at);
        }
    }

    fn hash(&self, space: u64, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(space, &self.seed);
        hasher.write(key);
        hasher.finish()
    }

    fn chain(&self, hash: u64) -> usize {
        hash as usize & (self.chains.len() - 1)
    }

    fn position(&self, space: u64, hash: u64, key: &[u8]) -> Option<u32> {
        let mut at = self.chains[self.chain(hash)];
        while at != NONE {
            let entry = &self.entries[at as usize];
            if entry.hash == hash && entry.space == space && *entry.key == *key {
                return Some(at);
            }
            at = entry.chained;
        }
        None
    }

    /// A place for one more entry, the oldest entry's when all are taken.
    fn vacancy(&mut self) -> u32 {
        if self.free == NONE && self.entries.len() == self.entries.capacity() {
            self.forget(self.oldest);
        }
        if self.free == NONE {
            return self.entries.len() as u32;
        }
        let at = self.free;
        self.free = self.entries[at as usize].chained;
        at
    }

    fn forget(&mut self, at: u32) {
        self.unlink(at);
        let (hash, chained) = (self.entries[at as usize].hash, self.entries[at as usize].chained);
        let chain = self.chain(hash);
        let mut before = self.chains[chain];
        if before == at {
            self.chains[chain] = chained;
        } else {
            while self.entries[before as usize].chained != at {
                before = self.entries[before as usize].chained;
            }
            self.entries[before as usize].chained = chained;
        }
        let entry = &mut self.entries[at as usize];
        self.weight -= entry.weight;
        self.count -= 1;
        entry.value = None;
        entry.key = Box::default();
        entry.chained = self.free;
        self.free = at;
    }

    fn unlink(&mut self, at: u32) {
        let (newer, older) = (self.entries[at as usize].newer, self.entries[at as usize].older);
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let second = self.newest;
        let entry = &mut self.entries[at as usize];
        entry.newer = NONE;
        entry.older = second;
        match second {
            NONE => self.oldest = at,
            second => self.entries[second as usize].newer = at,
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Rng;

    #[test]
    fn the_least_recently_used_is_forgotten_first() {
        let mut map = Lru::new(3, 100, 1);
        for name in [b"a", b"b", b"c"] {
            map.insert(0, name, name[0], 1);
        }
        assert_eq!(map.find(0, b"a"), Some(&b'a'));
        map.insert(0, b"d", b'd', 1);
        assert_eq!(map.find(0, b"b"), None);
        assert_eq!(map.find(0, b"a"), Some(&b'a'));
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn spaces_are_apart() {
        let mut map = Lru::new(8, 100, 1);
        map.insert(1, b"k", 1, 1);
        map.insert(2, b"k", 2, 1);
        assert_eq!(map.find(1, b"k"), Some(&1));
        assert_eq!(map.find(2, b"k"), Some(&2));
        assert_eq!(map.find(3, b"k"), None);
    }

    #[test]
    fn weight_is_bounded_and_the_too_heavy_is_not_taken() {
        let mut map = Lru::new(100, 10, 1);
        map.insert(0, b"a", 1, 6);
        map.insert(0, b"b", 2, 6);
        assert_eq!((map.find(0, b"a").copied(), map.weight()), (None, 6));
        map.insert(0, b"b", 3, 11);
        assert_eq!((map.find(0, b"b").copied(), map.weight(), map.is_empty()), (None, 0, true));
    }

    /// Against a plain list that keeps the same order.
    #[test]
    fn it_agrees_with_a_list() {
        let mut rng = Rng::new(9);
        let mut map = Lru::new(16, 60, 4);
        let mut list: Vec<(u8, u64, usize)> = Vec::new();
        for step in 0..20_000u64 {
            let key = rng.below(40) as u8;
            match rng.below(4) {
                0 => {
                    let weight = rng.below(10) as usize;
                    map.insert(0, &[key], step, weight);
                    list.retain(|entry| entry.0 != key);
                    while list.iter().map(|entry| entry.2).sum::<usize>() + weight > 60 {
                        list.remove(0);
                    }
                    if list.len() == 16 {
                        list.remove(0);
                    }
                    list.push((key, step, weight));
                }
                1 => {
                    map.remove(0, &[key]);
                    list.retain(|entry| entry.0 != key);
                }
                _ => {
                    let at = list.iter().position(|entry| entry.0 == key);
                    assert_eq!(map.find(0, &[key]).copied(), at.map(|at| list[at].1));
                    if let Some(at) = at {
                        let entry = list.remove(at);
                        list.push(entry);
                    }
                }
            }
            assert_eq!(map.len(), list.len());
            assert_eq!(map.weight(), list.iter().map(|entry| entry.2).sum::<usize>());
        }
    }
}
