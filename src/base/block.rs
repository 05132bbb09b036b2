//! A block of memory that comes from the kernel: all zeroes, and no larger than what was touched of it.
//!
//! An allocator that hands a block out again has to clear it, and clearing touches all of it: a request of a hundred
//! bytes then holds a whole buffer in memory, and 64 clients 5 MiB. A private mapping (mmap(2)) is zero by itself,
//! page by page, when it is touched for the first time. What is given back goes back to the kernel at once and
//! leaves no holes behind. It never moves, never grows, and is never read where nobody has written but as zeroes.
//!
//! SAFETY of this file: a block is made of one mapping that nothing else knows; its start and length never
//! change, so that a slice of it is valid as long as the block is, and it is unmapped once, when dropped.

use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

/// Memory of one owner.
pub(crate) struct Block {
    start: NonNull<u8>,
    bytes: usize,
}

impl Block {
    /// No memory at all.
    pub(crate) const EMPTY: Self = Self { start: NonNull::dangling(), bytes: 0 };

    /// So many zeroes, or `None` when the kernel gives no memory.
    #[expect(unsafe_code, reason = "mmap(2) has no wrapper in std")]
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at a place that the kernel chooses; nothing that exists is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        NonNull::new(start.cast()).map(|start| Self { start, bytes })
    }
}

impl Deref for Block {
    type Target = [u8];

    #[expect(unsafe_code, reason = "see SAFETY")]
    fn deref(&self) -> &[u8] {
        // SAFETY: `bytes` of the mapping at `start`, initialised by the kernel; or none at an aligned address.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Block {
    #[expect(unsafe_code, reason = "see SAFETY")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is the only way to it.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Block {
    #[expect(unsafe_code, reason = "munmap(2) has no wrapper in std")]
    fn drop(&mut self) {
        if self.bytes > 0 {
            // A kernel that has no room for one more hole between mappings (vm.max_map_count) keeps it: then no new one
            // is to be had either, and whoever asks for a buffer is refused.
            // SAFETY: the whole mapping, which nobody has a slice of any more.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_zeroes_and_keeps_what_is_written_when_it_moves() {
        let mut block = Block::new(72 * 1024).expect("memory");
        assert!(block.iter().all(|byte| *byte == 0) && block.len() == 72 * 1024);
        block[1] = 7;
        let start = block.as_ptr();
        let moved = Box::new(block);
        assert_eq!((moved[1], moved.as_ptr()), (7, start));
        assert!(Block::EMPTY.is_empty() && Block::new(usize::MAX / 2).is_none());
    }
}
