//! Writes to a peer that may be slow: a client that reads a response, or an origin that takes a request.
//!
//! A peer is timed by what it takes and never by what fits a buffer of ours: each part that it takes begins
//! its time anew. The kernel holds megabytes for a slow one and says nothing while it sends them, so after a
//! while it is asked (SIOCOUTQ, tcp(7)). A write that is given up leaves its connection unusable.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::base::buffer::Buf;
use crate::base::limits::WRITE_LOOK_EVERY;
use crate::base::time::Instant;
use crate::net::stream::Wire;
use crate::runtime::deadline::{Elapsed, Slot};
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;
use crate::serve::pace::Pace;

/// Why not all was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// The peer has closed.
    Closed,
    /// It stood still, or crept, for too long.
    Stalled,
}

/// One writing strand of one connection.
pub struct Writing<'a, R: Runtime> {
    /// The core.
    pub core: &'a Core<R>,
    /// The connection.
    pub stream: &'a Wire<R::Stream>,
    /// The strand's deadlines.
    pub slot: &'a Slot,
    /// Longest time without a byte taken.
    pub pause_max: Duration,
    /// When it begins, if somebody has just asked the clock.
    pub known: Cell<Option<Instant>>,
}

/// A write that has not moved for a while.
struct Stall {
    looked_at: Instant,
    moved_at: Instant,
    /// Bytes that the peer had not acknowledged, when it was looked at.
    queued: Option<usize>,
}

impl<R: Runtime> Writing<'_, R> {
    /// Writes all of `buf`, at the `pace` that is asked for.
    ///
    /// # Errors
    /// The peer closed, takes nothing for too long, or less than it must.
    pub async fn all(&self, mut buf: Buf, pace: &mut Pace) -> Result<(), Unwritten> {
        if self.stream.is_strand() {
            // What a client has room for is taken at once: neither clock nor deadline is asked.
            let taken = poll_fn(|cx| Poll::Ready(self.stream.write_at_once(cx, &mut buf))).await;
            pace.note(Duration::ZERO, taken.map_err(|_| Unwritten::Closed)? as u64);
        }
        while !buf.is_empty() {
            buf = pin!(self.some(buf, pace)).await?;
        }
        Ok(())
    }

    /// Writes as much as the peer takes, at least one byte.
    ///
    /// # Errors
    /// As `all`.
    pub async fn some(&self, buf: Buf, pace: &mut Pace) -> Result<Buf, Unwritten> {
        let begun = self.known.take().unwrap_or_else(|| self.core.runtime.now());
        let mut write = pin!(self.stream.write(buf));
        let mut stall = Stall { looked_at: begun, moved_at: begun, queued: None };
        loop {
            // Several looks within the longest pause: movement shows between two of them.
            let look_in = WRITE_LOOK_EVERY.min(self.pause_max / 4);
            let until = stall.looked_at + look_in.min(pace.patience(self.pause_max));
            match self.slot.within(until, write.as_mut()).await {
                Ok((result, rest)) => {
                    let taken = result.map_err(|_| Unwritten::Closed)?;
                    if self.stream.is_strand() {
                        // Behind it no kernel takes on what the peer does not: what was written was taken.
                        pace.note(self.core.runtime.now().since(stall.looked_at), taken as u64);
                    }
                    return Ok(rest);
                }
                Err(Elapsed) => self.look(&mut stall, pace)?,
            }
        }
    }

    /// Looks at a peer that made a write wait.
    fn look(&self, stall: &mut Stall, pace: &mut Pace) -> Result<(), Unwritten> {
        let now = self.core.runtime.now();
        let queued = self.stream.unacknowledged();
        let moved = stall.queued.map_or(0, |before| before.saturating_sub(queued));
        if moved > 0 {
            stall.moved_at = now;
        }
        pace.note(now.since(stall.looked_at), moved as u64);
        (stall.looked_at, stall.queued) = (now, Some(queued));
        let stands_still = now.since(stall.moved_at) >= self.pause_max;
        // A process that ends gives up every wait.
        if stands_still || self.core.stopping.get() || pace.patience(self.pause_max).is_zero() {
            return Err(Unwritten::Stalled);
        }
        Ok(())
    }
}
