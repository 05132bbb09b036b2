//! One request to one upstream: attempts and retries, and the response on its way back.
//!
//! This is the one loop that goes back, and it never does once a byte of the response has left for the
//! client.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::time::Duration;

use crate::base::buffer::Buf;
use crate::base::name::Name;
use crate::base::time::Instant;
use crate::exchange::attempt::Attempt;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::{Exchange, Tunnel};
use crate::gateway::route::{Forward, Route};
use crate::http::forward::{self as heads, ResponseForward};
use crate::http::framing::BodyLength;
use crate::http::h1::chunked;
use crate::http::head::Response;
use crate::http::names::FieldName;
use crate::http::{Status, rewrite, upgrade};
use crate::runtime::Runtime;
use crate::runtime::deadline::Slot;
use crate::serve::attempt::{self, Asked, Lease, Wants};
use crate::serve::body::{BodyReader, BodyRules};
use crate::serve::fill::Fill;
use crate::serve::gather::{self, Gathered};
use crate::serve::outgoing::Outgoing;
use crate::serve::request_head;
use crate::serve::watch::Watch;
use crate::serve::work::ResponseScratch;
use crate::serve::{
    Core, Installed, answering, compressing, duplex, forward_hedge, grpc, grpc_web,
};
use crate::upstream::Upstream;
use crate::upstream::hedge::{self, Hedging};
use crate::upstream::retry;

/// What all steps of one forwarded exchange share.
pub struct Passage<'a, R: Runtime> {
    /// The core.
    pub core: &'a Core<R>,
    /// The version of the gateway for this exchange.
    pub installed: &'a Installed<R>,
    /// The route.
    pub route: &'a Route,
    /// Where the route leads.
    pub to: &'a Forward,
    /// The protocol that the client asks for and the route allows.
    pub upgrade: Option<&'a Name>,
    /// Deadlines of the strand that carries the request.
    pub up: &'a Slot,
    /// Deadlines of the strand that carries the response.
    pub down: &'a Slot,
    /// Whether the client is still there.
    pub watch: &'a Watch<'a, R>,
    /// What the answer means for the store, where the route has a cache.
    pub fill: Option<&'a Fill<'a, R>>,
}

impl<R: Runtime> Passage<'_, R> {
    /// The upstream asked.
    pub fn upstream(&self) -> &Upstream {
        self.installed.gateway.upstream(self.to.upstream)
    }

    /// How long the origin may pause.
    pub fn idle_timeout(&self) -> Duration {
        self.route.idle_timeout.unwrap_or(self.upstream().rules.idle_timeout)
    }

    /// What is known of this route's calls, if this one may be sent twice: safe, without a body, and HTTP all the
    /// way.
    fn hedging(&self, x: &Exchange) -> Option<&RefCell<Hedging>> {
        self.route.hedge_percent?;
        // One fetch for all who ask is worth more than two for one of them.
        let cached = self.fill.is_some();
        let alone = x.head.body == BodyLength::None && self.upgrade.is_none() && !cached;
        let may = alone && hedge::is_safe(x.head.method);
        x.route.filter(|_| may).and_then(|route| self.installed.hedging(route, 0))
    }

    /// When an attempt begins: where nothing was waited for since the target was found, the first began then.
    fn begun(&self, x: &Exchange, attempts: u32) -> Instant {
        let direct = attempts == 1 && x.head.body == BodyLength::None && self.route.cache.is_none();
        x.timeline.target.filter(|_| direct).unwrap_or_else(|| self.core.runtime.now())
    }

    /// The trailers of the request as they are sent on.
    pub fn trailers<'b>(&self, incoming: &'b BodyReader<'_, R>) -> Cow<'b, [u8]> {
        match &self.route.request_edits {
            Some(edits) => rewrite::trailers(incoming.trailers(), |name| edits.drops(name)),
            None => Cow::Borrowed(incoming.trailers()),
        }
    }

    /// Further attempts after the first.
    pub fn retries(&self) -> u32 {
        self.route.retries.unwrap_or(self.upstream().rules.retries)
    }
}

