//! One try at one endpoint: choose it, take or open a connection, send, read the head of the answer.
//!
//! A connection is used again only if its last exchange ended exactly and nothing has arrived on it
//! since: an origin's unasked-for bytes must never become somebody's response.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::base::buffer::Buf;
use crate::base::ids::{EndpointId, UpstreamId};
use crate::base::limits::{
    BUFFER_BYTES, CONNECT_PROVES_AFTER, INTERIM_RESPONSES_MAX, SEAT_RETRY_AFTER_SECS,
};
use crate::base::name::Name;
use crate::base::seats::Seat;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::attempt::Attempt;
use crate::exchange::client::Client;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::marks::LimitMarks;
use crate::gateway::Throttle;
use crate::http::Method;
use crate::http::framing::BodyLength;
use crate::http::h1::chunked;
use crate::http::h1::parse::{self, HeadError, HeadLimits, Parsed};
use crate::http::head::ResponseHead;
use crate::net::proxy_protocol::Endpoints;
use crate::net::stream::Wire;
use crate::policy::concurrency;
use crate::runtime::deadline::Slot;
use crate::runtime::{Runtime, Stream};
use crate::serve::origin_stream::{self, Way};
use crate::serve::shard::{Connection, Origins};
use crate::serve::{Core, Installed, proxy_header, seating, secure, shortage};
use crate::upstream::Upstream;

/// A connection on loan for one exchange. Dropping it closes the connection.
pub struct Lease<R: Runtime> {
    connection: Option<Box<Connection<R>>>,
    origins: Rc<Origins<R>>,
    /// The endpoint at the other end.
    pub endpoint: EndpointId,
    /// Whether it served another exchange before.
    pub reused: bool,
    /// Its seat, where the upstream bounds who may be there at once.
    seat: Option<Seat>,
}

impl<R: Runtime> Lease<R> {
    /// Takes note of when the origin answered.
    pub fn answered(&self, record: &Attempt, now: Instant) {
        if let Some(seat) = &self.seat {
            let from = record.connected.unwrap_or(record.begun);
            seat.took(now.since(from), now);
        }
    }

    /// Whether its record says exactly since when it is there: nothing was waited for, or the clock was asked.
    pub fn is_timed(&self) -> bool {
        !self.reused || (self.seat.is_none() && self.origins.lines.is_empty())
    }

    /// The socket.
    pub fn stream(&self) -> &Wire<R::Stream> {
        let connection = self.connection.as_ref();
        &connection.expect("taken out by `give_back` only, which consumes the lease").stream
    }

    /// Makes `buf` ready to read an answer to a part into: a larger one where the last answer needed that.
    pub fn room_for_answer(&self, core: &Core<R>, buf: &mut Buf) {
        let is_bulky = self.connection.as_ref().is_some_and(|one| one.is_bulky.get());
        if let Some(bulk) = is_bulky.then(|| core.bulk.take()).flatten() {
            *buf = bulk;
        }
        ready_for_response(buf);
    }

    /// Takes note of how long an answer is.
    pub fn note_length(&self, length: BodyLength) {
        if let Some(connection) = &self.connection {
            let bulky = matches!(length, BodyLength::Exact(bytes) if bytes >= BUFFER_BYTES as u64);
            connection.is_bulky.set(bulky);
        }
    }

    /// Returns the connection to its pool: the exchange ended exactly and both sides want it kept.
    pub fn give_back(mut self, now: Instant) {
        // A stream is over when its exchange is.
        if let Some(connection) = self.connection.take().filter(|one| !one.stream.is_strand()) {
            let made_at = connection.made_at;
            let refused =
                self.origins.pools.borrow_mut().put(self.endpoint, connection, made_at, now);
            drop(refused);
        }
    }
}

impl<R: Runtime> Drop for Lease<R> {
    fn drop(&mut self) {
        self.origins.state.borrow_mut().end(self.endpoint);
    }
}

