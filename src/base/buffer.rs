//! Per-core buffers: fixed-size blocks handed out, filled, emptied and given back.
//!
//! A [`Buf`] is a small handle (block, start, end) so that an io_uring operation can own it while it is
//! in flight. Dropping a handle gives its block back to the pool of the core it came from. A pool never
//! crosses threads, never grows past its budget, and its blocks are always initialised memory.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::base::block::Block;
use crate::base::limits::{
    BUFFER_BYTES, BUFFERS_KEPT_MAX, BUFFERS_KEPT_MIN, BUFFERS_MAX, BULK_BUFFER_BYTES,
    BULK_BUFFERS_MAX,
};

/// One core's buffers. Cloning it clones the handle, not the pool.
#[derive(Clone)]
pub struct BufferPool {
    blocks: Rc<Blocks>,
}

struct Blocks {
    free: RefCell<Vec<Block>>,
    /// The fewest that were free at once since the pool was last shrunk: so many were not needed.
    free_least: Cell<usize>,
    in_use: Cell<usize>,
    in_use_max: usize,
    /// Of each block.
    bytes: usize,
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::new(BUFFERS_MAX)
    }
}

impl BufferPool {
    /// A pool that lends at most `in_use_max` buffers at once.
    pub fn new(in_use_max: usize) -> Self {
        Self::sized(in_use_max, BUFFER_BYTES)
    }

    /// The pool of bulk buffers, for the middle of large bodies.
    pub fn bulk() -> Self {
        Self::sized(BULK_BUFFERS_MAX, BULK_BUFFER_BYTES)
    }

    fn sized(in_use_max: usize, bytes: usize) -> Self {
        let free = RefCell::new(Vec::with_capacity(BUFFERS_KEPT_MAX.min(in_use_max)));
        let (free_least, in_use) = (Cell::new(0), Cell::new(0));
        Self { blocks: Rc::new(Blocks { free, free_least, in_use, in_use_max, bytes }) }
    }

    /// An empty buffer, or `None` when the core's budget is spent or the kernel has no memory.
    pub fn take(&self) -> Option<Buf> {
        if self.blocks.in_use.get() >= self.blocks.in_use_max {
            return None;
        }
        let mut free = self.blocks.free.borrow_mut();
        let block = free.pop();
        self.blocks.free_least.set(free.len().min(self.blocks.free_least.get()));
        drop(free);
        let block = block.or_else(|| Block::new(self.blocks.bytes))?;
        self.blocks.in_use.set(self.blocks.in_use.get() + 1);
        Some(Buf { block, start: 0, end: 0, home: self.blocks.clone() })
    }

    /// Gives half of the blocks that lay unused since the last call back to the kernel, down to
    /// `BUFFERS_KEPT_MIN`: what a burst needed is not kept for ever, and a lull does not empty the pool at
    /// once. Returns how many went.
    pub fn shrink(&self) -> usize {
        let mut free = self.blocks.free.borrow_mut();
        let unused = self.blocks.free_least.get().min(free.len());
        let surplus = unused.div_ceil(2).min(free.len().saturating_sub(BUFFERS_KEPT_MIN));
        // The front is what was used least recently.
        free.drain(..surplus);
        self.blocks.free_least.set(free.len());
        surplus
    }

    /// Buffers lent and not yet given back.
    pub fn in_use(&self) -> usize {
        self.blocks.in_use.get()
    }

    /// What they hold, in ordinary buffers.
    pub fn in_use_ordinary(&self) -> usize {
        self.in_use() * self.blocks.bytes / BUFFER_BYTES
    }
}

/// A buffer: unread bytes in `data()`, room for more in `spare_mut()`.
pub struct Buf {
    block: Block,
    start: u32,
    end: u32,
    home: Rc<Blocks>,
}

impl Buf {
    /// The bytes that were filled and not yet consumed.
    pub fn data(&self) -> &[u8] {
        &self.block[self.start as usize..self.end as usize]
    }

