//! A client's connection in HTTP/2 (RFC 9113): frames in and out, each stream an exchange of its own.
//!
//! One task owns the socket and the `h2` crate's connection, between which two buffers lie (`net/poll_io.rs`); each
//! stream is served by a task of its own, by the same walk as a request in HTTP/1.1. In a turn the frames that came
//! are read, the protocol goes as far as it can, and all that it wrote leaves in one send. The connection never
//! waits for a stream and no stream for another, and nothing is held beyond windows and buffers. Floods that the
//! crate does not see are counted on the way in (`http/h2/flood.rs`); their sender is told and closed.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::server::{Builder, Connection, Handshake, SendResponse};
use ::h2::{Reason, RecvStream};

use crate::base::buffer::Buf;
use crate::base::limits::{
    H2_CONNECTION_WINDOW_BYTES, H2_ERROR_RESETS_MAX, H2_GOODBYE, H2_SEND_BUFFER_BYTES,
    H2_SMALL_DATA_BYTES, H2_STREAM_WINDOW_BYTES, H2_STREAMS_MAX, H2_TURN_BYTES,
    H2_UNSEEN_RESETS_MAX,
};
use crate::base::time::Instant;
use crate::http::h2::PREFACE;
use crate::http::h2::flood::{Flood, Frames, Offence};
use crate::http::h2::{goaway, preface};
use crate::net::poll_io::{Pipes, PollIo};
use crate::runtime::deadline::{Elapsed, Slot};
use crate::runtime::{Runtime, Stream};
use crate::serve::connection::Downstream;
use crate::serve::h2_body::Piece;
use crate::serve::h2_turns::Turns;
use crate::serve::pace::Pace;
use crate::serve::writing::Writing;
use crate::serve::{Core, h1, h2_frames, h2_stream};

/// A listener that is gone takes nothing more.
const WITHOUT_LISTENER: Duration = Duration::from_secs(1);

/// Serves a connection to its end; `first` came already, and begins with the preface.
pub async fn serve<R: Runtime>(
    core: &Rc<Core<R>>,
    connection: &Rc<Downstream<R>>,
    first: Option<Buf>,
) {
    let slot = core.deadlines.slot();
    let _open = core.multiplexed.enter(slot.index());
    core.metrics.h2_connections.add(1);
    let (pipes, io) = Pipes::new(core.buffers.clone());
    let serving = Serving::new(core, connection, pipes);
    if let Some(first) = first {
        serving.take_in(first);
    }
    let mut driven = pin!(serving.drive(io));
    loop {
        serving.rest(&slot);
        let until = serving.until(core.runtime.now());
        match slot.within(until, driven.as_mut()).await {
            Ok(()) => break,
            Err(Elapsed) if core.stopping.get() => return,
            Err(Elapsed) => serving.look_around(core.runtime.now()),
        }
    }
    if serving.is_worth_a_farewell() {
        h1::linger(core, connection, &slot).await;
    }
}

/// What the task of a connection does next to its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// No more streams; those that are open go on (§6.8).
    Goodbye,
    /// All ends now, for this reason.
    End(Reason),
}

/// A connection that is served.
struct Serving<'a, R: Runtime> {
    core: &'a Rc<Core<R>>,
    connection: &'a Rc<Downstream<R>>,
    pipes: Rc<Pipes>,
    frames: RefCell<Frames>,
    streams: Rc<Streams>,
    order: Cell<Option<Order>>,
    /// Whether its end was ordered; the writer's own deadline is all that is left.
    ended: Cell<bool>,
    begun: Instant,
    established: Cell<bool>,
    goodbye: Cell<Option<Instant>>,
    writing: Cell<bool>,
    broken: Cell<bool>,
    /// Whose turn it is to send.
    turns: Rc<Turns>,
    /// What came in this turn. Unit: bytes.
    turn_bytes: Cell<usize>,
    limits: Limits,
}

/// What its listener allows.
#[derive(Clone, Copy)]
struct Limits {
    head_timeout: Duration,
    idle_timeout: Duration,
    body_timeout: Duration,
    header_list_bytes: u32,
}

/// The streams of a connection that are open.
pub struct Streams {
    open: Cell<u32>,
    done: Cell<u32>,
    idle_since: Cell<Instant>,
}