/// Which upstream is asked, until when, and what was tried before.
pub struct Asked {
    /// The upstream.
    pub upstream: UpstreamId,
    /// Part of a merge, if it is one.
    pub part: Option<u16>,
    /// Nothing waits longer than this.
    pub deadline: Instant,
    /// Endpoints tried already, as a bit set; a second try beside the first sees it, too.
    pub tried: Cell<u64>,
    /// A copy whose answer nobody sees; it takes nothing of what the upstream's limits keep for requests.
    pub is_copy: bool,
    /// Whether a connection that served before may be used.
    pub may_reuse: bool,
    /// What is to be done on the connection.
    pub wants: Wants,
    /// Whom the connection speaks for, where the upstream is told.
    pub client: Endpoints,
    /// When another attempt may be made, after a limit towards the upstream refused one.
    pub retry_after: Cell<Option<Duration>>,
    /// Why that limit refused, in one word.
    pub reason: Cell<&'static str>,
    /// Why the last handshake came to nothing, in one word; empty where none did.
    pub unproven: Cell<&'static str>,
}

/// What is to be done on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wants {
    /// To ask in HTTP, in whatever version.
    #[default]
    Http,
    /// To leave HTTP for a WebSocket.
    WebSocket,
    /// To leave it for something else, which only HTTP/1.1 knows how to do (RFC 9113 §8.6).
    Upgrade,
    /// To carry bytes.
    Raw,
}

impl Wants {
    /// What a request wants that asks for this upgrade.
    pub fn of(upgrade: Option<&Name>) -> Self {
        match upgrade.map(Name::as_str) {
            None => Self::Http,
            Some("websocket") => Self::WebSocket,
            Some(_) => Self::Upgrade,
        }
    }

    /// Whether it may be done on a connection that others use at the same time.
    pub fn may_share(self) -> bool {
        matches!(self, Self::Http | Self::WebSocket)
    }
}

impl Asked {
    /// A first try at `upstream`, for this client.
    pub fn of(upstream: UpstreamId, deadline: Instant, client: &Client) -> Self {
        let client = proxy_header::ends(client);
        let (tried, retry_after, reason) = (Cell::new(0), Cell::new(None), Cell::new(""));
        let (part, is_copy, may_reuse, wants) = (None, false, true, Wants::Http);
        Self {
            upstream,
            part,
            deadline,
            tried,
            is_copy,
            may_reuse,
            wants,
            client,
            retry_after,
            reason,
            unproven: Cell::new(""),
        }
    }

    /// Tells the client when to come back, if a limit towards the upstream refused the attempt.
    pub fn tell(&self, x: &mut Exchange) {
        let Some(wait) = self.retry_after.get() else { return };
        x.reason = self.reason.get();
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let mut digits = itoa::Buffer::new();
        x.reply_fields.add("retry-after", digits.format(seconds.max(1)).as_bytes());
    }
}

/// The record of an attempt that begins now.
pub fn begin(asked: &Asked, now: Instant) -> Attempt {
    Attempt {
        part: asked.part,
        upstream: asked.upstream,
        endpoint: None,
        address: None,
        reused: false,
        http2: false,
        status: None,
        fault: None,
        why: "",
        begun: now,
        connected: None,
        answered: None,
        done: None,
        bytes: 0,
        limits: LimitMarks::default(),
        hedge: None,
        cancelled: false,
    }
}

/// Room left in front of what is read from an origin, so that the head sent to the client can be put
/// before the body without moving it. A longer head is written by itself. Unit: bytes.
const HEAD_HEADROOM: usize = 1024;

/// Room left behind what is read, for the end of a chunk and of a body. Unit: bytes.
pub const FRAME_END_BYTES: usize = chunked::FRAME_TAILROOM + chunked::LAST_CHUNK.len();

/// Makes `buf` ready to read a response into.
pub fn ready_for_response(buf: &mut Buf) {
    buf.clear_with_headroom(HEAD_HEADROOM);
}

