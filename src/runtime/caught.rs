//! A future whose panic is its result, so that it never ends the thread that runs it.
//!
//! The panic hook has told what happened and where by then, and the future's state is dropped as it unwinds.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

pin_project_lite::pin_project! {
    /// `task`, with its panics caught.
    pub struct Caught<F> {
        #[pin]
        pub task: F,
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = thread::Result<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.project().task;
        match panic::catch_unwind(AssertUnwindSafe(|| task.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}
