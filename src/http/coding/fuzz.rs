//! Promises about coded bodies from outside, for a fuzz target and the replay of its corpus; a broken promise
//! panics.
//!
//! It is never called on a request's path.

use crate::base::limits::ZSTD_WINDOW_BYTES_MAX;
use crate::http::coding::{Coding, Decoding, Step};

/// A body of the coding that its first byte names ends after few steps, within its bound, whatever it holds; and if
/// it can be decoded, it cannot when it ends earlier or goes on (but for further members).
pub fn coding(data: &[u8]) {
    const MAX: usize = 1 << 16;
    let [choice, body @ ..] = data else { return };
    let coding = [Coding::Gzip, Coding::Brotli, Coding::Zstd][usize::from(*choice) % 3];
    let decoded = |body: &[u8]| {
        let (mut decoding, mut out) = (Decoding::new(coding), Vec::new());
        // Each step uses or makes something, or opens a member.
        for _ in 0..2 * (body.len() + MAX) {
            match decoding.step(body, &mut out, MAX) {
                Ok(Step::Done) => return Ok(out),
                Ok(Step::More) => assert!(out.len() <= MAX),
                Err(fault) => {
                    let window = ZSTD_WINDOW_BYTES_MAX as usize;
                    assert!(out.len() <= MAX + 2 * window, "{} bytes made", out.len());
                    return Err(fault);
                }
            }
        }
        panic!("no end");
    };
    if let Ok(out) = decoded(body) {
        let more = [body, b"x"].concat();
        assert!(decoded(&more).is_err(), "something behind the end");
        let cut = decoded(&body[..body.len().saturating_sub(1)]);
        // What was cut may have been a frame to be skipped, or one without content.
        assert!(cut.is_err() || cut == Ok(out), "its end is not needed");
    }
}
