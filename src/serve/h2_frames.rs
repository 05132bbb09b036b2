//! Frames of HTTP/2 from a socket to the protocol, the same towards clients and origins (RFC 9113 §4).
//!
//! A buffer is taken when there is something to read, never before: a connection that is silent holds none.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::Poll;

use crate::base::buffer::Buf;
use crate::net::poll_io::Pipes;
use crate::net::stream::Wire;
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;

/// Reads until nothing more comes, or `take_in` wants no more; what it wants it feeds to `pipes`.
pub async fn read<R: Runtime>(
    core: &Core<R>,
    stream: &Wire<R::Stream>,
    pipes: &Pipes,
    take_in: impl Fn(Buf) -> bool,
) {
    loop {
        poll_fn(|_| if pipes.is_hungry() { Poll::Ready(()) } else { Poll::Pending }).await;
        if stream.readable().await.is_err() {
            break;
        }
        let Ok(buf) = core.buffer() else { break };
        let room = buf.spare();
        let (result, buf) = match stream.try_read(buf, room) {
            (Err(error), buf) if error.kind() == ErrorKind::WouldBlock => {
                stream.read(buf, room).await
            }
            done => done,
        };
        match result {
            Ok(1..) if take_in(buf) => {}
            _ => break,
        }
    }
    pipes.end();
}
