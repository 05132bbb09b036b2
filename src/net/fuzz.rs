//! What must hold for any first bytes of a connection, and for any reply of a store: the bodies of fuzz targets and
//! of their replay.
//!
//! It never looks at what a header means, only at promises that every caller relies on.

use crate::base::buffer::BufferPool;
use crate::base::limits::PROXY_HEADER_BYTES_MAX;
use crate::net::proxy_protocol::{self, Outcome};
use crate::net::resp::{self, Reply};

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

/// Replies of the store, one behind the other: no split changes what is read, each takes some bytes and no more than
/// there are, text lies within its reply, and nothing is waited for without a bound.
///
/// # Panics
/// When a promise is broken.
pub fn resp(data: &[u8]) {
    let mut rest = data;
    loop {
        let whole = resp::reply(rest);
        for cut in 0..rest.len().min(resp::REPLY_BYTES_MAX) {
            let part = resp::reply(&rest[..cut]);
            assert!(part == Ok(None) || part == whole, "{part:?}, then {whole:?}");
        }
        let Ok(Some((reply, used))) = whole else {
            let waits = whole == Ok(None);
            assert!(!waits || rest.len() < resp::REPLY_BYTES_MAX, "a reply is bounded");
            break;
        };
        assert!((1..=rest.len().min(resp::REPLY_BYTES_MAX)).contains(&used));
        assert_eq!(resp::reply(&rest[..used]), whole);
        if let Reply::Text { back, len } = reply {
            assert!(len < back && back < used, "text with its end lies in its reply");
        }
        rest = &rest[used..];
    }
    let mut command = Vec::new();
    resp::command(&mut command, &[b"GET", data]);
    let text = command.split_at(b"*2\r\n$3\r\nGET\r\n".len()).1;
    match resp::reply(text) {
        Ok(Some((Reply::Text { back, len }, used))) => {
            assert_eq!(&text[used - back..used - back + len], data);
        }
        other => assert!(data.len() > 1024, "a bulk string reads as it was written: {other:?}"),
    }
}
