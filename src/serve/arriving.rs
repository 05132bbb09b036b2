//! A request head that has begun to arrive, while it waits for its rest.
//!
//! Nearly every head comes whole with one read and never sees this file. A client that sends its head in
//! drops (slowloris) must not hold what an exchange holds: no pooled buffer, no exchange, only the bytes
//! that came, until the head is whole, refused, late, or can never become whole. The time for a head counts from its first byte and
//! never from the last one. RFC 9112 §2.2, §9.5. The other choice, to read on inside the exchange, held a
//! buffer and an exchange for a head of one byte: 16,384 such clients used up a core's buffers.

use crate::base::buffer::Buf;
use crate::base::limits::{HEAD_WAITING_SMALL_BYTES, HEADS_WAITING_BYTES_MAX};
use crate::base::time::{Instant, Wall};
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::http::h1::parse;
use crate::runtime::deadline::Slot;
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;
use crate::serve::connection::Downstream;

/// What is here of a request when an exchange is made for it.
pub struct Arrived {
    /// The bytes.
    pub bytes: Buf,
    /// Whether there is something to read behind them, and has to be.
    pub unread: bool,
    /// How many of them were looked at without finding the end of the head.
    pub seen: usize,
    /// When the first byte came.
    pub begun: Instant,
    /// The same on the wall clock.
    pub began: Wall,
    /// Why nothing more of it comes.
    pub cut: Option<Cut>,
    /// Whether it is a call of gRPC, which is known before its head is judged.
    pub is_grpc: bool,
}

/// Why nothing more of a head comes. What is wrong already with what is here is said in any case.
#[derive(Clone, Copy)]
pub enum Cut {
    /// The client has sent all it will send; what is merely unfinished is not answered.
    Ended,
    /// It is waited for no longer, or is wrong for a reason that it does not show.
    Refused(Fault, &'static str),
}

/// How the wait for the rest of a head ended.
pub enum Rest {
    /// It may be whole, or is to be refused.
    Arrived(Arrived),
    /// There is nothing but the empty line that a request may begin with.
    EmptyLine,
    /// The client is gone.
    Gone,
}

/// The empty line that a request may begin with (RFC 9112 §2.2). A connection on which there is nothing else
/// is idle.
pub const EMPTY_LINE: &[u8] = b"\r\n";

impl Arrived {
    /// Nothing yet, or an empty line from before: the first read follows.
    ///
    /// # Errors
    /// The core's budget of buffers is spent.
    pub fn nothing<R: Runtime>(core: &Core<R>, connection: &Downstream<R>) -> Result<Self, Fault> {
        let mut bytes = core.buffer()?;
        if connection.empty_line.take() {
            let fits = bytes.put(EMPTY_LINE);
            debug_assert!(fits, "the buffer is empty");
        }
        Ok(Self { unread: true, ..Self::of(core, bytes) })
    }

    /// These bytes, which came now.
    pub fn of<R: Runtime>(core: &Core<R>, bytes: Buf) -> Self {
        let begun = core.runtime.now();
        let began = core.wall(begun);
        Self { bytes, unread: false, seen: 0, begun, began, cut: None, is_grpc: false }
    }
}

/// A part of a head, kept small.
pub struct Begun {
    bytes: Box<[u8]>,
    begun: Instant,
    began: Wall,
}

impl Begun {
    /// What came of the head of `x` in `bytes`.
    pub fn of(bytes: Buf, x: &Exchange) -> Self {
        Self { bytes: bytes.data().into(), begun: x.timeline.begun, began: x.began }
    }

    /// Whether it is nothing but the empty line that a request may begin with.
    pub fn is_empty_line(&self) -> bool {
        &*self.bytes == EMPTY_LINE
    }

    /// Waits until the head may be whole, or is to be refused.
    pub async fn rest<R: Runtime>(
        mut self,
        core: &Core<R>,
        connection: &Downstream<R>,
        slot: &Slot,
    ) -> Rest {
        loop {
            let (limits, until) = {
                let installed = core.installed();
                let Some(listener) = connection.listener(&installed) else { return Rest::Gone };
                (listener.head_limits, self.begun + listener.head_timeout)
            };
            let Some(weighed) = Weighed::new(core, self.bytes.len()) else {
                return self.refused(core, FaultKind::ConnectionLimitReached);
            };
            match slot.within(until, connection.stream.readable()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Rest::Gone,
                Err(_) => return self.refused(core, FaultKind::RequestTimeout),
            }
            drop(weighed);
            let Some(mut whole) = self.unpacked(core) else { return Rest::Gone };
            let room = whole.bytes.spare();
            // Something is there to read: this ends at once, unless the deadline passes in between.
            let bytes = match slot.within(until, connection.stream.read(whole.bytes, room)).await {
                Ok((Ok(1..), bytes)) => bytes,
                Ok((Ok(_), _)) => return self.cut(core, Cut::Ended),
                Ok((Err(_), _)) => return Rest::Gone,
                Err(_) => return self.refused(core, FaultKind::RequestTimeout),
            };
            if parse::may_be_whole(bytes.data(), whole.seen, &limits) {
                whole.bytes = bytes;
                return Rest::Arrived(whole);
            }
            self.bytes = bytes.data().into();
            if self.is_empty_line() {
                return Rest::EmptyLine;
            }
        }
    }

    fn refused<R: Runtime>(&self, core: &Core<R>, kind: FaultKind) -> Rest {
        let fault = Fault { kind, side: Side::Downstream, again: Again::Never };
        self.cut(core, Cut::Refused(fault, ""))
    }

    /// What is here is looked at once more from its beginning, for nothing more comes.
    fn cut<R: Runtime>(&self, core: &Core<R>, cut: Cut) -> Rest {
        let whole = self.unpacked(core);
        whole
            .map_or(Rest::Gone, |whole| Rest::Arrived(Arrived { seen: 0, cut: Some(cut), ..whole }))
    }

    /// The bytes in a buffer again; `None` when the core has none, and then there is no answer either.
    fn unpacked<R: Runtime>(&self, core: &Core<R>) -> Option<Arrived> {
        let mut bytes = core.buffer().ok()?;
        let fits = bytes.put(&self.bytes);
        debug_assert!(fits, "it came out of a buffer");
        let Self { begun, began, .. } = *self;
        let seen = self.bytes.len();
        Some(Arrived { seen, begun, began, ..Arrived::of(core, bytes) })
    }
}

/// Counts a part of a head among those that wait, until it is dropped.
struct Weighed<'a, R: Runtime> {
    core: &'a Core<R>,
    bytes: usize,
}

impl<'a, R: Runtime> Weighed<'a, R> {
    /// `None` when the core has no room for it.
    fn new(core: &'a Core<R>, bytes: usize) -> Option<Self> {
        let bytes = if bytes > HEAD_WAITING_SMALL_BYTES { bytes } else { 0 };
        let waiting = core.heads_waiting_bytes.get() + bytes;
        if bytes > 0 && waiting > HEADS_WAITING_BYTES_MAX {
            return None;
        }
        core.heads_waiting_bytes.set(waiting);
        Some(Self { core, bytes })
    }
}

impl<R: Runtime> Drop for Weighed<'_, R> {
    fn drop(&mut self) {
        let waiting = self.core.heads_waiting_bytes.get();
        self.core.heads_waiting_bytes.set(waiting - self.bytes);
    }
}