/// Sends the request to its upstream and the response to the client. Returns the connection if the origin
/// switched to another protocol on it, and the client was told.
///
/// # Errors
/// What went wrong; when `outgoing.begun`, no answer can be given any more.
pub async fn run<R: Runtime>(
    passage: &Passage<'_, R>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Option<Lease<R>>, Fault> {
    let Passage { core, installed, to, .. } = *passage;
    if let Some(known) = passage.hedging(x) {
        return Box::pin(forward_hedge::run(passage, x, known, outgoing)).await.map(|()| None);
    }
    let origins = installed.origins(to.upstream);
    origins.state.borrow_mut().request_begun();
    let mut body = gather::run(passage, x, incoming, outgoing).await?;
    // A body that is not whole yet will be streamed, and what was streamed cannot be sent again.
    let whole = incoming.is_done();
    let ended = whole && body.more.is_empty();
    if let Some(piece) = body.first.as_mut().filter(|_| x.head.body == BodyLength::Chunked) {
        let fits = chunked::frame(piece)
            && (!ended || chunked::finish(piece, &passage.trailers(incoming)));
        if !fits {
            return Err(Fault {
                kind: FaultKind::HeadTooLarge,
                side: Side::Downstream,
                again: Again::Never,
            });
        }
    }
    if body.first.is_none() && x.head.body == BodyLength::Chunked && ended {
        // An empty body whose end came with the head: the origin still waits for that end.
        let mut end = core.buffer()?;
        let fits = chunked::finish(&mut end, &passage.trailers(incoming));
        debug_assert!(fits, "trailers are bounded below a buffer");
        body.first = Some(end);
    }
    let mut asked = Asked::of(to.upstream, x.deadline, &x.client);
    asked.wants = Wants::of(passage.upgrade);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut record = attempt::begin(&asked, passage.begun(x, attempts));
        let tried =
            pin!(once(passage, x, scratch, &body, &mut asked, &mut record, incoming, outgoing))
                .await;
        record.fault = tried.as_ref().err().map(|fault| fault.kind);
        record.done.get_or_insert_with(|| core.runtime.now());
        let unbegun = |fault: &Fault| fault.side == Side::Downstream && record.endpoint.is_none();
        if !tried.as_ref().is_err_and(unbegun) {
            x.record(record);
        }
        let fault = match tried {
            Ok(switched) => return Ok(switched),
            Err(fault) => fault,
        };
        let repeatable = whole || fault.again == Again::Always;
        let again = repeatable
            && !outgoing.begun
            && attempts <= passage.retries()
            && retry::may_retry(&fault, x.head.method)
            && origins.state.borrow_mut().retry_budget.take();
        if !again {
            asked.tell(x);
            return Err(fault);
        }
        // Where one kept connection closed under us its siblings may have, too: the next try dials.
        asked.may_reuse = fault.again == Again::Always;
    }
}

/// One attempt, from choosing an endpoint to the last byte of the response.
#[expect(clippy::too_many_arguments, reason = "both directions of an exchange and their records")]
async fn once<R: Runtime>(
    passage: &Passage<'_, R>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    body: &Gathered,
    asked: &mut Asked,
    record: &mut Attempt,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Option<Lease<R>>, Fault> {
    let Passage { core, installed, up, .. } = *passage;
    let Passage { route, to, upgrade, .. } = *passage;
    let edits = route.request_edits.as_deref();
    let conditions = passage.fill.map(|fill| fill.conditions(x.head.method)).unwrap_or_default();
    let mut head = core.buffer()?;
    // First: a request that cannot be sent is its client's mistake, and no attempt at an origin.
    request_head::write(core, x, to, edits, upgrade, &conditions, &mut head)
        .map_err(|unsent| unsent.blame(x))?;
    let lease = pin!(attempt::connect(core, installed, asked, up, record)).await?;
    let sent_by = x.deadline.min(record.begun + passage.idle_timeout());
    let piece = body.first.as_ref().map_or(&[][..], Buf::data);
    if !head.put(piece) {
        head = pin!(attempt::send(&lease, up, sent_by, head)).await?;
        let fits = head.put(piece);
        debug_assert!(fits, "buffers are of one size");
    }
    let mut buf = pin!(attempt::send(&lease, up, sent_by, head)).await?;
    attempt::ready_for_response(&mut buf);
    let relayed = if incoming.is_done() && body.more.is_empty() {
        // A head alone is sent as soon as there is a connection.
        let bare = x.head.body == BodyLength::None && lease.is_timed();
        let bare = record.connected.filter(|_| bare);
        let now = bare.unwrap_or_else(|| core.runtime.now());
        passage.watch.known.set(Some(now));
        let until = Cell::new(x.deadline.min(now + passage.upstream().rules.first_byte_timeout));
        let leg = Leg { passage, lease: &lease, until: &until, uploading: &Cell::new(false) };
        pin!(download(&leg, x, scratch, record, buf, outgoing)).await?
    } else {
        let (more, before) = (&body.more, incoming.handed_bytes());
        let relayed =
            pin!(duplex::run(passage, x, scratch, &lease, record, buf, more, incoming, outgoing))
                .await;
        // What was taken from the client and not kept cannot be sent again.
        let moved = incoming.handed_bytes() > before;
        relayed
            .map_err(|fault| if moved { Fault { again: Again::Never, ..fault } } else { fault })?
    };
    let now = core.runtime.now();
    record.done = Some(now);
    if relayed != Relayed::Switched {
        x.timeline.done = Some(now);
    }
    match relayed {
        Relayed::Switched => return Ok(Some(lease)),
        Relayed::Reusable => lease.give_back(now),
        Relayed::Spent => drop(lease),
    }
    Ok(None)
}

/// What becomes of a connection to an origin after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// It may carry another request.
    Reusable,
    /// It is closed.
    Spent,
    /// It speaks another protocol now.
    Switched,
}

