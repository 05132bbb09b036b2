//! One request, several answers, one document (CONFIG.md rules 4 and 5). Pure: no I/O, no clock.
//!
//! Never the fan-out itself: `serve/fan_out.rs` sends and waits.

pub mod json;