/// A stream, counted as long as it lasts.
pub struct InStream<R: Runtime> {
    core: Rc<Core<R>>,
    streams: Rc<Streams>,
}

impl<R: Runtime> InStream<R> {
    fn new(core: &Rc<Core<R>>, streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        core.metrics.h2_streams.add(1);
        Self { core: core.clone(), streams: streams.clone() }
    }

    /// It ended well.
    pub fn done(&self) {
        self.streams.done.set(self.streams.done.get() + 1);
    }
}

impl<R: Runtime> Drop for InStream<R> {
    fn drop(&mut self) {
        let open = self.streams.open.get() - 1;
        self.streams.open.set(open);
        if open == 0 {
            self.streams.idle_since.set(self.core.runtime.now());
        }
    }
}

/// The protocol, before and after its beginning.
enum Protocol {
    Handshake(Handshake<PollIo, Piece>),
    Open(Connection<PollIo, Piece>),
}

impl<'a, R: Runtime> Serving<'a, R> {
    fn new(core: &'a Rc<Core<R>>, connection: &'a Rc<Downstream<R>>, pipes: Rc<Pipes>) -> Self {
        let now = core.runtime.now();
        let installed = core.installed();
        let listener = connection.listener(&installed);
        let or = |timeout: Option<Duration>| timeout.unwrap_or(WITHOUT_LISTENER);
        let head = listener.map(|listener| listener.head_limits).unwrap_or_default();
        // A list counts 32 bytes for each field (§10.5.1); what is larger than a head may be is refused with an
        // answer, until it is larger than this.
        let header_list_bytes = head.head_bytes_max + 32 * head.fields_max;
        let limits = Limits {
            head_timeout: or(listener.map(|listener| listener.head_timeout)),
            idle_timeout: or(listener.map(|listener| listener.idle_timeout)),
            body_timeout: or(listener.map(|listener| listener.body_timeout)),
            header_list_bytes,
        };
        let idle_since = Cell::new(now);
        let streams = Rc::new(Streams { open: Cell::new(0), done: Cell::new(0), idle_since });
        Self {
            core,
            connection,
            pipes,
            frames: RefCell::new(Frames::new(now, PREFACE.len())),
            streams,
            order: Cell::new(None),
            ended: Cell::new(false),
            begun: now,
            established: Cell::new(false),
            goodbye: Cell::new(None),
            writing: Cell::new(false),
            broken: Cell::new(false),
            turns: Turns::new(),
            turn_bytes: Cell::new(0),
            limits,
        }
    }

    /// Until when nothing but frames is waited for. Rounds of a head's time, so that a header block that begins
    /// meanwhile is not overlooked.
    fn until(&self, now: Instant) -> Instant {
        if self.ended.get() {
            return now + self.limits.body_timeout;
        }
        let Limits { head_timeout, idle_timeout, .. } = self.limits;
        let open = self.streams.open.get() > 0;
        let mut until = now + head_timeout;
        if !self.established.get() {
            until = self.begun + head_timeout;
        }
        if let Some(since) = self.frames.borrow().block_since() {
            until = until.min(since + head_timeout);
        }
        match self.goodbye.get() {
            _ if open => {}
            Some(said) => until = until.min(said.max(self.streams.idle_since.get()) + H2_GOODBYE),
            None => until = until.min(self.streams.idle_since.get() + idle_timeout),
        }
        until
    }

    /// Stands among the idle connections that may be given up, while no stream is open.
    fn rest(&self, slot: &Slot) {
        if self.streams.open.get() == 0 && self.established.get() && self.order.get().is_none() {
            self.connection.rest(self.core, slot);
        }
    }

