//! A connection to an origin in HTTP/2, as those see it who want a stream on it (RFC 9113 §5.1.2, §6.8).
//!
//! It is a bounded number of places. Whoever has one may open one stream, and gives it back when that stream is over,
//! however it ended. A connection that takes nothing more (GOAWAY, too old, idle, broken) is retired: what is open goes
//! on, and the protocol ends the connection when the last of it has ended. It never reads or writes by itself, which
//! is its driver's (`origin_h2.rs`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ::h2::client::{ResponseFuture, SendRequest};
use ::h2::{Reason, SendStream};
use ::http::Request;

use crate::base::limits::{H2_ORIGIN_ENDING, H2_ORIGIN_ENDINGS_MAX, H2_ORIGIN_STREAMS_MAX};
use crate::base::time::Instant;
use crate::observe::metrics::CoreMetrics;
use crate::runtime::Runtime;
use crate::serve::h2_body::{Incoming, Piece, Receiving};
use crate::serve::origin_line::Line;

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The origin closed it, or it broke.
    Closed,
    /// What came is not HTTP/2.
    Malformed,
    /// The origin answers nothing any more, not even a PING.
    Silent,
    /// The origin does something too often.
    Flood,
}

/// One connection.
pub struct Link {
    /// Opens streams, as long as more may be opened.
    send: RefCell<Option<SendRequest<Piece>>>,
    is_secure: bool,
    made_at: Instant,
    /// Places that are taken.
    taken: Cell<u32>,
    idle_since: Cell<Instant>,
    /// When something came last.
    heard: Cell<Instant>,
    /// When the first stream began that nothing came after.
    waiting_since: Cell<Instant>,
    established: Cell<bool>,
    over: Cell<Option<Over>>,
    /// Who waits for its beginning.
    starting: RefCell<Option<Waker>>,
    /// Responses that were read, whose streams have not ended.
    endings: RefCell<VecDeque<(Instant, Receiving)>>,
    line: Weak<Line>,
    metrics: Arc<CoreMetrics>,
}

impl Link {
    /// A connection that has not begun.
    pub fn new(
        send: SendRequest<Piece>,
        is_secure: bool,
        line: &Rc<Line>,
        metrics: Arc<CoreMetrics>,
        now: Instant,
    ) -> Rc<Self> {
        Rc::new(Self {
            send: RefCell::new(Some(send)),
            is_secure,
            made_at: now,
            taken: Cell::new(0),
            idle_since: Cell::new(now),
            heard: Cell::new(now),
            waiting_since: Cell::new(now),
            established: Cell::new(false),
            over: Cell::new(None),
            starting: RefCell::default(),
            endings: RefCell::default(),
            line: Rc::downgrade(line),
            metrics,
        })
    }

    /// When it was made.
    pub fn made_at(&self) -> Instant {
        self.made_at
    }

