//! Lets the other connections of a core have their turn.
//!
//! monoio has no budget for a task: with epoll an operation that can be done is done without a wait, so that
//! one client that always has a next request ready, or always room for the next piece, would keep the core
//! for as long as it likes. A stream that was served at once `AT_ONCE_MAX` times in a row therefore pauses
//! for one turn of the loop, by a timer: a task that wakes itself goes to the front of the queue (RUNTIME.md
//! A.5, A.9 rule 3). With io_uring every operation waits for the ring and this never pauses.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

/// Operations of one stream that may be done in a row without a wait. A request takes two; 64 pieces of a
/// body are 4 MiB.
const AT_ONCE_MAX: u32 = 64;

/// The pause: the timers' resolution, so that the driver is asked in between.
const TURN: Duration = Duration::from_millis(1);

/// How often in a row a stream was served at once.
#[derive(Default)]
pub(super) struct Turns(Cell<u32>);

impl Turns {
    /// Does `operation`, and then lets others have their turn if this stream has had its share.
    pub(super) async fn share<F: Future>(&self, operation: F) -> F::Output {
        let mut operation = pin!(operation);
        let mut at_once = true;
        let output = poll_fn(|cx| {
            let polled = operation.as_mut().poll(cx);
            at_once &= polled.is_ready();
            polled
        })
        .await;
        let turns = if at_once { self.0.get() + 1 } else { 0 };
        self.0.set(turns % AT_ONCE_MAX);
        if turns == AT_ONCE_MAX {
            monoio::time::sleep(TURN).await;
        }
        output
    }
}