    /// A deadline has passed, or somebody wants attention.
    fn look_around(&self, now: Instant) {
        if self.ended.get() {
            return;
        }
        let Limits { head_timeout, idle_timeout, .. } = self.limits;
        let is_over = |since: Instant, span: Duration| now >= since + span;
        let idle = self.streams.open.get() == 0;
        let gone = || {
            let installed = self.core.installed();
            self.connection.listener(&installed).is_none()
        };
        let order = if !self.connection.wake(self.core)
            || (!self.established.get() && is_over(self.begun, head_timeout))
        {
            Order::End(Reason::NO_ERROR)
        } else if self.block_since().is_some_and(|since| is_over(since, head_timeout)) {
            self.core.metrics.h2_flood(Flood::SlowHead);
            Order::End(Reason::ENHANCE_YOUR_CALM)
        } else if let Some(said) = self.goodbye.get() {
            let since = said.max(self.streams.idle_since.get());
            if !idle || !is_over(since, H2_GOODBYE) {
                return;
            }
            Order::End(Reason::NO_ERROR)
        } else if self.core.draining.get() || gone() {
            self.goodbye.set(Some(now));
            Order::Goodbye
        } else if idle && is_over(self.streams.idle_since.get(), idle_timeout) {
            Order::End(Reason::NO_ERROR)
        } else {
            return;
        };
        self.give(order);
    }

    fn give(&self, order: Order) {
        self.ended.set(matches!(order, Order::End(_)));
        self.order.set(Some(order));
    }

    fn block_since(&self) -> Option<Instant> {
        self.frames.borrow().block_since()
    }

    /// Whether the client may still read what it was told last.
    fn is_worth_a_farewell(&self) -> bool {
        !self.broken.get()
    }

