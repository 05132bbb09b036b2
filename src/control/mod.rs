//! The slow side: loads configurations, reloads them, and writes the log, on threads of its own.
//!
//! It must never be waited for by a core.

pub mod flush;
pub mod keys;
