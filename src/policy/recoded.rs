//! A stored content in other codings: made once, when a client first wants one, and kept beside the plain one.
//!
//! What is kept is counted in the machine's budget like everything stored, and leaves with its response. It is never
//! made of content that is coded already, or that must not be changed: `policy/compress.rs` decides that, for every
//! request anew (RFC 9110 §8.4.1).

use std::sync::OnceLock;

use crate::base::shared::Word;
use crate::http::coding::Coding;
use crate::policy::stored::Stored;

/// The content in each coding that somebody wanted.
pub struct Recoded {
    kept: [OnceLock<Box<[u8]>>; 3],
    /// A bit for each coding that is being made.
    making: Word,
    /// What is counted for it and not yet given back. Unit: bytes.
    pub(super) counted: Word,
}

/// The duty to make one; dropped, somebody else may take it on.
pub struct Duty<'a> {
    stored: &'a Stored,
    coding: Coding,
}

impl Default for Recoded {
    fn default() -> Self {
        let (making, counted) = (Word::new(0), Word::new(0));
        Self { kept: Default::default(), making, counted }
    }
}

impl Recoded {
    /// What is kept weighs. Unit: bytes.
    pub(super) fn weight(&self) -> usize {
        self.kept.iter().filter_map(OnceLock::get).map(|content| content.len()).sum()
    }
}

impl Stored {
    /// The content in this coding, if it was made.
    pub fn recoded(&self, coding: Coding) -> Option<&[u8]> {
        let kept = &self.recoded.get()?.kept[place(coding)];
        kept.get().map(|content| &**content)
    }

    /// Takes on the duty to make it; `None` where somebody else has, or it is there.
    pub fn begin_recoding(&self, coding: Coding) -> Option<Duty<'_>> {
        let recoded = self.recoded.get_or_init(Box::default);
        let bit = bit(coding);
        let seen = recoded.making.load();
        let free = seen & bit == 0 && recoded.kept[place(coding)].get().is_none();
        (free && recoded.making.replace(seen, seen | bit)).then_some(Duty { stored: self, coding })
    }

    /// Keeps it; its room must have been taken. `false` when it is there already.
    pub(super) fn keep_recoded(&self, coding: Coding, content: Vec<u8>) -> bool {
        let recoded = self.recoded.get_or_init(Box::default);
        let weight = content.len();
        self.machine().hold(weight);
        recoded.counted.add(weight as u64);
        if recoded.kept[place(coding)].set(content.into_boxed_slice()).is_err() {
            recoded.counted.take_away(weight as u64);
            self.machine().released(weight);
            return false;
        }
        // Whoever ends the response gives the room back, before or after this.
        if !self.is_alive() {
            self.give_recoded();
        }
        true
    }

    /// Gives the room of other codings back, once.
    pub(super) fn give_recoded(&self) {
        if let Some(recoded) = self.recoded.get() {
            self.machine().give_room(recoded.counted.swap(0) as usize);
        }
    }
}

impl Drop for Duty<'_> {
    fn drop(&mut self) {
        let Some(recoded) = self.stored.recoded.get() else { return };
        // Three bits and at most as many who change them at once: it is soon done.
        loop {
            let seen = recoded.making.load();
            if recoded.making.replace(seen, seen & !bit(self.coding)) {
                return;
            }
        }
    }
}

fn place(coding: Coding) -> usize {
    match coding {
        Coding::Gzip => 0,
        Coding::Brotli => 1,
        Coding::Zstd => 2,
    }
}

fn bit(coding: Coding) -> u64 {
    1 << place(coding)
}
