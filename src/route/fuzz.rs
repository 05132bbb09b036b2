//! What must hold for every path, in one function for the fuzzer and for `tests/properties/route.rs`.
//!
//! It never runs in production. Promises are those of `spelling.rs`: what is taken by default has no dot
//! segment in any reading, and resolving and merging (RFC 3986 §5.2.4) end in a path that they leave alone.

use crate::route::spelling::{DotSegments, EmptySegments, PathScratch, PathSpelling, rewrite};

/// Splits, decodes, judges and rewrites any bytes as a path.
///
/// # Panics
/// When a promise is broken.
pub fn path(data: &[u8]) {
    let path = [b"/", data].concat();
    let mut scratch = PathScratch::default();
    if scratch.split(&path, &PathSpelling::default()).is_ok() {
        let count = scratch.segments.len();
        assert_eq!(count, path.iter().filter(|byte| **byte == b'/').count());
        for segment in 0..count {
            let text = scratch.text(segment, &path);
            assert!(std::str::from_utf8(text).is_ok());
            assert!(!text.iter().any(|byte| matches!(byte, b'\\' | 0..=0x1f)));
            let dots = |piece: &[u8]| piece == b"." || piece == b"..";
            assert!(!text.split(|byte| matches!(byte, b'/' | b';')).next().is_some_and(dots));
            assert!(!text.is_empty() || segment > 0 || count == 1);
        }
    }
    for (resolve, merge) in [(true, true), (true, false), (false, true)] {
        let mut once = path.clone();
        let length = rewrite(&mut once, resolve, merge);
        once.truncate(length);
        assert!(once.starts_with(b"/") && length <= path.len());
        let mut twice = once.clone();
        let again = rewrite(&mut twice, resolve, merge);
        assert_eq!(once, twice[..again]);
        let spelling = PathSpelling {
            dot_segments: if resolve { DotSegments::Resolve } else { DotSegments::Refuse },
            empty_segments: if merge { EmptySegments::Merge } else { EmptySegments::Keep },
            ..PathSpelling::default()
        };
        // Nothing is promised of what is still refused; it must only end.
        let _ = scratch.split(&once, &spelling);
    }
}
