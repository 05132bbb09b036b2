//! What must hold for any first bytes of a connection: the body of a fuzz target and of its replay.
//!
//! It never looks at what a header means, only at promises that every caller relies on.

use crate::base::buffer::BufferPool;
use crate::base::limits::PROXY_HEADER_BYTES_MAX;
use crate::net::proxy_protocol::{self, Outcome};

/// A PROXY header: no split changes the outcome, and what was read reads the same when written.
///
/// # Panics
/// When a promise is broken.
pub fn proxy_header(data: &[u8]) {
    let whole = proxy_protocol::parse(data);
    for cut in 0..data.len().min(PROXY_HEADER_BYTES_MAX) {
        let part = proxy_protocol::parse(&data[..cut]);
        assert!(part == Outcome::Partial || part == whole, "{part:?}, then {whole:?}");
    }
    let Outcome::Done(header, used) = whole else { return };
    assert!(used <= data.len().min(PROXY_HEADER_BYTES_MAX));
    assert_eq!(proxy_protocol::parse(&data[..used]), whole);
    assert_eq!(proxy_protocol::parse(&data[..used - 1]), Outcome::Partial);
    let Some(ends) = header.endpoints else { return };
    let pool = BufferPool::new(1);
    for write in [proxy_protocol::write_v1, proxy_protocol::write_v2] {
        let mut out = pool.take().expect("one buffer");
        assert!(write(&mut out, &ends));
        let again = proxy_protocol::parse(out.data());
        let Outcome::Done(read, length) = again else { panic!("{ends:?} reads as {again:?}") };
        assert_eq!((read.endpoints, length), (Some(ends), out.len()));
    }
}
