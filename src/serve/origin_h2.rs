//! The task of a connection to an origin in HTTP/2 (RFC 9113): frames in and out, until it is over.
//!
//! It owns the socket and the `h2` crate's connection, between which two buffers lie (`net/poll_io.rs`), as a client's
//! does (`h2.rs`). In a turn the frames that came are read, the protocol goes as far as it can, and all that it wrote
//! leaves in one send. An origin is as hostile as a client: frames that cost much and mean little are counted on the
//! way in, windows bound what it may send before it is read, and who is silent is asked by PING and then given up.
//! A connection never waits for a stream, and no request is ever begun here.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::h2::client::{Builder, Connection};
use ::h2::{Ping, PingPong};

use crate::base::buffer::Buf;
use crate::base::limits::{
    H2_ERROR_RESETS_MAX, H2_GOODBYE, H2_ORIGIN_CONNECTION_WINDOW_BYTES, H2_ORIGIN_LOOK_EVERY,
    H2_ORIGIN_PING_ANSWER, H2_ORIGIN_PING_IDLE, H2_ORIGIN_PINGS, H2_ORIGIN_RESETS_KEPT_MAX,
    H2_ORIGIN_STREAM_WINDOW_BYTES, H2_SEND_BUFFER_BYTES,
};
use crate::base::time::Instant;
use crate::http::h1::parse::HeadLimits;
use crate::http::h2::flood::{Frames, Offence};
use crate::net::poll_io::{Pipes, PollIo};
use crate::net::stream::Wire;
use crate::runtime::deadline::Elapsed;
use crate::runtime::{Runtime, Stream};
use crate::serve::h2_body::Piece;
use crate::serve::origin_line::Line;
use crate::serve::origin_link::{Link, Over};
use crate::serve::pace::Pace;
use crate::serve::writing::Writing;
use crate::serve::{Core, h2_frames};

/// How long a connection may be unused, and the origin may take nothing.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Unused.
    pub idle: Duration,
    /// Taking nothing.
    pub pause: Duration,
}

/// Begins to speak HTTP/2 on a connection that was made; `None` when no buffer is left.
pub fn begin<R: Runtime>(
    core: Rc<Core<R>>,
    stream: Wire<R::Stream>,
    line: &Rc<Line>,
    patience: Patience,
) -> Option<Rc<Link>> {
    let (pipes, io) = Pipes::new(core.buffers.clone());
    let handshake = builder().handshake::<_, Piece>(io);
    // It writes to memory and waits for nothing.
    let begun = pin!(handshake).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok((send, connection))) = begun else { return None };
    let now = core.runtime.now();
    let link = Link::new(send, stream.is_secure(), line, core.metrics.clone(), now);
    let driving = Driving {
        stream,
        link: link.clone(),
        pipes,
        frames: RefCell::new(Frames::of_server(now)),
        pinged: Cell::new(None),
        pings: Cell::new(0),
        is_ping_due: Cell::new(false),
        leaving: Cell::new(None),
        why: Cell::new(Over::Closed),
        writing: Cell::new(false),
        patience,
        core: core.clone(),
    };
    core.runtime.spawn(Box::pin(driving.run(connection)));
    Some(link)
}

