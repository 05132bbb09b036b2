//! One connection of HTTP/2 with many streams, by the crate `h2` (RFC 9113).
//!
//! `h2` wants a runtime; it gets the smallest one: all futures of a connection stand in one `FuturesUnordered`, which polls
//! only those that were woken, and the event loop turns it whenever the socket is ready or a request starts. Never a
//! thread, a timer or a lock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use twox_hash::XxHash3_64;

use crate::answer::Seen;
use crate::bounds::{ANSWER_MAX, HEAD_MAX};
use crate::h1::{Happened, UNIQUE};
use crate::plan::Request;
use crate::record::{Failure, Times};
use crate::wire::Wire;

/// Flow-control windows that never stand in the way, as h2load's: what is measured is the server's sending.
const WINDOW: u32 = (1 << 30) - 1;

/// The end of one of a connection's futures.
enum Ended {
    Opened(Result<(SendRequest<Bytes>, Box<H2>), String>),
    Connection(Option<String>),
    Stream(u64, Result<Seen, (Failure, String)>),
}

type H2 = h2::client::Connection<Io, Bytes>;
type Task = Pin<Box<dyn Future<Output = Ended>>>;

pub struct Connection {
    shared: Rc<Shared>,
    tasks: FuturesUnordered<Task>,
    sender: Option<SendRequest<Bytes>>,
    /// Started before the connection was open.
    waiting: Vec<(u64, usize, u64)>,
    in_flight: HashMap<u64, (usize, Times)>,
    next_id: u64,
    again: Arc<Again>,
    waker: Waker,
}