    /// The bytes that were filled and not yet consumed, for rewriting in place.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.block[self.start as usize..self.end as usize]
    }

    /// Room behind the data.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.block[self.end as usize..]
    }

    /// Bytes of room behind the data.
    pub fn spare(&self) -> usize {
        self.block.len() - self.end as usize
    }

    /// Declares the first `n` bytes of the spare room filled.
    pub fn fill(&mut self, n: usize) {
        assert!(n <= self.spare(), "filled past the end of a buffer");
        self.end += n as u32;
    }

    /// Consumes `n` bytes from the front; an emptied buffer starts over.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "consumed more than was there");
        self.start += n as u32;
        if self.start == self.end {
            self.clear();
        }
    }

    /// Cuts the data to its first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        if n < self.len() {
            self.end = self.start + n as u32;
        }
    }

    /// Forgets all data.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Moves the data to the front of the block, so that all room is behind it.
    pub fn compact(&mut self) {
        if self.start > 0 {
            self.block.copy_within(self.start as usize..self.end as usize, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Appends `bytes` if they fit; `false`, and nothing appended, if they do not.
    #[must_use]
    pub fn put(&mut self, bytes: &[u8]) -> bool {
        let end = self.end as usize;
        match self.block.get_mut(end..end + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.end += bytes.len() as u32;
                true
            }
            None => false,
        }
    }

    /// Takes block and data out. What is left is empty, has no room, and belongs to no budget.
    #[must_use]
    pub fn take(&mut self) -> Buf {
        let hollow = Buf { block: Block::EMPTY, start: 0, end: 0, home: self.home.clone() };
        std::mem::replace(self, hollow)
    }

    /// Gets a block again if it was taken out; `false` when the budget is spent.
    #[must_use]
    pub fn refill(&mut self) -> bool {
        if !self.block.is_empty() {
            return true;
        }
        match (BufferPool { blocks: self.home.clone() }).take() {
            Some(buf) => *self = buf,
            None => return false,
        }
        true
    }

    /// Forgets all data and leaves `n` bytes of room in front of what comes next (see `prepend`).
    pub fn clear_with_headroom(&mut self, n: usize) {
        debug_assert!(n <= self.block.len());
        self.start = n as u32;
        self.end = n as u32;
    }

    /// Puts `bytes` in front of the data if there is room; `false`, and nothing put, if not.
    #[must_use]
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        let start = self.start as usize;
        match start.checked_sub(bytes.len()) {
            Some(at) => {
                self.block[at..start].copy_from_slice(bytes);
                self.start = at as u32;
                true
            }
            None => false,
        }
    }

    /// Bytes of data.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// So that a protocol's library can send it without a copy.
impl bytes::Buf for Buf {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.data()
    }

    fn advance(&mut self, count: usize) {
        self.consume(count);
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let block = std::mem::replace(&mut self.block, Block::EMPTY);
        if block.is_empty() {
            return;
        }
        self.home.in_use.set(self.home.in_use.get() - 1);
        let mut free = self.home.free.borrow_mut();
        if free.len() < BUFFERS_KEPT_MAX {
            free.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_comes_back_and_is_reused_first() {
        let pool = BufferPool::new(2);
        let mut a = pool.take().expect("within budget");
        assert!(a.put(b"hello"));
        let block = a.data().as_ptr();
        drop(a);
        assert_eq!(pool.in_use(), 0);
        let mut b = pool.take().expect("within budget");
        assert!(b.is_empty() && b.put(b"x"));
        assert_eq!(b.data().as_ptr(), block);
    }

    #[test]
    fn what_was_taken_out_is_given_back_once() {
        let pool = BufferPool::new(2);
        let mut a = pool.take().expect("within budget");
        assert!(a.put(b"x"));
        let b = a.take();
        assert_eq!((a.len(), a.spare(), b.data()), (0, 0, &b"x"[..]));
        assert_eq!(pool.in_use(), 1);
        assert!(a.refill() && a.refill() && a.put(b"y"));
        assert_eq!(pool.in_use(), 2);
        let mut c = a.take();
        assert!(!a.refill(), "the budget is spent");
        drop(c.take());
        drop(a);
        assert_eq!(pool.in_use(), 1);
        drop(b);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn the_budget_is_kept() {
        let pool = BufferPool::new(1);
        let held = pool.take();
        assert!(held.is_some() && pool.take().is_none());
    }

    #[test]
    fn what_a_burst_left_behind_goes_by_halves_and_what_is_in_use_again_stays() {
        let pool = BufferPool::new(1000);
        let free = || pool.blocks.free.borrow().len();
        drop((0..100).map(|_| pool.take()).collect::<Vec<_>>());
        assert_eq!((pool.shrink(), free()), (0, 100), "all were needed since the last look");
        assert_eq!((pool.shrink(), free()), (50, 50));
        drop((0..40).map(|_| pool.take()).collect::<Vec<_>>());
        assert_eq!((pool.shrink(), free()), (5, 45), "ten lay unused");
        while pool.shrink() > 0 {}
        assert_eq!(free(), BUFFERS_KEPT_MIN);
    }

    #[test]
    fn consuming_and_compacting_keep_the_bytes() {
        let pool = BufferPool::new(1);
        let mut buf = pool.take().expect("within budget");
        assert!(buf.put(b"abcdef"));
        buf.consume(2);
        buf.compact();
        assert_eq!(buf.data(), b"cdef");
        assert_eq!(buf.spare(), BUFFER_BYTES - 4);
        buf.consume(4);
        assert_eq!(buf.spare(), BUFFER_BYTES);
    }
}
