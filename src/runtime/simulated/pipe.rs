//! One direction of a simulated connection: what is on its way, what has arrived, and who waits for it.
//!
//! Plain state; `link.rs` moves it. It never holds more than its bound, however fast the writer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::Waker;

use crate::base::buffer::Buf;

/// What travels.
pub(super) enum Parcel {
    Bytes(Box<[u8]>),
    End,
    Reset,
}

/// How a direction has ended, as its reader sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Orderly,
    Reset,
}

/// One direction.
pub(super) struct Pipe {
    /// With the moment of arrival, in order.
    pub(super) transit: VecDeque<(u64, Parcel)>,
    transit_bytes: usize,
    pub(super) arrived: VecDeque<u8>,
    pub(super) ended: Option<Ended>,
    pub(super) last_arrival: u64,
    bytes_max: usize,
    pub(super) reads: VecDeque<Rc<Operation>>,
    pub(super) writes: VecDeque<Rc<Operation>>,
    pub(super) watchers: Vec<Waker>,
    /// The writer has sent the end, or is closed.
    pub(super) writer_done: bool,
    /// The reader is closed: what arrives is answered by a reset.
    pub(super) reader_gone: bool,
    /// A reset reached the writer.
    pub(super) broken: bool,
}

impl Pipe {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            transit: VecDeque::new(),
            transit_bytes: 0,
            arrived: VecDeque::new(),
            ended: None,
            last_arrival: 0,
            bytes_max: bytes_max.max(1),
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            watchers: Vec::new(),
            writer_done: false,
            reader_gone: false,
            broken: false,
        }
    }

    /// Bytes that the writer may still send.
    pub(super) fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.unread())
    }

    /// Bytes that were written and not read.
    pub(super) fn unread(&self) -> usize {
        self.transit_bytes + self.arrived.len()
    }

    /// Whether a read would end at once.
    pub(super) fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.ended.is_some()
    }

    pub(super) fn push(&mut self, arrival: u64, parcel: Parcel) {
        if let Parcel::Bytes(bytes) = &parcel {
            self.transit_bytes += bytes.len();
        }
        self.last_arrival = arrival;
        self.transit.push_back((arrival, parcel));
    }

    /// The next parcel that has arrived by `now`.
    pub(super) fn pop(&mut self, now: u64) -> Option<Parcel> {
        if self.transit.front()?.0 > now {
            return None;
        }
        let (_, parcel) = self.transit.pop_front()?;
        if let Parcel::Bytes(bytes) = &parcel {
            self.transit_bytes -= bytes.len();
        }
        Some(parcel)
    }

    /// Loses what is on its way.
    pub(super) fn lose_transit(&mut self) {
        self.transit.clear();
        self.transit_bytes = 0;
    }
}

/// A read or write that the kernel has, with the buffer that belongs to it meanwhile.
pub(super) struct Operation(pub(super) RefCell<InFlight>);

/// What is known of an operation.
pub(super) struct InFlight {
    pub(super) buf: Option<Buf>,
    pub(super) bytes_max: usize,
    /// A write that is done when some of it is.
    pub(super) in_part: bool,
    pub(super) done: Option<io::Result<usize>>,
    pub(super) waker: Option<Waker>,
}

impl Operation {
    pub(super) fn new(buf: Buf, bytes_max: usize, in_part: bool) -> Rc<Self> {
        let buf = Some(buf);
        let in_flight = InFlight { buf, bytes_max, in_part, done: None, waker: None };
        Rc::new(Self(RefCell::new(in_flight)))
    }

    /// The kernel is through with it.
    pub(super) fn finish(&self, result: io::Result<usize>) {
        let waker = {
            let mut in_flight = self.0.borrow_mut();
            in_flight.done = Some(result);
            in_flight.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
