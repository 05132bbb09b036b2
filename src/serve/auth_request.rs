//! Asks a service whether a request may pass: one call without a body, and its head is all that counts.
//!
//! The service gets the client's own head, credentials and all, as nginx and Traefik send it: with GET, without what
//! speaks of a body, a range or a condition, and with the original method and target in fields of their own, never the client's. A
//! request never passes because the service is away, slow, or says what is no verdict. What is asked twice at once on
//! a core is asked once, where verdicts are remembered at all.

use std::cell::Cell;
use std::pin::pin;

use crate::base::buffer::Buf;
use crate::base::limits::AUTH_ANSWER_BYTES_MAX;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::attempt::Attempt;
use crate::exchange::client::AddressText;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::template::RenderError;
use crate::http::Method;
use crate::http::forward::{self as heads, RequestForward};
use crate::http::framing::BodyLength;
use crate::http::head::Response;
use crate::http::names::FieldName;
use crate::observe::trace::TraceLines;
use crate::policy::Env;
use crate::policy::auth_request::{AuthRequest, Said, Step};
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::attempt::{self, Asked};
use crate::serve::body::{BodyReader, BodyRules};
use crate::serve::exchange::Way;
use crate::serve::work::ResponseScratch;
use crate::upstream::retry;

/// Fields that speak of the client's own exchange and not of whether it may be.
const LEFT_OUT: &[FieldName] = &[
    FieldName::Traceparent,
    FieldName::XRequestId,
    FieldName::Expect,
    FieldName::IfNoneMatch,
    FieldName::IfModifiedSince,
    FieldName::Range,
    FieldName::XOriginalUrl,
];

/// Asks about a request that is not decided by what is remembered.
///
/// # Errors
/// It may not pass, or nobody can say.
pub async fn ask<R: Runtime>(
    way: &Way<'_, R>,
    policy: &AuthRequest,
    x: &mut Exchange,
) -> Result<(), Fault> {
    let core = way.core;
    let deadline = x.deadline.min(core.runtime.now() + policy.rules().timeout);
    loop {
        match with_env(core, |env| policy.begin(x, env)) {
            Step::Known(said) => return policy.apply(&said, x),
            Step::Wait if core.runtime.now() >= deadline => {
                x.reason = "auth_request_failed";
                return Err(silent());
            }
            Step::Wait => way.pause().await?,
            Step::Ask(question) => {
                // However it ends, also when the client is gone: nobody waits for what nobody asks.
                let mut asking = Asking { core, policy, question, said: None };
                let said = Box::pin(fetch(way, policy, x, deadline)).await;
                asking.said = said.as_ref().ok().cloned();
                drop(asking);
                return policy.apply(&said?, x);
            }
        }
    }
}

/// A question under way.
struct Asking<'a, R: Runtime> {
    core: &'a Core<R>,
    policy: &'a AuthRequest,
    question: Option<Box<[u8]>>,
    said: Option<Said>,
}

impl<R: Runtime> Drop for Asking<'_, R> {
    fn drop(&mut self) {
        let Some(key) = self.question.take() else { return };
        with_env(self.core, |env| self.policy.end(&key, self.said.as_ref(), env));
    }
}