/// Chooses an endpoint and gets a connection to it.
///
/// # Errors
/// No endpoint, refused, unreachable or too late; nothing was sent.
pub async fn connect<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    asked: &Asked,
    slot: &Slot,
    record: &mut Attempt,
) -> Result<Lease<R>, Fault> {
    let throttle = installed.gateway.throttle(asked.upstream);
    let throttle = throttle.filter(|throttle| !asked.is_copy && throttle.is_some());
    let seat = match throttle {
        Some(throttle) => pass(core, throttle, asked, record).await?,
        None => None,
    };
    let upstream = installed.gateway.upstream(asked.upstream);
    let origins = installed.origins(asked.upstream);
    let chosen = core.shard(|shard| {
        origins.state.borrow_mut().choose(upstream, record.begun, &mut shard.rng, asked.tried.get())
    });
    let Some(endpoint) = chosen else {
        let kind = FaultKind::DestinationUnavailable;
        return Err(Fault { kind, side: Side::Upstream, again: Again::Never });
    };
    asked.tried.set(asked.tried.get() | 1 << (endpoint.0 % 64));
    record.endpoint = Some(endpoint);
    record.address = upstream.endpoints[endpoint.index()].address.tcp();
    origins.state.borrow_mut().begin(endpoint);
    let origins_kept = origins.clone();
    let mut lease =
        Lease { connection: None, origins: origins_kept, endpoint, reused: false, seat };
    let mut dialled = None;
    if !origins.lines.is_empty() {
        // Boxed: rare beside HTTP/1.1, and large.
        let way = origin_stream::way(core, upstream, origins, asked, slot, endpoint);
        let way = Box::pin(way).await;
        match way.inspect_err(|_| record.why = asked.unproven.take())? {
            Way::Stream { connection, reused } => {
                (lease.reused, record.reused, record.http2) = (reused, reused, true);
                record.connected = Some(if reused { record.begun } else { core.runtime.now() });
                lease.connection = Some(Box::new(connection));
                return Ok(lease);
            }
            Way::Alone(stream) => dialled = stream,
        }
    }
    // A connection that began with a PROXY header belongs to the client it named.
    let client = upstream.rules.proxy_header.map(|_| &asked.client);
    if asked.may_reuse && dialled.is_none() {
        lease.connection = kept(origins, endpoint, record.begun, client);
    }
    if lease.connection.is_some() {
        lease.reused = true;
        record.reused = true;
        record.connected = Some(record.begun);
        return Ok(lease);
    }
    let stream = match dialled {
        Some(stream) => stream,
        None => {
            let alone = alone(core, upstream, origins, asked, slot, endpoint).await;
            alone.inspect_err(|_| record.why = asked.unproven.take())?
        }
    };
    let now = core.runtime.now();
    record.connected = Some(now);
    let client = client.map(|client| Box::new(*client));
    lease.connection =
        Some(Box::new(Connection { stream, made_at: now, client, is_bulky: Cell::new(false) }));
    Ok(lease)
}

/// A connection for one exchange at a time, in HTTP/1.1.
async fn alone<R: Runtime>(
    core: &Core<R>,
    upstream: &Upstream,
    origins: &Origins<R>,
    asked: &Asked,
    slot: &Slot,
    endpoint: EndpointId,
) -> Result<Wire<R::Stream>, Fault> {
    let stream = dial(core, upstream, origins, asked, slot, endpoint).await?;
    if let Some(version) = upstream.rules.proxy_header {
        let until = asked.deadline.min(core.runtime.now() + upstream.rules.connect_timeout);
        proxy_header::send(core, &stream, version, &asked.client, slot, until).await?;
    }
    if origins.tls.is_some() {
        let until = asked.deadline.min(core.runtime.now() + upstream.rules.connect_timeout);
        let at = &upstream.endpoints[endpoint.index()];
        let offer = &[secure::HTTP1];
        let proven = Box::pin(secure::origin(core, origins, at, &stream, offer, slot, until)).await;
        proven.map_err(|unproven| unproven.note(core, upstream, at, asked))?;
    }
    Ok(stream)
}

/// Asks the limits towards the upstream: first for a seat, so that who gets none has spent nothing.
async fn pass<R: Runtime>(
    core: &Core<R>,
    throttle: &Throttle,
    asked: &Asked,
    record: &mut Attempt,
) -> Result<Option<Seat>, Fault> {
    let mut seat = None;
    if let Some(limit) = &throttle.concurrency {
        let place = limit.rules().place;
        match seating::for_attempt(core, limit, asked.deadline).await {
            Ok((taken, said)) => {
                record.limits.add(place, said);
                seat = Some(taken);
            }
            Err(said) => {
                record.limits.add(place, said);
                let wait = Duration::from_secs(SEAT_RETRY_AFTER_SECS);
                asked.retry_after.set(Some(wait));
                asked.reason.set(concurrency::word(said));
                return Err(concurrency::no_seat());
            }
        }
    }
    let now = core.runtime.now();
    let asked_all = core
        .shard(|shard| throttle.limits.on_attempt(&mut record.limits, now, &mut shard.slots.store));
    match asked_all {
        Ok(()) => Ok(seat),
        Err(wait) => {
            asked.retry_after.set(Some(wait));
            let kind = FaultKind::UpstreamLimited;
            Err(Fault { kind, side: Side::Gateway, again: Again::Never })
        }
    }
}