    /// Ready when the origin has said what it allows, or why there is no connection.
    pub fn poll_established(&self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        match self.over.get() {
            Some(over) => Poll::Ready(Err(over)),
            None if self.established.get() => Poll::Ready(Ok(())),
            None => {
                *self.starting.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether streams may be opened at all, now or later.
    pub fn is_usable(&self) -> bool {
        let mut send = self.send.borrow_mut();
        let ready =
            send.as_mut().map(|send| send.poll_ready(&mut Context::from_waker(Waker::noop())));
        let refused = matches!(ready, None | Some(Poll::Ready(Err(_))));
        if refused {
            // No more streams (§6.8), or no more numbers for them (§5.1.1).
            *send = None;
        }
        !refused && self.over.get().is_none()
    }

    /// How many more streams may be opened now.
    pub fn room(&self) -> u32 {
        let send = self.send.borrow();
        let Some(send) = send.as_ref().filter(|_| self.established.get()) else { return 0 };
        let allowed = u32::try_from(send.current_max_send_streams()).unwrap_or(u32::MAX);
        allowed.min(H2_ORIGIN_STREAMS_MAX).saturating_sub(self.taken.get())
    }

    /// Whether the origin takes WebSockets (RFC 8441 §3).
    pub fn takes_websockets(&self) -> bool {
        let send = self.send.borrow();
        send.as_ref().is_some_and(SendRequest::is_extended_connect_protocol_enabled)
    }

    /// No more streams are opened; those that are open go on.
    pub fn retire(&self) {
        *self.send.borrow_mut() = None;
    }

    /// Places that are taken.
    pub fn taken(&self) -> u32 {
        self.taken.get()
    }

    /// Since when none is.
    pub fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    /// Since when nothing came although something is waited for, or was last.
    pub fn silent_since(&self) -> Instant {
        match self.taken.get() {
            0 => self.heard.get().max(self.idle_since.get()),
            _ => self.heard.get().max(self.waiting_since.get()),
        }
    }

    /// Something came.
    pub fn hear(&self, now: Instant) {
        self.heard.set(now);
    }

    /// The protocol has moved: looks whether the connection has begun, and whether there is room for more.
    pub fn moved(&self) {
        if !self.established.get() {
            let told = |send: &SendRequest<Piece>| send.current_max_send_streams() > 0;
            if !self.send.borrow().as_ref().is_some_and(told) {
                return;
            }
            self.established.set(true);
            if let Some(waker) = self.starting.borrow_mut().take() {
                waker.wake();
            }
        }
        if let Some(line) = self.line.upgrade() {
            line.call();
        }
    }

    /// When the first of those that are waited for is given up.
    pub fn ending_until(&self) -> Instant {
        let endings = self.endings.borrow();
        endings.front().map_or(Instant::NEVER, |(since, _)| *since + H2_ORIGIN_ENDING)
    }

    /// Reads the ends of streams whose responses were read.
    pub fn poll_endings(&self, cx: &mut Context<'_>, now: Instant) {
        if self.endings.borrow().is_empty() {
            return;
        }
        let mut endings = std::mem::take(&mut *self.endings.borrow_mut());
        let before = endings.len();
        endings.retain_mut(|(since, body)| match body.fill(cx) {
            // What is given up is cancelled with its last handle.
            Poll::Pending => *since + H2_ORIGIN_ENDING > now,
            Poll::Ready(Incoming::Trailers) => body.poll_trailers(cx).is_pending(),
            // Data behind the end of a body is nobody's.
            Poll::Ready(_) => false,
        });
        let ended = before - endings.len();
        self.endings.borrow_mut().extend(endings);
        (0..ended).for_each(|_| self.leave(now));
    }

    /// It is over, for this reason.
    pub fn end(&self, over: Over) {
        self.retire();
        self.over.set(Some(over));
        self.endings.take();
        if let Some(waker) = self.starting.borrow_mut().take() {
            waker.wake();
        }
        if let Some(line) = self.line.upgrade() {
            line.call();
        }
    }

    /// A place is free again.
    fn leave(&self, now: Instant) {
        self.taken.set(self.taken.get() - 1);
        self.idle_since.set(now);
        if let Some(line) = self.line.upgrade() {
            line.call();
        }
    }
}

/// A place on a connection: leave to open one stream.
pub struct Taken<R: Runtime> {
    link: Rc<Link>,
    runtime: R,
    /// Whether its end is waited for elsewhere.
    is_let: Cell<bool>,
}

impl<R: Runtime> Taken<R> {
    /// Takes a place.
    pub fn new(link: Rc<Link>, runtime: R) -> Self {
        let now = runtime.now();
        link.taken.set(link.taken.get() + 1);
        if link.waiting_since.get() <= link.heard.get() {
            link.waiting_since.set(now);
        }
        Self { link, runtime, is_let: Cell::new(false) }
    }

    /// Whether the origin speaks TLS.
    pub fn is_secure(&self) -> bool {
        self.link.is_secure
    }

    /// Opens the stream; `ended` says that no body follows.
    ///
    /// # Errors
    /// The connection takes no more: nothing was sent.
    pub fn open(
        &self,
        head: Request<()>,
        ended: bool,
    ) -> io::Result<(ResponseFuture, SendStream<Piece>)> {
        let mut send = self.link.send.borrow_mut();
        let opened = send.as_mut().and_then(|send| send.send_request(head, ended).ok());
        if opened.is_some() {
            self.link.metrics.origin_h2.streams.add(1);
        }
        opened.ok_or_else(|| ErrorKind::ConnectionRefused.into())
    }

    /// Waits for the end of the stream when nothing but it is to come.
    pub fn let_end(&self, body: Receiving) {
        let mut endings = self.link.endings.borrow_mut();
        if endings.len() >= H2_ORIGIN_ENDINGS_MAX {
            return;
        }
        endings.push_back((self.runtime.now(), body));
        self.is_let.set(true);
    }

    /// What an error is to who reads and writes: `ConnectionRefused` where the origin has done nothing.
    pub fn kind_of(&self, error: &h2::Error) -> ErrorKind {
        match self.link.over.get() {
            Some(Over::Silent) => return ErrorKind::TimedOut,
            Some(Over::Flood | Over::Malformed) => return ErrorKind::InvalidData,
            Some(Over::Closed) | None => {}
        }
        if error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED) {
            if let Some(line) = self.link.line.upgrade() {
                line.note_http1(self.runtime.now());
            }
            return ErrorKind::ConnectionRefused;
        }
        let refused = error.reason() == Some(Reason::REFUSED_STREAM);
        match () {
            // Streams behind the last one that GOAWAY names are told it (§6.8); others go on.
            () if error.is_remote() && (error.is_go_away() || refused) => {
                self.link.metrics.origin_h2.refused.add(1);
                ErrorKind::ConnectionRefused
            }
            () if error.is_library() => ErrorKind::InvalidData,
            () if error.is_reset() => ErrorKind::ConnectionReset,
            () => ErrorKind::ConnectionAborted,
        }
    }
}

impl<R: Runtime> Drop for Taken<R> {
    fn drop(&mut self) {
        if !self.is_let.get() {
            self.link.leave(self.runtime.now());
        }
    }
}
