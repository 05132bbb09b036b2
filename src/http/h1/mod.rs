//! The HTTP/1.1 wire format (RFC 9112): heads and chunked bodies, bytes in, values out.
//!
//! Our own tokeniser in one pass rather than `httparse` behind a strict pre-scan: httparse accepts bare
//! LF, obs-fold-like and lenient spellings that would each have to be found again, and two passes cost
//! more than one. This room never does I/O, never waits, and never repairs what a peer sent.

pub mod chunked;
mod fields;
#[doc(hidden)]
pub mod fuzz;
pub mod parse;
mod scan;
