//! What one exchange works with: recycled by its core, so that a warm exchange allocates nothing.
//!
//! An idle connection never holds one.

use std::cell::{Cell, RefCell};

use crate::exchange::Exchange;
use crate::http::h1::chunked::Decoder;
use crate::http::head::ResponseHead;

/// The exchange, and what reading its two messages takes.
#[derive(Default)]
pub struct Work {
    /// The exchange.
    pub x: Exchange,
    /// Decodes the client's body.
    pub chunks: Decoder,
    /// What reading a response takes.
    pub response: ResponseScratch,
}

/// What reading one response takes.
#[derive(Default)]
pub struct ResponseScratch {
    /// The origin's head.
    pub head: ResponseHead,
    /// Decodes the origin's body.
    pub chunks: Decoder,
}

impl Work {
    /// Forgets the exchange and keeps the room.
    pub fn clear(&mut self) {
        self.x.clear();
        self.chunks.reset();
        self.response.chunks.reset();
    }
}

/// Things kept for reuse by one core; more are dropped.
const KEPT_MAX: usize = 512;

/// Things kept through a lull, so that the next few requests find some.
const KEPT_MIN: usize = 8;

/// Large things that one core uses again and again.
pub struct Spare<T> {
    kept: RefCell<Vec<Box<T>>>,
    /// The fewest that lay here at once since the last `shrink`: so many were not needed.
    least: Cell<usize>,
}

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self { kept: RefCell::new(Vec::with_capacity(KEPT_MAX)), least: Cell::new(0) }
    }
}

impl<T: Default> Spare<T> {
    /// One that was used before, or a new one.
    pub fn take(&self) -> Box<T> {
        let mut kept = self.kept.borrow_mut();
        let taken = kept.pop();
        self.least.set(kept.len().min(self.least.get()));
        taken.unwrap_or_default()
    }

    /// Keeps one for the next.
    pub fn keep(&self, thing: Box<T>) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push(thing);
        }
    }

    /// Drops half of what lay unused since the last call, down to a few.
    pub fn shrink(&self) {
        let mut kept = self.kept.borrow_mut();
        let unused = self.least.get().min(kept.len());
        let surplus = unused.div_ceil(2).min(kept.len().saturating_sub(KEPT_MIN));
        kept.drain(..surplus);
        self.least.set(kept.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_unused_goes_by_halves_down_to_a_few() {
        let spare = Spare::<u64>::default();
        let kept = || spare.kept.borrow().len();
        let taken: Vec<_> = (0..100).map(|_| spare.take()).collect();
        taken.into_iter().for_each(|thing| spare.keep(thing));
        spare.shrink();
        assert_eq!(kept(), 100, "all were needed since the last look");
        spare.shrink();
        assert_eq!(kept(), 50);
        (0..10).for_each(|_| spare.shrink());
        assert_eq!(kept(), KEPT_MIN);
    }
}