/// What `Leg::until` is once the head is here.
pub const ANSWERED: Instant = Instant::ORIGIN;

/// One leg of a passage: a connection, and how long its answer may take.
pub struct Leg<'a, R: Runtime> {
    /// The passage.
    pub passage: &'a Passage<'a, R>,
    /// The connection.
    pub lease: &'a Lease<R>,
    /// Until when the head of the answer must be here; moved when an upload ends.
    pub until: &'a Cell<Instant>,
    /// Whether the request's body is still on its way.
    pub uploading: &'a Cell<bool>,
}

impl<R: Runtime> Leg<'_, R> {
    /// Whether the origin switches to the protocol that it was asked for. Before the request is whole it may
    /// not: what is left of it would be bytes of the new protocol.
    fn is_granted(&self, response: Response<'_>) -> bool {
        let grants = |protocol: &Name| upgrade::granted(response, protocol);
        response.head.status == upgrade::SWITCHING
            && !self.uploading.get()
            && self.passage.upgrade.is_some_and(grants)
    }
}

/// Reads the response and sends it to the client; says what becomes of the connection.
///
/// # Errors
/// As `run`.
pub async fn download<R: Runtime>(
    leg: &Leg<'_, R>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    record: &mut Attempt,
    buf: Buf,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Relayed, Fault> {
    let buf = pin!(read_final_head(leg, x, scratch, buf, outgoing)).await?;
    leg.until.set(ANSWERED);
    let now = leg.passage.core.runtime.now();
    record.answered = Some(now);
    leg.lease.answered(record, now);
    record.status = Some(scratch.head.status);
    record.bytes = u64::from(scratch.head.bytes);
    x.timeline.connected = record.connected;
    x.timeline.answered = Some(now);
    if scratch.head.status == upgrade::SWITCHING {
        return pin!(switch(leg, x, scratch, record, buf, outgoing)).await;
    }
    if let Some(fill) = leg.passage.fill
        && !fill.takes_head(x, Response { head: &scratch.head, raw: buf.data() })
    {
        let ends_here = scratch.head.body == BodyLength::None && buf.len() == record.bytes as usize;
        let reusable = scratch.head.keep_alive && ends_here && !leg.uploading.get();
        return Ok(if reusable { Relayed::Reusable } else { Relayed::Spent });
    }
    pin!(relay(leg, x, scratch, record, buf, outgoing)).await
}

/// Tells the client that HTTP ends here; what the origin sent behind its head goes along.
async fn switch<R: Runtime>(
    leg: &Leg<'_, R>,
    x: &mut Exchange,
    scratch: &ResponseScratch,
    record: &mut Attempt,
    mut buf: Buf,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Relayed, Fault> {
    let protocol = leg.passage.upgrade;
    let how = ResponseForward {
        version: outgoing.version,
        added: x.reply_fields.as_bytes(),
        upgrade: protocol.map(Name::as_str),
        drop: &[FieldName::XRequestId],
        ..ResponseForward::default()
    };
    let mut out = leg.passage.core.buffer()?;
    let response = Response { head: &scratch.head, raw: buf.data() };
    heads::response_head(&mut out, response, &how).map_err(|_| head_too_large())?;
    x.status = Some(scratch.head.status);
    // Until both are told, only the client can end it.
    x.tunnel = Some(Tunnel { protocol: protocol.cloned(), closed_by: Side::Downstream });
    buf.consume(scratch.head.bytes as usize);
    record.bytes += buf.len() as u64;
    outgoing.switch(out, Some(buf)).await?;
    Ok(Relayed::Switched)
}

/// Reads heads until the final one, or the one that grants the upgrade asked for; interim ones are passed on
/// as they come (RFC 9110 §15.2).
async fn read_final_head<R: Runtime>(
    leg: &Leg<'_, R>,
    x: &Exchange,
    scratch: &mut ResponseScratch,
    mut buf: Buf,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Buf, Fault> {
    let core = leg.passage.core;
    let mut interims = 0;
    loop {
        let down = leg.passage.down;
        let method = x.head.method;
        let (watch, head) = (leg.passage.watch, &mut scratch.head);
        buf = {
            let read = pin!(attempt::read_head(leg.lease, down, leg.until, method, buf, head));
            watch.over(read).await?.map_err(|fault| behind_interim(fault, interims))?
        };
        let head = &scratch.head;
        if !head.status.is_interim() || leg.is_granted(Response { head, raw: buf.data() }) {
            return Ok(buf);
        }
        attempt::count_interim(head, &mut interims)?;
        // 100 answers an Expect that this gateway has answered already.
        if head.status != Status(100) {
            let mut out = core.buffer()?;
            let how = ResponseForward { version: outgoing.version, ..ResponseForward::default() };
            let response = Response { head, raw: buf.data() };
            heads::response_head(&mut out, response, &how).map_err(|_| head_too_large())?;
            outgoing.interim(out).await?;
        }
        buf.consume(head.bytes as usize);
    }
}

/// Sends the head and pumps the body.
pub(super) async fn relay<R: Runtime>(
    leg: &Leg<'_, R>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    record: &mut Attempt,
    mut buf: Buf,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Relayed, Fault> {
    let core = leg.passage.core;
    let head = &scratch.head;
    let answered = x.timeline.answered.unwrap_or_else(|| core.runtime.now());
    if leg.uploading.get() {
        // Nobody knows whether the rest of the request will be read: the client is told to start over.
        outgoing.keep_alive = false;
    }
    let response = Response { head, raw: buf.data() };
    let response_status = if x.grpc.is_any() { grpc::status_in(response) } else { None };
    let fields = x.reply_fields.as_bytes().len();
    let translated = grpc_web::choose(x, response, outgoing);
    let length = translated.unwrap_or_else(|| compressing::choose(core, x, response, outgoing));
    let framing = outgoing.frame(head.status, length);
    let mut out = core.buffer()?;
    if !head.fields.iter().any(|field| field.id == FieldName::Date) {
        // Who forwards a response without Date adds one (RFC 9110 §6.6.1).
        let now = x.began.after(answered.since(x.timeline.begun));
        let now = core.wall_clock.date(now.as_secs());
        x.reply_fields.add(FieldName::Date.as_str(), &now);
    }
    let how = ResponseForward {
        version: outgoing.version,
        keep_alive: outgoing.keep_alive,
        body: framing,
        // Who wants another version of the protocol says which (RFC 9110 §15.5.22, RFC 6455 §4.4).
        upgrade: leg.passage.upgrade.map(Name::as_str).filter(|_| head.status == Status(426)),
        added: x.reply_fields.as_bytes(),
        drop: if translated.is_some() { grpc_web::REPLACED } else { &[FieldName::XRequestId] },
        ..ResponseForward::default()
    };
    let response = Response { head, raw: buf.data() };
    heads::response_head(&mut out, response, &how).map_err(|_| head_too_large())?;
    let out = answering::finish_head(core, outgoing, x, out)?;
    x.status = Some(head.status);
    buf.consume(head.bytes as usize);
    let reusable = head.keep_alive && head.body != BodyLength::UntilClose;
    let rules = BodyRules {
        side: Side::Upstream,
        pause_max: leg.passage.idle_timeout(),
        bytes_max: u64::MAX,
    };
    let stream = leg.lease.stream();
    let down = leg.passage.down;
    let length = head.body;
    let mut body =
        BodyReader::new(core, stream, down, &mut scratch.chunks, length, Some(buf), rules);
    body.silence = x.grpc.silence.clone();
    outgoing.known = Some(answered);
    let pumped = pin!(pump(leg.passage, &mut body, outgoing, out, x.grpc.deadline)).await;
    if x.grpc.is_any() {
        grpc::note_status(x, response_status, body.trailers());
    }
    record.bytes += body.wire_bytes();
    if pumped.is_err() {
        x.reason = body.broken();
    }
    if pumped.is_err() && !outgoing.begun {
        // The error that is sent instead has a Date of its own.
        x.reply_fields.cut(fields);
    }
    pumped?;
    let clean = reusable && body.ended_cleanly() && !leg.uploading.get();
    Ok(if clean { Relayed::Reusable } else { Relayed::Spent })
}

/// Moves a body from an origin to the client, the head in front.
async fn pump<R: Runtime>(
    passage: &Passage<'_, R>,
    body: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
    head: Buf,
    deadline: Instant,
) -> Result<(), Fault> {
    let Passage { watch, fill, .. } = *passage;
    if outgoing.piece_bytes().is_some() {
        let bytes = head.len() + body.arrived_bytes();
        Box::pin(wait_for_turn(passage, outgoing, bytes)).await?;
    }
    let first = body.next_arrived()?;
    note(fill, first.as_ref(), body);
    // The end goes out with the last piece, unless there are trailers to send behind it.
    let ended = body.is_done() && body.trailers().is_empty();
    pin!(outgoing.begin(head, first, ended)).await?;
    if ended {
        return Ok(());
    }
    if let Some(bytes) = outgoing.piece_bytes() {
        body.in_pieces(bytes);
        Box::pin(pump_paced(passage, body, outgoing)).await?;
    }
    loop {
        let next = watch.over(pin!(body.next_by(deadline))).await??;
        let Some(piece) = next else { break };
        note(fill, Some(&piece), body);
        outgoing.piece(piece).await?;
    }
    note(fill, None, body);
    match outgoing.answering {
        Some(rules) => {
            let drops = |name: &[u8]| rules.drops_trailer(name);
            outgoing.end(&rewrite::trailers(body.trailers(), drops)).await
        }
        None => outgoing.end(body.trailers()).await,
    }
}

/// Waits until a response that is held to a bandwidth may begin, as long as the client does.
async fn wait_for_turn<R: Runtime>(
    passage: &Passage<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
    bytes: usize,
) -> Result<(), Fault> {
    outgoing.take_turn(bytes);
    passage.watch.over(pin!(outgoing.rest())).await
}

/// The same for a response that is held to a bandwidth: it rests before it reads, so that it holds no buffer
/// meanwhile.
async fn pump_paced<R: Runtime>(
    passage: &Passage<'_, R>,
    body: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    let Passage { watch, fill, .. } = *passage;
    while !body.is_done() {
        watch.over(pin!(outgoing.rest())).await?;
        let next = watch.over(pin!(body.next())).await??;
        let Some(piece) = next else { break };
        note(fill, Some(&piece), body);
        outgoing.piece(piece).await?;
    }
    Ok(())
}

/// Shows the store what passes. The end is told before the last piece is sent: others may wait for it, and a
/// client may be slow.
fn note<R: Runtime>(fill: Option<&Fill<'_, R>>, piece: Option<&Buf>, body: &BodyReader<'_, R>) {
    let Some(fill) = fill else { return };
    if let Some(piece) = piece {
        fill.takes_piece(piece.data());
    }
    if body.is_done() {
        fill.takes_end();
    }
}

/// An origin that sent an interim response has begun to answer: its close is no idle connection's.
fn behind_interim(fault: Fault, interims: u32) -> Fault {
    match fault.kind {
        FaultKind::ConnectionTerminated if interims > 0 => {
            Fault { kind: FaultKind::HttpResponseIncomplete, again: Again::Never, ..fault }
        }
        _ => fault,
    }
}

fn head_too_large() -> Fault {
    let kind = FaultKind::HttpResponseHeaderSectionSize;
    Fault { kind, side: Side::Upstream, again: Again::Never }
}
