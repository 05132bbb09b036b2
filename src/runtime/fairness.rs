//! Lets the other connections of a core have their turn.
//!
//! monoio has no budget for a task: with epoll an operation that can be done is done without a wait, so that
//! one client that always has a next request ready, or always room for the next piece, would keep the core
//! for as long as it likes. A stream that was served at once `AT_ONCE_MAX` times in a row therefore pauses
//! for one turn of the loop, by a timer: a task that wakes itself goes to the front of the queue (RUNTIME.md
//! A.5, A.9 rule 3). With io_uring every operation waits for the ring and this never pauses.
//!
//! The futures here are written by hand: an `async fn` keeps what it is given twice, and a timer in it brings
//! an alignment of 128 bytes to every future around it, all of which is copied for each request.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use monoio::time::Sleep;

/// Operations of one stream that may be done in a row without a wait. A request takes two; 64 pieces of a
/// body are 4 MiB.
const AT_ONCE_MAX: u32 = 64;

/// The pause: the timers' resolution, so that the driver is asked in between.
const TURN: Duration = Duration::from_millis(1);

/// How often in a row a stream was served at once.
#[derive(Default)]
pub(super) struct Turns(Cell<u32>);

impl Turns {
    /// Does `operation`; before it, others have their turn if this stream has had its share.
    pub(super) fn share<F: Future>(&self, operation: F) -> Share<'_, F> {
        let pause = (self.0.get() >= AT_ONCE_MAX).then(|| Box::pin(monoio::time::sleep(TURN)));
        Share { turns: self, operation, waited: false, pause }
    }
}

pin_project_lite::pin_project! {
    /// An operation of a stream.
    pub(super) struct Share<'a, F> {
        turns: &'a Turns,
        #[pin]
        operation: F,
        waited: bool,
        pause: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Share<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Some(pause) = this.pause {
            ready!(pause.as_mut().poll(cx));
            *this.pause = None;
            this.turns.0.set(0);
        }
        let polled = this.operation.poll(cx);
        if polled.is_pending() {
            *this.waited = true;
        } else {
            let turns = this.turns.0.get();
            this.turns.0.set(if *this.waited { 0 } else { turns + 1 });
        }
        polled
    }
}

pin_project_lite::pin_project! {
    /// One of two futures with the same output.
    #[project = EitherProjected]
    pub enum Either<A, B> {
        /// The one.
        A { #[pin] future: A },
        /// The other.
        B { #[pin] future: B },
    }
}

impl<A: Future, B: Future<Output = A::Output>> Future for Either<A, B> {
    type Output = A::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        match self.project() {
            EitherProjected::A { future } => future.poll(cx),
            EitherProjected::B { future } => future.poll(cx),
        }
    }
}

pin_project_lite::pin_project! {
    /// `future`, whose output goes through `then`.
    pub(super) struct Mapped<F, T> {
        #[pin]
        pub(super) future: F,
        pub(super) then: T,
    }
}

impl<F: Future, O, T: Fn(F::Output) -> O> Future for Mapped<F, T> {
    type Output = O;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let this = self.project();
        this.future.poll(cx).map(this.then)
    }
}