    /// Moves frames both ways until the connection is over.
    async fn drive(&self, io: PollIo) {
        let mut reader = pin!(self.read());
        let mut writer = pin!(self.write());
        let mut protocol = Some(Protocol::Handshake(self.builder().handshake(io)));
        let mut reading = true;
        poll_fn(|cx| {
            self.turn_bytes.set(0);
            loop {
                reading = reading && reader.as_mut().poll(cx).is_pending();
                if let Some(open) = &mut protocol
                    && self.advance(open, cx).is_ready()
                {
                    protocol = None;
                }
                let mut again = false;
                if reading && protocol.is_some() && self.pipes.is_hungry() {
                    reading = reader.as_mut().poll(cx).is_pending();
                    again = !reading || !self.pipes.is_hungry();
                }
                if writer.as_mut().poll(cx).is_ready() {
                    self.broken.set(true);
                    return Poll::Ready(());
                }
                self.turns.settle(self.pipes.is_full());
                if protocol.is_none() {
                    let left = self.writing.get() || self.pipes.has_written();
                    return if left { Poll::Pending } else { Poll::Ready(()) };
                }
                if !again && !self.pipes.may_go_on() {
                    return Poll::Pending;
                }
                if self.turn_bytes.get() >= H2_TURN_BYTES {
                    // Streams get to read what came, before more of it is taken.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(H2_STREAMS_MAX)
            .initial_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .max_header_list_size(self.limits.header_list_bytes)
            .max_send_buffer_size(H2_SEND_BUFFER_BYTES)
            .data_frame_budget(H2_SMALL_DATA_BYTES)
            .max_pending_accept_reset_streams(H2_UNSEEN_RESETS_MAX)
            .max_local_error_reset_streams(Some(H2_ERROR_RESETS_MAX))
            .enable_connect_protocol();
        builder
    }

    /// Lets the protocol go as far as it can; ready when it is over.
    fn advance(&self, protocol: &mut Protocol, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match protocol {
                Protocol::Handshake(handshake) => {
                    let connection = match Pin::new(handshake).poll(cx) {
                        Poll::Ready(Ok(connection)) => connection,
                        Poll::Pending if self.order.get().is_none() => return Poll::Pending,
                        _ => return Poll::Ready(()),
                    };
                    self.established.set(true);
                    self.streams.idle_since.set(self.core.runtime.now());
                    *protocol = Protocol::Open(connection);
                }
                Protocol::Open(connection) => {
                    match self.order.take() {
                        Some(Order::Goodbye) => connection.graceful_shutdown(),
                        Some(Order::End(reason)) => connection.abrupt_shutdown(reason),
                        None => {}
                    }
                    match ready!(connection.poll_accept(cx)) {
                        Some(Ok((request, respond))) => self.begin(request, respond),
                        Some(Err(error)) => {
                            self.failed(&error);
                            return Poll::Ready(());
                        }
                        None => return Poll::Ready(()),
                    }
                }
            }
        }
    }

    /// The protocol gave the connection up.
    fn failed(&self, error: &::h2::Error) {
        if !error.is_library() {
            return;
        }
        match error.reason() {
            Some(Reason::ENHANCE_YOUR_CALM) => self.core.metrics.h2_flood(Flood::Bounded),
            // The crate has one name for all that it cannot read (§4.3).
            Some(Reason::PROTOCOL_ERROR) if self.frames.borrow().is_undecodable() => {
                self.pipes
                    .amend(|written| goaway::put_code(written, Reason::COMPRESSION_ERROR.into()));
            }
            _ => {}
        }
    }

    /// A client opened a stream.
    fn begin(&self, request: ::http::Request<RecvStream>, respond: SendResponse<Piece>) {
        self.connection.wake(self.core);
        let stream = InStream::new(self.core, &self.streams);
        let connection = self.connection.clone();
        h2_stream::begin(self.core, connection, request, respond, stream, &self.turns);
    }

    /// Reads frames until no more come.
    async fn read(&self) {
        h2_frames::read(self.core, &self.connection.stream, &self.pipes, |buf| self.take_in(buf))
            .await;
    }

    /// Looks at frames that came and gives them to the protocol; `false` when they are a flood.
    fn take_in(&self, buf: Buf) -> bool {
        self.turn_bytes.set(self.turn_bytes.get() + buf.len());
        let frames = &mut *self.frames.borrow_mut();
        (0..self.streams.done.take()).for_each(|_| frames.stream_done());
        if let Err(offence) = frames.look(buf.data(), self.core.runtime.now()) {
            let reason = match offence {
                Offence::Malformed => Reason::PROTOCOL_ERROR,
                Offence::Closed => Reason::STREAM_CLOSED,
                Offence::Size => Reason::FRAME_SIZE_ERROR,
                Offence::Window => Reason::FLOW_CONTROL_ERROR,
                Offence::Flood(flood) => {
                    self.core.metrics.h2_flood(flood);
                    Reason::ENHANCE_YOUR_CALM
                }
            };
            self.give(Order::End(reason));
            if !self.established.get() {
                // Without the preface there is nobody who could be told.
                self.pipes.feed(buf);
            }
            return false;
        }
        self.turns.grow(frames.take_grown());
        frames.take_updates().for_each(|(stream, said)| self.turns.update(stream, said));
        self.pipes.feed(buf);
        true
    }

    /// Sends what the protocol writes, until the client takes no more.
    async fn write(&self) {
        let core: &Core<R> = self.core;
        let slot = core.deadlines.slot();
        let mut pace = Pace::new(0, self.limits.body_timeout);
        let (stream, pause_max) = (&self.connection.stream, self.limits.body_timeout);
        let mut is_first = true;
        loop {
            let taken = poll_fn(|_| self.pipes.take().map_or(Poll::Pending, Poll::Ready));
            let mut buf = taken.await;
            if std::mem::take(&mut is_first)
                && let Ok(mut more) = core.buffer()
                && preface::put_setting(&mut more, buf.data(), preface::NO_RFC7540_PRIORITIES)
            {
                buf = more;
            }
            self.turns.left(self.frames.borrow_mut().sent(buf.data()));
            self.writing.set(true);
            let writing = Writing { core, stream, slot: &slot, pause_max, known: Cell::default() };
            if pin!(writing.all(buf, &mut pace)).await.is_err() {
                return stream.reset_on_close();
            }
            self.writing.set(false);
        }
    }
}

/// The connections of a core that carry several exchanges, so that they can be told of a drain.
#[derive(Default)]
pub struct Multiplexed {
    slots: RefCell<std::collections::BTreeSet<u32>>,
}

/// One of them, as long as it is open.
pub struct Entered<'a> {
    of: &'a Multiplexed,
    slot: u32,
}

impl Multiplexed {
    fn enter(&self, slot: u32) -> Entered<'_> {
        self.slots.borrow_mut().insert(slot);
        Entered { of: self, slot }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Makes each of them look around: something has changed for it.
    pub fn nudge(&self, deadlines: &crate::runtime::deadline::Deadlines) {
        self.slots.borrow().iter().for_each(|slot| deadlines.elapse(*slot));
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.of.slots.borrow_mut().remove(&self.slot);
    }
}