fn with_env<R: Runtime, T>(core: &Core<R>, act: impl FnOnce(&mut Env<'_>) -> T) -> T {
    let (now, wall) = (core.runtime.now(), core.runtime.wall());
    core.shard(|shard| act(&mut Env { now, wall, rng: &mut shard.rng, slots: &mut shard.slots }))
}

/// Asks, again where the connection had been closing; every attempt is recorded.
async fn fetch<R: Runtime>(
    way: &Way<'_, R>,
    policy: &AuthRequest,
    x: &mut Exchange,
    deadline: Instant,
) -> Result<Said, Fault> {
    let Way { core, installed, watch, .. } = *way;
    let upstream = policy.rules().upstream;
    let mut asked = Asked::of(upstream, deadline, &x.client);
    let origins = installed.origins(upstream);
    origins.state.borrow_mut().request_begun();
    let mut scratch = core.take_scratch();
    let mut attempts = 0;
    let result = loop {
        attempts += 1;
        let mut record = attempt::begin(&asked, core.runtime.now());
        let tried = {
            let one = pin!(once(way, policy, x, &asked, &mut record, &mut scratch));
            watch.over(one).await
        };
        let tried = tried.unwrap_or_else(Err);
        record.fault = tried.as_ref().err().map(|fault| fault.kind);
        record.done = Some(core.runtime.now());
        x.record(record);
        let Err(fault) = &tried else { break tried };
        let again = attempts <= installed.gateway.upstream(upstream).rules.retries
            && retry::may_retry(fault, Method::Get)
            && origins.state.borrow_mut().retry_budget.take();
        if !again {
            break tried;
        }
        asked.may_reuse = fault.again == Again::Always;
    };
    core.keep_scratch(scratch);
    if let Err(fault) = &result {
        asked.tell(x);
        if fault.kind != FaultKind::ClientGone && x.reason.is_empty() {
            x.reason = "auth_request_failed";
        }
    }
    result
}

/// One attempt.
async fn once<R: Runtime>(
    way: &Way<'_, R>,
    policy: &AuthRequest,
    x: &Exchange,
    asked: &Asked,
    record: &mut Attempt,
    scratch: &mut ResponseScratch,
) -> Result<Said, Fault> {
    let Way { core, installed, .. } = *way;
    let mut buf = core.buffer()?;
    write(core, policy, x, &mut buf)?;
    let slot = core.deadlines.slot();
    let until = asked.deadline;
    let lease = attempt::connect(core, installed, asked, &slot, record).await?;
    let mut buf = attempt::send(&lease, &slot, until, buf).await?;
    attempt::ready_for_response(&mut buf);
    let (deadline, mut interims) = (Cell::new(until), 0);
    loop {
        let head = &mut scratch.head;
        buf = attempt::read_head(&lease, &slot, &deadline, Method::Get, buf, head).await?;
        if !scratch.head.status.is_interim() {
            break;
        }
        attempt::count_interim(&scratch.head, &mut interims)?;
        buf.consume(scratch.head.bytes as usize);
    }
    let head = &scratch.head;
    let now = core.runtime.now();
    lease.answered(record, now);
    record.answered = Some(now);
    record.status = Some(head.status);
    record.bytes = u64::from(head.bytes);
    let said = Said::of(Response { head, raw: buf.data() }, &policy.rules().copy);
    buf.consume(head.bytes as usize);
    let reusable = head.keep_alive && head.body != BodyLength::UntilClose;
    if reusable {
        // A body that is short is read over, so that the connection serves again; of a long one it is closed.
        let rules = BodyRules {
            side: Side::Upstream,
            pause_max: until.since(now),
            bytes_max: AUTH_ANSWER_BYTES_MAX,
        };
        let (stream, length) = (lease.stream(), head.body);
        let mut body =
            BodyReader::new(core, stream, &slot, &mut scratch.chunks, length, Some(buf), rules);
        let mut whole = true;
        while whole && !body.is_done() {
            whole = matches!(body.next_by(until).await, Ok(Some(_))) || body.is_done();
        }
        record.bytes += body.wire_bytes();
        if whole && body.ended_cleanly() {
            lease.give_back(core.runtime.now());
        }
    }
    said.ok_or(Fault {
        kind: FaultKind::HttpProtocolError,
        side: Side::Upstream,
        again: Again::Never,
    })
}

/// Writes the question.
fn write<R: Runtime>(
    core: &Core<R>,
    policy: &AuthRequest,
    x: &Exchange,
    out: &mut Buf,
) -> Result<(), Fault> {
    let rules = policy.rules();
    let mut target = core.buffer()?;
    rules.target.render(x, &mut target).map_err(RenderError::fault)?;
    let request = x.request();
    let proto: &[u8] = if x.client.tls { b"https" } else { b"http" };
    let query = request.query();
    let (mark, query) = (if query.is_some() { &b"?"[..] } else { b"" }, query.unwrap_or(b""));
    let mut lines = core.buffer()?;
    let mut fits = true;
    for pieces in [
        &[b"x-original-method: ", request.method_text()][..],
        &[b"\r\nx-original-uri: ", request.path(), mark, query],
        &[b"\r\nx-original-url: ", proto, b"://", request.authority(), request.path(), mark, query],
        &[b"\r\nx-forwarded-method: ", request.method_text()],
        &[b"\r\nx-forwarded-uri: ", request.path(), mark, query, b"\r\n"],
        &[TraceLines::of(&x.id, &x.trace).as_bytes()],
    ] {
        pieces.iter().for_each(|piece| fits &= lines.put(piece));
    }
    let (mut address, mut real) = (AddressText::default(), AddressText::default());
    let client = x.client.forwarded_as(&mut address, &mut real);
    let how = RequestForward {
        method: Some("GET"),
        target: Some(target.data()),
        added: lines.data(),
        client,
        body: BodyLength::None,
        drop: LEFT_OUT,
        drop_named: &rules.dropped,
        ..RequestForward::default()
    };
    let written = fits && heads::request_head(out, request, &how).is_ok();
    let kind = FaultKind::HeadTooLarge;
    if written { Ok(()) } else { Err(Fault { kind, side: Side::Downstream, again: Again::Never }) }
}

fn silent() -> Fault {
    Fault { kind: FaultKind::HttpResponseTimeout, side: Side::Upstream, again: Again::Never }
}
