//! Waiting for several things of one task: two of a duplex exchange, or the parts of a merge.
//!
//! Everything is polled on the task that asked; nothing is spawned, so that dropping the wait cancels
//! all of it, and no part can outlive its exchange.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// What ended first.
pub enum First<A, B> {
    /// The first of the two.
    A(A),
    /// The second.
    B(B),
}

/// Polls `a`, then `b`, until one of them ends; the other may be polled on afterwards.
pub async fn first<A: Future, B: Future>(
    mut a: Pin<&mut A>,
    mut b: Pin<&mut B>,
) -> First<A::Output, B::Output> {
    poll_fn(|cx| {
        if let Poll::Ready(output) = a.as_mut().poll(cx) {
            return Poll::Ready(First::A(output));
        }
        b.as_mut().poll(cx).map(First::B)
    })
    .await
}

/// What the end of one future means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The others go on.
    GoOn,
    /// Some were started, which are to be polled too.
    Started,
    /// The rest does not matter any more.
    Stop,
}

/// Polls all `futures` until each has ended or `accept` says that the rest does not matter any more;
/// the rest is dropped then. `accept` is given the index and output of each as it ends, and may start
/// others in their places or drop some.
pub async fn all<F: Future>(
    futures: &mut [Option<Pin<Box<F>>>],
    mut accept: impl FnMut(usize, F::Output, &mut [Option<Pin<Box<F>>>]) -> Then,
) {
    poll_fn(|cx| {
        loop {
            let mut started = false;
            for index in 0..futures.len() {
                let Some(future) = &mut futures[index] else { continue };
                if let Poll::Ready(output) = future.as_mut().poll(cx) {
                    futures[index] = None;
                    match accept(index, output, futures) {
                        Then::GoOn => {}
                        Then::Started => started = true,
                        Then::Stop => return Poll::Ready(()),
                    }
                }
            }
            if !started {
                break;
            }
        }
        if futures.iter().any(Option::is_some) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}
