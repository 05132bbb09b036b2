//! Places by hash: a table that is made once and then only read.
//!
//! Open addressing, at most half full, so that nearly every look-up ends in the line of the cache where it
//! begins. It never holds what is looked up, only where it lies: the caller compares.

/// Places by hash.
#[derive(Debug)]
pub(super) struct Index {
    slots: Box<[Slot]>,
}

/// A place, and the upper half of its hash.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    place: u32,
}

const EMPTY: Slot = Slot { tag: 0, place: u32::MAX };

impl Index {
    /// A table of these hashes and places; no place is `u32::MAX`.
    pub(super) fn new(entries: impl ExactSizeIterator<Item = (u64, u32)>) -> Self {
        let count = (entries.len() * 2 + 1).next_power_of_two();
        let mut slots = vec![EMPTY; count];
        for (hash, place) in entries {
            let mut at = hash as usize & (count - 1);
            while slots[at].place != EMPTY.place {
                at = (at + 1) & (count - 1);
            }
            slots[at] = Slot { tag: (hash >> 32) as u32, place };
        }
        Self { slots: slots.into() }
    }

    /// The place with this hash that `is_it` accepts.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            // Ends, because at least half of the slots are empty.
            let slot = self.slots[at];
            if slot.place == EMPTY.place {
                return None;
            }
            if slot.tag == (hash >> 32) as u32 && is_it(slot.place) {
                return Some(slot.place);
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_place_and_no_other() {
        for count in [0_u32, 1, 2, 7, 8, 1000] {
            let hash = |place: u32| u64::from(place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let index = Index::new((0..count).map(|place| (hash(place), place)));
            for place in 0..count {
                assert_eq!(index.find(hash(place), |found| found == place), Some(place));
                assert_eq!(index.find(hash(place), |_| false), None);
            }
            assert_eq!(index.find(hash(count), |_| true), None);
        }
    }

    #[test]
    fn equal_hashes_are_told_apart_by_the_caller() {
        let index = Index::new((0..9).map(|place| (42, place)));
        for place in 0..9 {
            assert_eq!(index.find(42, |found| found == place), Some(place));
        }
        assert_eq!(index.find(42, |_| false), None);
    }
}