/// The socket, and who waits for it.
struct Shared {
    wire: RefCell<Wire>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

/// Says that the futures want another turn at once. An atomic only because wakers must be able to cross threads.
struct Again(AtomicBool);

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Connection {
    pub fn new(wire: Wire) -> Connection {
        let shared = Rc::new(Shared {
            wire: RefCell::new(wire),
            reader: RefCell::new(None),
            writer: RefCell::new(None),
        });
        let again = Arc::new(Again(AtomicBool::new(false)));
        let waker = Waker::from(again.clone());
        let tasks = FuturesUnordered::new();
        tasks.push(open(Io(shared.clone())));
        Connection {
            shared,
            tasks,
            sender: None,
            waiting: Vec::new(),
            in_flight: HashMap::new(),
            next_id: 0,
            again,
            waker,
        }
    }

    pub fn with_wire<T>(&self, look: impl FnOnce(&Wire) -> T) -> T {
        look(&self.shared.wire.borrow())
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The longest waiting stream's times.
    pub fn oldest(&self) -> Option<Times> {
        self.in_flight.values().map(|(_, times)| *times).min_by_key(|times| times.sent)
    }

    pub fn wants_write(&self) -> bool {
        self.shared.writer.borrow().is_some() || self.shared.wire.borrow().has_pending()
    }

    /// Begins a request. False when the connection is over.
    pub fn start(
        &mut self,
        which: usize,
        requests: &[Ready],
        number: u64,
        times: Times,
        sink: &mut Vec<Happened>,
    ) -> bool {
        let id = self.next_id;
        self.next_id += 1;
        self.in_flight.insert(id, (which, times));
        match &self.sender {
            Some(sender) => {
                self.tasks.push(stream(id, sender.clone(), requests[which].build(number)))
            }
            None => self.waiting.push((id, which, number)),
        }
        self.turn(requests, sink)
    }

    /// The socket is ready. False when the connection is over.
    pub fn ready(
        &mut self,
        readable: bool,
        writable: bool,
        requests: &[Ready],
        sink: &mut Vec<Happened>,
    ) -> bool {
        let wake = |waker: &RefCell<Option<Waker>>| {
            waker.borrow_mut().take().into_iter().for_each(Waker::wake)
        };
        if readable {
            wake(&self.shared.reader);
        }
        if writable {
            wake(&self.shared.writer);
        }
        self.turn(requests, sink)
    }

    /// Polls whatever was woken until nothing more happens.
    fn turn(&mut self, requests: &[Ready], sink: &mut Vec<Happened>) -> bool {
        let waker = self.waker.clone();
        loop {
            self.again.0.store(false, Ordering::Relaxed);
            match self.tasks.poll_next_unpin(&mut Context::from_waker(&waker)) {
                Poll::Ready(None) => return true,
                Poll::Ready(Some(Ended::Stream(id, result))) => self.stream_ended(id, result, sink),
                Poll::Ready(Some(Ended::Opened(Ok((sender, connection))))) => {
                    self.tasks.push(drive(connection));
                    for (id, which, number) in self.waiting.drain(..) {
                        self.tasks.push(stream(id, sender.clone(), requests[which].build(number)));
                    }
                    self.sender = Some(sender);
                }
                Poll::Ready(Some(Ended::Opened(Err(what)))) => {
                    self.fail(self.kind_of_end(), &what, sink);
                    return false;
                }
                Poll::Ready(Some(Ended::Connection(what))) => {
                    self.fail(
                        self.kind_of_end(),
                        what.as_deref().unwrap_or("closed by the other side"),
                        sink,
                    );
                    return false;
                }
                Poll::Pending if self.again.0.load(Ordering::Relaxed) => {}
                Poll::Pending => return true,
            }
        }
    }

    fn kind_of_end(&self) -> Failure {
        self.with_wire(|wire| match () {
            _ if !wire.is_established() => Failure::Connect,
            _ if wire.is_handshaking() => Failure::Handshake,
            _ => Failure::Closed,
        })
    }

    fn stream_ended(
        &mut self,
        id: u64,
        result: Result<Seen, (Failure, String)>,
        sink: &mut Vec<Happened>,
    ) {
        let Some((which, times)) = self.in_flight.remove(&id) else { return };
        sink.push(match result {
            Ok(seen) => Happened::Answered { which, times, seen },
            Err((kind, what)) => Happened::Failed { times: Some(times), kind, what },
        });
    }

    /// All streams in flight end with this.
    pub fn fail(&mut self, kind: Failure, what: &str, sink: &mut Vec<Happened>) {
        for (_, (_, times)) in self.in_flight.drain() {
            sink.push(Happened::Failed { times: Some(times), kind, what: what.to_string() });
        }
    }
}

/// A request of HTTP/2, made anew for each stream.
pub struct Ready {
    parts: http::request::Request<()>,
    unique: Vec<(http::HeaderName, String, String)>,
    body: Bytes,
}

impl Ready {
    pub fn new(request: &Request, scheme: &str, authority: &str) -> Result<Ready, String> {
        let uri = format!("{scheme}://{authority}{}", request.path);
        let mut parts = http::Request::builder()
            .method(request.method.as_str())
            .uri(uri)
            .version(http::Version::HTTP_2);
        let mut unique = Vec::new();
        for (name, value) in &request.fields {
            match value.split_once(UNIQUE) {
                None => parts = parts.header(name, value),
                Some((before, after)) => {
                    let name = http::HeaderName::try_from(name.as_str())
                        .map_err(|error| error.to_string())?;
                    unique.push((name, before.to_string(), after.to_string()));
                }
            }
        }
        if !request.body.is_empty() {
            parts = parts.header("content-length", request.body.len());
        }
        let parts = parts.body(()).map_err(|error| error.to_string())?;
        Ok(Ready { parts, unique, body: request.body.clone().into() })
    }

    fn build(&self, number: u64) -> (http::Request<()>, Bytes) {
        let mut request = self.parts.clone();
        for (name, before, after) in &self.unique {
            let value = format!("{before}{number:016}{after}");
            if let Ok(value) = http::HeaderValue::try_from(value) {
                request.headers_mut().insert(name, value);
            }
        }
        (request, self.body.clone())
    }
}

fn open(io: Io) -> Task {
    Box::pin(async move {
        let opened = Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(HEAD_MAX as u32)
            .enable_push(false)
            .handshake::<_, Bytes>(io)
            .await;
        Ended::Opened(match opened {
            Err(error) => Err(error.to_string()),
            Ok((sender, connection)) => Ok((sender, Box::new(connection))),
        })
    })
}

fn drive(connection: Box<H2>) -> Task {
    Box::pin(
        async move { Ended::Connection(connection.await.err().map(|error| error.to_string())) },
    )
}

async fn exchange(
    sender: SendRequest<Bytes>,
    request: http::Request<()>,
    body: Bytes,
) -> Result<Seen, (Failure, String)> {
    let fault = |error: h2::Error| {
        let kind =
            if error.is_io() || error.is_go_away() { Failure::Closed } else { Failure::Protocol };
        (kind, error.to_string())
    };
    let mut sender = sender.ready().await.map_err(fault)?;
    let (response, mut out) = sender.send_request(request, body.is_empty()).map_err(fault)?;
    if !body.is_empty() {
        // h2 keeps it and sends as the window allows.
        out.send_data(body, true).map_err(fault)?;
    }
    let response = response.await.map_err(fault)?;
    let status = response.status().as_u16();
    let announced =
        response.headers().get("content-length").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let mut body = response.into_body();
    let (mut length, mut pieces, mut hash) =
        (0u64, None::<Box<XxHash3_64>>, XxHash3_64::oneshot(b""));
    while let Some(data) = body.data().await {
        let data = data.map_err(fault)?;
        body.flow_control().release_capacity(data.len()).map_err(fault)?;
        // One piece is hashed as a whole; most answers are one.
        if length == 0 && announced == Some(data.len() as u64) {
            hash = XxHash3_64::oneshot(&data);
        } else if !data.is_empty() {
            use std::hash::Hasher as _;
            let hasher = pieces.get_or_insert_with(|| Box::new(XxHash3_64::new()));
            hasher.write(&data);
            hash = hasher.finish();
        }
        length += data.len() as u64;
        if length > ANSWER_MAX {
            return Err((Failure::Protocol, "a body without end".into()));
        }
    }
    Ok(Seen { status, length, hash })
}

fn stream(
    id: u64,
    sender: SendRequest<Bytes>,
    (request, body): (http::Request<()>, Bytes),
) -> Task {
    Box::pin(async move { Ended::Stream(id, exchange(sender, request, body).await) })
}

/// What `h2` reads and writes by: the socket's readiness comes from the event loop.
struct Io(Rc<Shared>);

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0.wire.borrow_mut().read(into.initialize_unfilled()) {
            Ok(count) => {
                into.advance(count);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *self.0.reader.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Io {
    fn wait_for_room<T>(&self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        *self.0.writer.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.0.wire.borrow_mut().write(bytes);
        match result {
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
            {
                self.wait_for_room(cx)
            }
            other => Poll::Ready(other),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.0.wire.borrow_mut().flush();
        match flushed {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => self.wait_for_room(cx),
            Err(error) if error.kind() == ErrorKind::NotConnected => self.wait_for_room(cx),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
