//! Notices that a client has gone away while its origin keeps silent.
//!
//! A gateway that only waits for the origin would never see it, and the origin would go on working for
//! nobody. The watch costs nothing in the first moments of a wait (two stores in the table of deadlines);
//! then it looks once and, while the client is there, waits for its socket to become readable. It never
//! reads: bytes there are the next request of a pipelining client and no farewell (RFC 9112 §9.3.2).
//!
//! A client that has shut down its sending half counts as gone while the origin is silent, as with nginx,
//! Envoy and Go's net/http: on the wire it cannot be told from one that closed (RFC 9112 §9.6 knows closing
//! only). HAProxy without `abortonclose`, which works on for clients that left, was the choice refused. A
//! response that flows is never cut for it.

use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::{Pin, pin};

use crate::base::limits::{CLIENT_LOOK_EVERY, CLIENT_WATCHED_AFTER};
use crate::base::time::Instant;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::net::stream::Wire;
use crate::runtime::deadline::Slot;
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;
use crate::serve::join::{First, first};

/// The watch over one client, with a deadline of its own.
pub struct Watch<'a, R: Runtime> {
    core: &'a Core<R>,
    client: &'a Wire<R::Stream>,
    slot: &'a Slot,
    /// Whether something else reads from the client and sees its end by itself.
    pub read_elsewhere: Cell<bool>,
    /// When the next wait begins, if somebody has just asked the clock.
    pub known: Cell<Option<Instant>>,
}

impl<'a, R: Runtime> Watch<'a, R> {
    /// A watch over `client`.
    pub fn new(core: &'a Core<R>, client: &'a Wire<R::Stream>, slot: &'a Slot) -> Self {
        Self { core, client, slot, read_elsewhere: Cell::new(false), known: Cell::new(None) }
    }

    /// Waits for what an origin does, as long as the client is there.
    ///
    /// # Errors
    /// The client is gone; `wait` is to be dropped then.
    pub async fn over<F: Future>(&self, wait: Pin<&mut F>) -> Result<F::Output, Fault> {
        match first(wait, pin!(self.gone())).await {
            First::A(output) => Ok(output),
            First::B(()) => {
                let kind = FaultKind::ClientGone;
                Err(Fault { kind, side: Side::Downstream, again: Again::Never })
            }
        }
    }

    /// Completes when the client has gone away.
    async fn gone(&self) {
        let mut pause = CLIENT_WATCHED_AFTER;
        let mut known = self.known.take();
        loop {
            let look_at = known.take().unwrap_or_else(|| self.core.runtime.now()) + pause;
            // The deadline is the event: nothing else is waited for.
            let _ = self.slot.within(look_at, pending::<()>()).await;
            pause = CLIENT_LOOK_EVERY;
            if self.read_elsewhere.get() {
                continue;
            }
            if self.client.has_hung_up() {
                return;
            }
            // Readable without an end means a pipelined request: from now on only looking tells more.
            let _ = self.client.readable().await;
            if self.client.has_hung_up() {
                return;
            }
        }
    }
}
