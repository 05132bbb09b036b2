//! Preflights, and the fields that a route gives to every answer.
//!
//! Who asks for the rules is `serve/exchange.rs`, before the policies: a browser sends a preflight without
//! credentials, so that one must never reach authentication (Fetch standard, "CORS-preflight fetch"). Only who
//! comes from a refused network, or to a closed route, is refused here, too. Which
//! route it is about is a question of the method that it asks for, not of OPTIONS.

use crate::base::buffer::Buf;
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::gateway::answering::Answering;
use crate::gateway::route::Route;
use crate::http::Method;
use crate::http::rewrite;
use crate::policy::cors::Preflight;
use crate::policy::header_edit::HeaderEdits;
use crate::route::Found;
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::compressing;
use crate::serve::exchange::{Way, look_up};
use crate::serve::outgoing::Outgoing;

/// Fields that are not true of a compressed answer.
const CODED_AWAY: &[&str] = &["accept-ranges", "content-encoding"];

/// The field that a 304 does not have where GET has another length.
const MEASURED: &[&str] = &["content-length"];

/// What became of an OPTIONS request.
pub enum Asked<'a> {
    /// It is no preflight that the gateway answers.
    Other,
    /// It is one; its answer has these rules, and is 204 or a refusal.
    Preflight(&'a Answering, Result<(), Fault>),
}

/// Answers a preflight where the route that it asks about has rules for it.
pub fn preflight<'a, R: Runtime>(way: &Way<'a, R>, x: &mut Exchange) -> Asked<'a> {
    let request = x.request();
    let Some(asked) = Preflight::of(request) else { return Asked::Other };
    let method = Method::of(asked.method);
    let span = request.head.fields.iter().find(|field| field.value.of(request.raw) == asked.method);
    let Some(span) = span.map(|field| field.value) else { return Asked::Other };
    let own = (x.head.method, x.head.method_text);
    (x.head.method, x.head.method_text) = (method, span);
    let found = look_up(way.core, way.installed, way.listener, x);
    (x.head.method, x.head.method_text) = own;
    let Found::Route(id) = found else { return Asked::Other };
    let route = way.installed.gateway.route(id);
    let Some((answering, cors)) =
        route.answering.as_deref().and_then(|rules| rules.cors.as_ref().map(|cors| (rules, cors)))
    else {
        return Asked::Other;
    };
    x.route = Some(id);
    if let Some(denied) = route.policies.iter().find_map(|policy| policy.on_preflight(x).err()) {
        make_some_lines(answering, x);
        return Asked::Preflight(answering, Err(denied));
    }
    let mut lines = std::mem::take(&mut x.answer_lines);
    let request = x.request();
    let decided = match Preflight::of(request) {
        Some(asked) => cors.preflight(request, asked, &mut lines),
        None => return Asked::Other,
    };
    answering.edits.render_some(x, &mut lines);
    x.answer_lines = lines;
    Asked::Preflight(
        answering,
        decided.map_err(|why| {
            x.reason = why.word();
            let kind = FaultKind::HttpRequestDenied;
            Fault { kind, side: Side::Downstream, again: Again::Never }
        }),
    )
}

/// Makes the lines that a request and its answer get.
///
/// # Errors
/// A value is missing that a template needs.
#[inline]
pub fn edit(route: &Route, x: &mut Exchange) -> Result<(), Fault> {
    if let Some(rules) = &route.answering {
        make_lines(rules, x)?;
    }
    match &route.request_edits {
        Some(edits) => make_request_lines(edits, x),
        None => Ok(()),
    }
}

/// Makes the lines that the answer gets; to be called when the request's identity is known.
///
/// # Errors
/// A value is missing that a template needs.
fn make_lines(answering: &Answering, x: &mut Exchange) -> Result<(), Fault> {
    let mut lines = std::mem::take(&mut x.answer_lines);
    lines.clear();
    let made = answering.lines(x, &mut lines);
    if made.is_err() {
        lines.clear();
    }
    x.answer_lines = lines;
    made
}

/// Makes the lines of the request as it is sent on; as [`make_lines`].
///
/// # Errors
/// A value is missing that a template needs.
fn make_request_lines(edits: &HeaderEdits, x: &mut Exchange) -> Result<(), Fault> {
    let mut lines = std::mem::take(&mut x.request_lines);
    let made = edits.render(x, &mut lines);
    x.request_lines = lines;
    made
}

/// The same for the answer to a fault, which goes out whatever is missing.
pub fn make_some_lines(answering: &Answering, x: &mut Exchange) {
    let mut lines = std::mem::take(&mut x.answer_lines);
    lines.clear();
    answering.some_lines(x, &mut lines);
    x.answer_lines = lines;
}

/// The head of an answer as it goes out.
///
/// # Errors
/// It has become too large, or the core's budget of buffers is spent.
pub fn finish_head<R: Runtime>(
    core: &Core<R>,
    outgoing: &Outgoing<'_, R>,
    x: &Exchange,
    head: Buf,
) -> Result<Buf, Fault> {
    let Some(answering) = outgoing.answering else { return Ok(head) };
    let decision = outgoing.decision;
    let coded = compressing::lines(decision);
    if answering.dropped.is_empty() && x.answer_lines.is_empty() && coded.is_empty() {
        return Ok(head);
    }
    let mut out = core.buffer()?;
    let edit = rewrite::Edit {
        dropped: &answering.dropped,
        // Ranges of other bytes than those sent, or a word that says that nothing was done.
        dropped_too: match decision {
            _ if decision.coding.is_some() => CODED_AWAY,
            _ if decision.unmeasured => MEASURED,
            _ => &[],
        },
        added: [&x.answer_lines, coded],
        weaken: decision.weaken,
    };
    let fits = rewrite::head(head.data(), &edit, &mut out);
    fits.map(|()| out).map_err(|_| Fault {
        kind: FaultKind::HttpResponseHeaderSectionSize,
        side: Side::Upstream,
        again: Again::Never,
    })
}