fn builder() -> Builder {
    let head = HeadLimits::default();
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        // Until the origin says what it allows nothing is sent.
        .initial_max_send_streams(0)
        .initial_window_size(H2_ORIGIN_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_ORIGIN_CONNECTION_WINDOW_BYTES)
        // A list counts 32 bytes for each field (§10.5.1).
        .max_header_list_size(head.head_bytes_max + 32 * head.fields_max)
        .max_send_buffer_size(H2_SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(H2_ORIGIN_RESETS_KEPT_MAX)
        .max_local_error_reset_streams(Some(H2_ERROR_RESETS_MAX));
    builder
}

/// A connection that is driven.
struct Driving<R: Runtime> {
    core: Rc<Core<R>>,
    stream: Wire<R::Stream>,
    link: Rc<Link>,
    pipes: Rc<Pipes>,
    frames: RefCell<Frames>,
    /// When the PING that is not answered was sent.
    pinged: Cell<Option<Instant>>,
    /// How many were sent since something else came.
    pings: Cell<usize>,
    is_ping_due: Cell<bool>,
    /// Since when it is told goodbye, for it was idle for too long.
    leaving: Cell<Option<Instant>>,
    /// Why it will be over.
    why: Cell<Over>,
    writing: Cell<bool>,
    patience: Patience,
}

impl<R: Runtime> Driving<R> {
    async fn run(self, connection: Connection<PollIo, Piece>) {
        let core = &self.core;
        let slot = core.deadlines.slot();
        core.metrics.origin_h2.open.raise();
        core.metrics.origin_h2.connections.add(1);
        {
            let mut driven = pin!(self.drive(connection));
            loop {
                let now = core.runtime.now();
                let until = self.until().min(now + H2_ORIGIN_LOOK_EVERY);
                match slot.within(until, driven.as_mut()).await {
                    Ok(()) => break,
                    Err(Elapsed) if core.stopping.get() => break,
                    Err(Elapsed) if self.look_around(core.runtime.now()) => {}
                    Err(Elapsed) => break,
                }
            }
            // Who has a stream is told why before the protocol tells him that it is over.
            self.link.end(self.why.get());
        }
        core.metrics.origin_h2.open.lower();
    }

    /// Until when nothing but frames is waited for, unless a stream begins meanwhile.
    fn until(&self) -> Instant {
        let idle_until = match self.leaving.get() {
            _ if self.link.taken() > 0 => Instant::NEVER,
            Some(since) => since + H2_GOODBYE,
            None => self.link.idle_since() + self.patience.idle,
        };
        let until = idle_until.min(self.link.ending_until());
        match self.pinged.get() {
            Some(since) => until.min(since + H2_ORIGIN_PING_ANSWER),
            None => until.min(self.ping_at()),
        }
    }

    /// When the origin is asked whether it is there. Servers of gRPC close who asks often while nothing is said, so
    /// that each PING in a row comes later than the last.
    fn ping_at(&self) -> Instant {
        let asked = self.pings.get();
        match self.link.taken() {
            0 if asked > 0 => Instant::NEVER,
            0 => self.link.silent_since() + H2_ORIGIN_PING_IDLE,
            _ => {
                let last = H2_ORIGIN_PINGS.len() - 1;
                self.link.silent_since() + H2_ORIGIN_PINGS[asked.min(last)]
            }
        }
    }

    /// A deadline has passed; `false` when the connection is given up.
    fn look_around(&self, now: Instant) -> bool {
        let link = &self.link;
        let idle = link.taken() == 0;
        if self.leaving.get().is_some_and(|since| idle && since + H2_GOODBYE <= now) {
            return false;
        }
        if idle && self.leaving.get().is_none() && link.idle_since() + self.patience.idle <= now {
            // Without a stream and without hope for one the protocol says goodbye.
            link.retire();
            self.leaving.set(Some(now));
            return true;
        }
        match self.pinged.get() {
            Some(since) if since + H2_ORIGIN_PING_ANSWER <= now => {
                self.core.metrics.origin_h2.silent.add(1);
                self.why.set(Over::Silent);
                self.stream.reset_on_close();
                return false;
            }
            None if self.ping_at() <= now => {
                self.is_ping_due.set(true);
                self.pinged.set(Some(now));
                self.pings.set(self.pings.get() + 1);
            }
            _ => {}
        }
        true
    }

    /// Moves frames both ways until the connection is over.
    async fn drive(&self, connection: Connection<PollIo, Piece>) {
        let mut reader = pin!(self.read());
        let mut writer = pin!(self.write());
        let mut connection = connection;
        let mut pings = connection.ping_pong();
        let mut open = Some(connection);
        let mut reading = true;
        poll_fn(|cx| {
            loop {
                reading = reading && reader.as_mut().poll(cx).is_pending();
                self.ping(pings.as_mut(), cx);
                if let Some(connection) = &mut open
                    && self.advance(connection, cx).is_ready()
                {
                    open = None;
                }
                let mut again = false;
                if reading && open.is_some() && self.pipes.is_hungry() {
                    reading = reader.as_mut().poll(cx).is_pending();
                    again = !reading || !self.pipes.is_hungry();
                }
                if writer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if open.is_none() {
                    let left = self.writing.get() || self.pipes.has_written();
                    return if left { Poll::Pending } else { Poll::Ready(()) };
                }
                if !again && !self.pipes.may_go_on() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    /// Lets the protocol go as far as it can; ready when it is over.
    fn advance(
        &self,
        connection: &mut Connection<PollIo, Piece>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let polled = Pin::new(connection).poll(cx);
        if let Poll::Ready(Err(error)) = &polled
            && error.is_library()
            && self.why.get() == Over::Closed
        {
            self.why.set(Over::Malformed);
        }
        self.link.moved();
        self.link.poll_endings(cx, self.core.runtime.now());
        polled.map(|_| ())
    }

    /// Asks whether the origin is there, and hears that it is.
    fn ping(&self, pings: Option<&mut PingPong>, cx: &mut Context<'_>) {
        let Some(pings) = pings.filter(|_| self.pinged.get().is_some()) else { return };
        if self.is_ping_due.replace(false) && pings.send_ping(Ping::opaque()).is_err() {
            return;
        }
        if pings.poll_pong(cx).is_ready() {
            self.pinged.set(None);
        }
    }

    /// Reads frames until no more come.
    async fn read(&self) {
        h2_frames::read(&self.core, &self.stream, &self.pipes, |buf| self.take_in(buf)).await;
    }

    /// Looks at frames that came and gives them to the protocol; `false` when they are a flood.
    fn take_in(&self, buf: Buf) -> bool {
        let now = self.core.runtime.now();
        self.link.hear(now);
        if self.pinged.get().is_none() {
            self.pings.set(0);
        }
        match self.frames.borrow_mut().look(buf.data(), now) {
            Ok(()) => {
                self.pipes.feed(buf);
                true
            }
            Err(Offence::Flood(flood)) => {
                self.core.metrics.origin_h2.flood(flood);
                self.why.set(Over::Flood);
                false
            }
            Err(_) => {
                self.why.set(Over::Malformed);
                false
            }
        }
    }

    /// Sends what the protocol writes, until the origin takes no more.
    async fn write(&self) {
        let core: &Core<R> = &self.core;
        let slot = core.deadlines.slot();
        let mut pace = Pace::new(0, self.patience.pause);
        let writing = Writing {
            core,
            stream: &self.stream,
            slot: &slot,
            pause_max: self.patience.pause,
            known: Cell::default(),
        };
        loop {
            let buf = poll_fn(|_| self.pipes.take().map_or(Poll::Pending, Poll::Ready)).await;
            self.frames.borrow_mut().sent(buf.data());
            self.writing.set(true);
            if pin!(writing.all(buf, &mut pace)).await.is_err() {
                return self.stream.reset_on_close();
            }
            self.writing.set(false);
        }
    }
}
