//! The control side: what blocks, and what watches. It never runs on a core's thread.

pub mod keys;
