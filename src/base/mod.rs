//! The ground floor: values and arithmetic that every room may use.
//!
//! It must never know HTTP, never perform I/O and never ask for the time or for randomness: both are
//! values here, handed down by the runtime.

pub mod address;
mod block;
pub mod buffer;
pub mod crc32c;
pub mod gcra;
pub mod gradient;
pub mod ids;
pub mod limits;
pub mod lru;
pub mod name;
pub mod network;
pub mod network_trie;
pub mod pacing;
pub mod queue;
pub mod random;
pub mod s3_fifo;
pub mod seats;
pub mod shared;
pub mod span;
pub mod time;