/// The newest idle connection that is still quiet and may serve this client.
fn kept<R: Runtime>(
    origins: &Origins<R>,
    endpoint: EndpointId,
    now: Instant,
    client: Option<&Endpoints>,
) -> Option<Box<Connection<R>>> {
    let mut pools = origins.pools.borrow_mut();
    while let Some(kept) =
        pools.take_if(endpoint, now, |connection| connection.client.as_deref() == client)
    {
        if kept.connection.stream.is_quiet() {
            return Some(kept.connection);
        }
    }
    None
}

/// After an idle connection was given up, the next try is made this much later: until it is closed.
const ROOM_WAIT: Duration = Duration::from_millis(2);
/// Tries for want of descriptors: what one connection frees another may take in between.
const ROOM_TRIES_MAX: u32 = 16;

/// Makes a connection to an endpoint.
///
/// # Errors
/// Refused, unreachable or too late; the endpoint is set aside where it is its own doing.
pub async fn dial<R: Runtime>(
    core: &Core<R>,
    upstream: &Upstream,
    origins: &Origins<R>,
    asked: &Asked,
    slot: &Slot,
    id: EndpointId,
) -> Result<Wire<R::Stream>, Fault> {
    let endpoint = &upstream.endpoints[id.index()];
    let begun = core.runtime.now();
    let until = asked.deadline.min(begun + upstream.rules.connect_timeout);
    let mut dialled = slot.within(until, core.runtime.connect(&endpoint.address)).await;
    let mut room = false;
    for _ in 0..ROOM_TRIES_MAX {
        let short = matches!(&dialled, Ok(Err(error)) if shortage::is_shortage(error));
        room = short && (shortage::make_room_for_origin(core) || room);
        if !room || core.runtime.now() >= until {
            break;
        }
        // What was given up is closed before the next turn of the event loop ends.
        Box::pin(core.runtime.sleep_until(core.runtime.now() + ROOM_WAIT)).await;
        dialled = slot.within(until, core.runtime.connect(&endpoint.address)).await;
    }
    let kind = match dialled {
        Ok(Ok(stream)) => {
            if origins.state.borrow_mut().connect_succeeded(id) {
                core.turns.back(upstream, endpoint);
            }
            return Ok(Wire::plain(stream));
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            FaultKind::ConnectionRefused
        }
        Ok(Err(error)) if is_ours(&error) => {
            core.shortage.note(core.runtime.now(), error);
            let kind = FaultKind::ConnectionLimitReached;
            return Err(Fault { kind, side: Side::Gateway, again: Again::Never });
        }
        Ok(Err(_)) => FaultKind::DestinationUnavailable,
        Err(_) => FaultKind::ConnectionTimeout,
    };
    let now = core.runtime.now();
    let own = until == asked.deadline;
    let too_soon = now.since(begun) < CONNECT_PROVES_AFTER;
    if !(own && too_soon && kind == FaultKind::ConnectionTimeout) {
        let pause = origins.state.borrow_mut().connect_failed(id, now);
        core.turns.aside(upstream, endpoint, kind.name(), pause);
    }
    // A deadline that was the exchange's own leaves no time for another try.
    let again = if own { Again::Never } else { Again::Always };
    Err(Fault { kind, side: Side::Upstream, again })
}

/// Whether a connection failed for want of descriptors, memory or ports here: no evidence against the endpoint.
fn is_ours(error: &io::Error) -> bool {
    shortage::is_shortage(error) || error.raw_os_error() == Some(libc::EADDRNOTAVAIL)
}

/// Sends what is in `buf` (a head, and perhaps a whole small body) and gives the empty buffer back.
///
/// # Errors
/// The origin closed or took nothing in time.
pub async fn send<R: Runtime>(
    lease: &Lease<R>,
    slot: &Slot,
    until: Instant,
    buf: Buf,
) -> Result<Buf, Fault> {
    match slot.within(until, pin!(lease.stream().write_all(buf))).await {
        // A strand may have taken the block with what was in it.
        Ok((Ok(()), mut buf)) => {
            let kind = FaultKind::ConnectionLimitReached;
            let short = Fault { kind, side: Side::Gateway, again: Again::Never };
            if buf.refill() { Ok(buf) } else { Err(short) }
        }
        Ok((Err(error), _)) => Err(fault_of(lease, &error)),
        Err(_) => Err(fault_of_silence()),
    }
}

