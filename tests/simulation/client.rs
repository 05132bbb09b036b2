//! Simulated clients: raw HTTP/1.1 connections that send what the plan says and read what comes back.
//!
//! A client never knows more than a real one: answers belong to requests by their order alone.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use ringway::base::address::Address;
use ringway::base::buffer::BufferPool;
use ringway::base::time::Instant;
use ringway::runtime::simulated::Simulated;
use ringway::runtime::{Runtime, Stream};
use ringway::serve::join::{First, first};

use crate::actions::{Connection, Ending, Request, Upload};
use crate::model::{Answer, Model, Over};
use crate::wire::{Body, Gone, Head, Length, Pieces, Wire};

/// How long a client waits for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long it waits for 100 (Continue) before it sends the body anyhow (RFC 9110 §10.1.1).
const CONTINUE_WITHIN: Duration = Duration::from_secs(1);

/// What both directions of a connection know.
struct Talk {
    answered: Cell<usize>,
    /// The request that was told to continue.
    go_on: Cell<Option<usize>>,
    sent_bytes: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

impl Talk {
    fn ring(&self) {
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    async fn until(&self, held: impl Fn(&Talk) -> bool) {
        poll_fn(|cx| {
            if held(self) {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Where the gateway listens.
#[derive(Clone)]
pub struct Addresses {
    pub first: Address,
    pub second: Address,
}

/// Has all its connections, one after the other.
pub async fn run(
    host: Simulated,
    addresses: Addresses,
    connections: Vec<Connection>,
    model: Rc<RefCell<Model>>,
    done: impl FnOnce(),
) {
    let pool = BufferPool::new(64);
    for connection in &connections {
        host.sleep_until(host.now() + connection.start).await;
        let address = if connection.second { &addresses.second } else { &addresses.first };
        let connecting = pin!(host.connect(address));
        let timeout = pin!(host.sleep_until(host.now() + CONNECT_WITHIN));
        match first(connecting, timeout).await {
            First::A(Ok(stream)) => {
                talk(&host, Wire::new(stream, &host, &pool), connection, &model).await;
            }
            First::A(Err(_)) | First::B(()) => model.borrow_mut().unconnected(connection.second),
        }
    }
    done();
}

/// How reading ended.
enum Read {
    /// Everything is answered, or as much as the client wanted.
    Enough,
    /// The gateway ended the connection.
    Gone(Gone),
}

async fn talk(host: &Simulated, wire: Wire, connection: &Connection, model: &Rc<RefCell<Model>>) {
    let talk = Talk {
        answered: Cell::new(0),
        go_on: Cell::new(None),
        sent_bytes: Cell::new(0),
        waiting: RefCell::new(None),
    };
    let writer = wire.writer();
    let stream = wire.stream.clone();
    let made_at = host.now();
    let mut reader =
        Reader { wire, talk: &talk, connection, model, host, quiet: made_at, last: false };
    let own = {
        let write = pin!(write(&writer, &talk, connection, model));
        let mut read = pin!(reader.run());
        match first(write, read.as_mut()).await {
            First::A(true) => None,
            First::A(false) => Some(read.await),
            First::B(read) => Some(read),
        }
    };
    if matches!(connection.ending, Ending::Reset(_)) && own.is_none() {
        stream.reset_on_close();
    }
    let gone = match own {
        Some(Read::Gone(gone)) => Some(gone),
        _ => None,
    };
    let missing = connection.requests.get(talk.answered.get());
    let over = Over {
        reset_by_rule: missing.is_some_and(|one| one.version10 && !one.script.is_correct()),
        gone,
        second: connection.second,
        answered: talk.answered.get(),
        requests: connection.requests.len(),
        last: reader.last,
        quiet_for: host.now().since(reader.quiet),
        half_closed: connection.ending == Ending::HalfClose,
        stalled: matches!(connection.ending, Ending::Stall(_)),
    };
    let name = connection.requests.first().map_or("", |request| &request.id);
    model.borrow_mut().over(name, &over);
}

/// Sends the requests; whether the client breaks off.
async fn write(
    wire: &Wire,
    talk: &Talk,
    connection: &Connection,
    model: &Rc<RefCell<Model>>,
) -> bool {
    for (index, request) in connection.requests.iter().enumerate() {
        if !connection.pipelined {
            talk.until(|talk| talk.answered.get() >= index).await;
        }
        if !request.pause.is_zero() {
            wire.pause(request.pause).await;
        }
        model.borrow_mut().begun(&request.id);
        for (number, bytes) in [&request.head, &request.body].into_iter().enumerate() {
            if number == 1 && matches!(request.upload, Upload::Expect(_)) {
                let told =
                    |talk: &Talk| talk.go_on.get() == Some(index) || talk.answered.get() > index;
                first(pin!(talk.until(told)), pin!(wire.pause(CONTINUE_WITHIN))).await;
            }
            match send(wire, talk, connection, request, bytes).await {
                Sent::All => {}
                Sent::Gone => return false,
                Sent::Cut => return end_early(connection),
            }
        }
    }
    if connection.ending == Ending::HalfClose {
        wire.stream.shutdown_write();
    }
    false
}

fn end_early(connection: &Connection) -> bool {
    matches!(connection.ending, Ending::Abort(_) | Ending::Reset(_))
}

enum Sent {
    All,
    Gone,
    /// The client's ending begins here.
    Cut,
}

async fn send(
    wire: &Wire,
    talk: &Talk,
    connection: &Connection,
    request: &Request,
    bytes: &[u8],
) -> Sent {
    let cut = match connection.ending {
        Ending::Abort(cut) | Ending::Reset(cut) | Ending::Stall(cut) => cut,
        _ => usize::MAX,
    };
    let left = cut.saturating_sub(talk.sent_bytes.get());
    let now = &bytes[..bytes.len().min(left)];
    talk.sent_bytes.set(talk.sent_bytes.get() + now.len());
    let pieces = if now.is_empty() { Pieces::WHOLE } else { request.pieces };
    if wire.send(now, pieces).await.is_err() {
        return Sent::Gone;
    }
    if left < bytes.len() || left == 0 { Sent::Cut } else { Sent::All }
}

struct Reader<'a> {
    wire: Wire,
    talk: &'a Talk,
    connection: &'a Connection,
    model: &'a Rc<RefCell<Model>>,
    host: &'a Simulated,
    /// When the last answer was whole.
    quiet: Instant,
    last: bool,
}

impl Reader<'_> {
    async fn run(&mut self) -> Read {
        for index in 0..self.connection.requests.len() {
            if self.connection.ending == Ending::CloseAfter(index) {
                return Read::Enough;
            }
            match self.answer(index).await {
                Ok(true) => {}
                Ok(false) => {
                    self.last = true;
                    return Read::Gone(Gone::End);
                }
                Err(gone) => return Read::Gone(gone),
            }
        }
        if !self.wire.input.is_empty() {
            let extra = String::from_utf8_lossy(&self.wire.input).into_owned();
            let id = &self.connection.requests[0].id;
            self.model.borrow_mut().fail(format!("{id}: bytes that answer nothing: {extra:?}"));
        }
        Read::Enough
    }

    /// Reads the answer to one request; whether another may follow.
    async fn answer(&mut self, index: usize) -> Result<bool, Gone> {
        let request = &self.connection.requests[index];
        let head = loop {
            let head = match self.wire.head().await {
                Ok(Ok(head)) => head,
                Ok(Err(what)) => {
                    self.model.borrow_mut().fail(format!("{}: {what}", request.id));
                    return Ok(false);
                }
                Err(Gone::End) if !self.wire.input.is_empty() => {
                    let part = String::from_utf8_lossy(&self.wire.input).into_owned();
                    self.truncated_head(&request.id, &part);
                    return Ok(false);
                }
                Err(gone) => return Err(gone),
            };
            match head.status() {
                Some(100) => {
                    self.talk.go_on.set(Some(index));
                    self.talk.ring();
                }
                Some(103) => {}
                _ => break head,
            }
        };
        let (body, whole) = self.body(request, &head).await;
        let closes = head.closes() || !whole || request.version10 && !keeps(&head);
        let answer = Answer { head, body, whole };
        self.model.borrow_mut().answered(&request.id, &answer);
        self.quiet = self.host.now();
        self.talk.answered.set(index + 1);
        self.talk.ring();
        Ok(!closes)
    }

    /// A head that ends in the middle: only a reset or a draining process does that.
    fn truncated_head(&mut self, id: &str, part: &str) {
        let mut model = self.model.borrow_mut();
        if !model.draining {
            model.fail(format!("{id}: half a head: {part:?}"));
        }
    }

    async fn body(&mut self, request: &Request, head: &Head) -> (Vec<u8>, bool) {
        let bodiless = request.method == "HEAD" || matches!(head.status(), Some(204 | 304));
        let length = match head.length(Length::UntilClose) {
            _ if bodiless => Length::Exact(0),
            Ok(length) => length,
            Err(what) => {
                self.model.borrow_mut().fail(format!("{}: {what}", request.id));
                return (Vec::new(), false);
            }
        };
        let mut body = Body::new(length);
        loop {
            match body.feed(&mut self.wire.input) {
                Ok(true) => return (body.bytes, true),
                Ok(false) => {}
                Err(what) => {
                    self.model.borrow_mut().fail(format!("{}: {what}", request.id));
                    return (body.bytes, false);
                }
            }
            match self.wire.more().await {
                Ok(()) => {}
                Err(Gone::End) => {
                    let whole = body.ends_with_connection();
                    return (body.bytes, whole);
                }
                Err(Gone::Reset) => return (body.bytes, false),
            }
        }
    }
}

fn keeps(head: &Head) -> bool {
    head.all("connection").iter().any(|value| value.eq_ignore_ascii_case("keep-alive"))
}