/// Reads a response head into `head`; its bytes, and what of the body came with them, are in the buffer
/// returned. An interim head is returned like any other: the caller counts.
///
/// # Errors
/// The origin closed, was silent for too long, or answered nonsense.
pub async fn read_head<R: Runtime>(
    lease: &Lease<R>,
    slot: &Slot,
    until: &Cell<Instant>,
    method: Method,
    mut buf: Buf,
    head: &mut ResponseHead,
) -> Result<Buf, Fault> {
    let limits = HeadLimits::default();
    let mut seen = 0;
    loop {
        if buf.len() > seen {
            match parse::response(buf.data(), seen, &limits, method, head) {
                Ok(Parsed::Done) => return Ok(buf),
                Ok(Parsed::Partial) => seen = buf.len(),
                Err(error) => return Err(fault_of_head(&error)),
            }
        }
        // Room for the end of a frame is left behind the data.
        let room = buf.spare().saturating_sub(FRAME_END_BYTES);
        if room == 0 {
            return Err(fault_of_head(&HeadError::TooLarge));
        }
        match slot.within(until.get(), pin!(lease.stream().read(buf, room))).await {
            Ok((Err(error), _)) if seen == 0 => return Err(fault_of(lease, &error)),
            Ok((Ok(0), _)) if seen == 0 => return Err(fault_of_close(lease.reused)),
            Ok((Ok(0) | Err(_), _)) => {
                let kind = FaultKind::HttpResponseIncomplete;
                return Err(Fault { kind, side: Side::Upstream, again: Again::Never });
            }
            Ok((Ok(_), filled)) => buf = filled,
            Err(_) => return Err(fault_of_silence()),
        }
    }
}

/// Counts interim responses.
///
/// # Errors
/// The origin sent more than `INTERIM_RESPONSES_MAX`, or switched to a protocol that it was not asked for.
pub fn count_interim(head: &ResponseHead, count: &mut u32) -> Result<(), Fault> {
    *count += 1;
    if *count > INTERIM_RESPONSES_MAX || head.status.0 == 101 {
        let kind = FaultKind::HttpProtocolError;
        return Err(Fault { kind, side: Side::Upstream, again: Again::Never });
    }
    Ok(())
}

/// What an error before the first byte of a head means.
fn fault_of<R: Runtime>(lease: &Lease<R>, error: &io::Error) -> Fault {
    if !lease.stream().is_strand() {
        return fault_of_close(lease.reused);
    }
    let (kind, again) = match error.kind() {
        // The origin did nothing (RFC 9113 §8.7).
        io::ErrorKind::ConnectionRefused => (FaultKind::ConnectionTerminated, Again::Always),
        // The head cannot be told in HTTP/2.
        io::ErrorKind::InvalidInput => {
            let kind = FaultKind::HttpRequestError;
            return Fault { kind, side: Side::Downstream, again: Again::Never };
        }
        io::ErrorKind::InvalidData => (FaultKind::HttpProtocolError, Again::Never),
        io::ErrorKind::FileTooLarge => (FaultKind::HttpResponseHeaderSectionSize, Again::Never),
        io::ErrorKind::ConnectionReset => (FaultKind::HttpResponseIncomplete, Again::Never),
        io::ErrorKind::TimedOut => (FaultKind::ConnectionTerminated, Again::IfIdempotent),
        _ => return fault_of_close(lease.reused),
    };
    Fault { kind, side: Side::Upstream, again }
}

fn fault_of_close(reused: bool) -> Fault {
    // A kept connection that closes before any byte came back was closing while we sent.
    let again = if reused { Again::IfIdempotent } else { Again::Never };
    Fault { kind: FaultKind::ConnectionTerminated, side: Side::Upstream, again }
}

fn fault_of_silence() -> Fault {
    Fault { kind: FaultKind::HttpResponseTimeout, side: Side::Upstream, again: Again::Never }
}

fn fault_of_head(error: &HeadError) -> Fault {
    let kind = match error {
        HeadError::TooLarge | HeadError::TooManyFields => FaultKind::HttpResponseHeaderSectionSize,
        _ => FaultKind::HttpProtocolError,
    };
    Fault { kind, side: Side::Upstream, again: Again::Never }
}
