//! The parts of a merge, asked on the client's core, and the one answer made of theirs.
//!
//! Each part is asked as soon as what it needs is here: most at once, those that take values from others'
//! answers the moment the last of these has ended. The order in which parts answer never shows. A required
//! part that fails ends the others at once; an optional one never delays the answer beyond its own
//! deadline. What one call does stands in `serve/part.rs`.

use std::pin::{Pin, pin};

use crate::aggregate::reference::{PartSet, Values};
use crate::aggregate::stream::Form;
use crate::aggregate::{Members, Merged, PartOutcome, Taken, merge, partial, request};
use crate::base::limits::MERGED_FIELDS_BYTES_MAX;
use crate::exchange::Exchange;
use crate::exchange::attempt::{Attempt, Ledger};
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::part::PartCached;
use crate::exchange::template::{PartValues, RenderError};
use crate::http::etag::Etag;
use crate::http::names::FieldName;
use crate::http::{Method, Status};
use crate::runtime::Runtime;
use crate::serve::answer::{self, Local};
use crate::serve::around::Around;
use crate::serve::join::{self, Then};
use crate::serve::merge_stream::{Ends, Streamed};
use crate::serve::outgoing::Outgoing;
use crate::serve::part::{Merging, Order};
use crate::serve::part_answer::{Answer, End, Failure};
use crate::serve::watch::Watch;
use crate::serve::{Core, Installed, each};

/// Asks all parts and sends the merged answer.
///
/// # Errors
/// A value that a part needs is missing from the request, or the client is gone.
pub async fn run<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    merging: Merging<'_>,
    x: &mut Exchange,
    watch: &Watch<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    let Merging { plan, view, .. } = merging;
    rehearse(merging, x)?;
    let mut ends = Ends::new(plan);
    let form = Form::of(plan, x.request());
    let sent = if form == Form::Whole {
        // A client that goes away takes what is asked for it with it.
        let asking = Box::pin(ask_all(core, installed, merging, x, &ends));
        watch.over(pin!(asking)).await.map(|()| false)
    } else {
        let asking = ask_all(core, installed, merging, x, &ends);
        let streamed = Streamed { core, merging, x, ends: &ends, form, watch };
        streamed.run(asking, outgoing).await
    };
    let timing = if plan.server_timing { ends.timing(plan, merging.ledger) } else { Vec::new() };
    note(x, &mut ends, merging.ledger);
    if outgoing.begun {
        x.status = Some(Status(200));
    }
    if sent? {
        return Ok(());
    }
    if let Some(fault) = ends.refusal() {
        return Err(fault);
    }
    let mut outcomes = ends.outcomes();
    if let Err((part, fault)) = partial::verdict(plan, view, &outcomes) {
        let (kind, status) = (fault.fault(), fault.status());
        match ends.get(part).map(|end| &end.result) {
            Some(Err(Failure::Problem(_, body))) => {
                answer::part_problem(core, x, kind, status, body, outgoing).await;
            }
            _ => answer::part_fault(core, x, kind, status, outgoing).await,
        }
        return Ok(());
    }
    let is_partial = partial::is_partial(&outcomes);
    let mut fields = fields_of(merging, &ends, &outcomes, &timing)?;
    ends.show(view, &mut outcomes);
    let members = core.shard(|shard| Members::of(plan, &outcomes, &mut shard.tokens));
    let document = merge(plan, &outcomes, &members);
    let known = plan.etag && !is_partial && tagged(x, &document, &mut fields);
    if let Some(keeping) = merging.keeping.filter(|_| !is_partial) {
        keeping.take(core, &mut fields, document.pieces(), document.len());
    }
    let status = if known { Status(304) } else { Status(200) };
    // A 304 says nothing of a content that it does not have (RFC 9110 §15.4.5).
    let kind = if known { "" } else { "application/json" };
    let local = Local { status, fields: &fields, kind, body: &[] };
    let mut head = answer::begin_pieces(core, x, &local, document.len(), outgoing)?;
    let around = Around::of(&ends, document.pieces());
    if let Some(around) = around.filter(|_| outgoing.has_body(status) && outgoing.is_plain())
        && let Some(behind) = around.gather(core, &mut head, document.pieces())
    {
        return around.send(&mut ends, head, behind, outgoing).await;
    }
    answer::send_behind(core, status, head, document.pieces(), outgoing).await
}

/// The fields that the parts and their plan give a merged answer.
///
/// # Errors
/// As `check_fields`.
fn fields_of(
    merging: Merging<'_>,
    ends: &Ends,
    outcomes: &[PartOutcome<'_>],
    timing: &[u8],
) -> Result<Vec<u8>, Fault> {
    let Merging { plan, view, vary, .. } = merging;
    let mut fields = vary.to_vec();
    if partial::is_partial(outcomes) {
        fields.extend_from_slice(b"gateway-partial: ");
        let fits = partial::write(plan, outcomes, &mut fields);
        debug_assert!(fits, "a vector grows");
        fields.extend_from_slice(b"\r\ncache-control: no-store\r\n");
    }
    for end in view.shown().iter().filter_map(|part| ends.get(part)) {
        fields.extend_from_slice(end.result.as_ref().map_or(&[], |answer| answer.lines.bytes()));
    }
    check_fields(&fields)?;
    put_timing(timing, &mut fields);
    Ok(fields)
}

/// Appends what the parts took, if anybody wants to know.
fn put_timing(timing: &[u8], fields: &mut Vec<u8>) {
    if !timing.is_empty() {
        for piece in [b"server-timing: ", timing, b"\r\n"] {
            fields.extend_from_slice(piece);
        }
    }
}

/// Whether the fields that parts brought fit the head of an answer.
///
/// # Errors
/// Origins sent more than a head may have.
pub fn check_fields(fields: &[u8]) -> Result<(), Fault> {
    if fields.len() <= MERGED_FIELDS_BYTES_MAX {
        return Ok(());
    }
    let kind = FaultKind::HttpResponseHeaderSectionSize;
    Err(Fault { kind, side: Side::Upstream, again: Again::Never })
}

/// Notes in the exchange what was asked and what failed.
fn note(x: &mut Exchange, ends: &mut Ends, ledger: &Ledger) {
    for (part, end) in ends.iter_mut() {
        x.parts_cached.extend(PartCached::of(part as u16, end.uses));
    }
    let answered = |attempt: &Attempt| attempt.done.filter(|_| !attempt.cancelled);
    x.timeline.answered = ledger.read(|all| all.iter().filter_map(answered).max());
    if ends.refusal().is_none() {
        x.parts_failed.extend(partial::failures(&ends.outcomes()));
    }
}

/// Appends the document's entity tag; says whether the client has this document already. Only GET and HEAD are
/// asked so (RFC 9110 §13.1.2).
fn tagged(x: &Exchange, document: &Merged<'_>, fields: &mut Vec<u8>) -> bool {
    let request = x.request();
    if !matches!(request.head.method, Method::Get | Method::Head) {
        return false;
    }
    let etag = Etag::of(document.pieces());
    for piece in [b"etag: ", etag.as_bytes(), b"\r\n"] {
        fields.extend_from_slice(piece);
    }
    etag.is_among(request.all(FieldName::IfNoneMatch))
}

/// How a part ended, for the pure rooms. One without an end was cancelled because a required part failed,
/// which `verdict` finds.
pub(super) fn outcome(end: Option<&End>) -> PartOutcome<'_> {
    match end.map(|end| &end.result) {
        Some(Ok(answer @ Answer { stale: Some(fault), .. })) => {
            answer.text().map_or(PartOutcome::Empty, |text| PartOutcome::Stale(text, *fault))
        }
        Some(Ok(answer)) => match answer.taken {
            Taken::Value(span) if answer.failures.count > 0 => {
                PartOutcome::Several(span.of(answer.body.bytes()), answer.failures)
            }
            Taken::Value(span) => PartOutcome::Value(span.of(answer.body.bytes())),
            Taken::Shaped(_) => PartOutcome::Value(answer.shaped.bytes()),
            Taken::Empty => PartOutcome::Empty,
        },
        Some(Err(failure)) => failure.part().map_or(PartOutcome::Empty, PartOutcome::Failed),
        None => PartOutcome::Empty,
    }
}

/// The same for those who refer to the part: its value before it was shaped.
pub(super) fn referred(end: Option<&End>) -> PartOutcome<'_> {
    match end.map(|end| &end.result) {
        Some(Ok(Answer { body, taken: Taken::Shaped(span), .. })) => {
            PartOutcome::Value(span.of(body.bytes()))
        }
        _ => outcome(end),
    }
}

/// Fills every part's templates before any part is asked: a request that lacks a value asks nobody
/// (CONFIG.md rule 6).
fn rehearse(merging: Merging<'_>, x: &Exchange) -> Result<(), Fault> {
    let Merging { plan, view, .. } = merging;
    for part in view.asked().iter().map(|index| &plan.parts[index]) {
        if part.templates().any(|template| template.constant().is_none()) {
            request::try_to_write(plan, part, x, PartValues::Unknown)
                .map_err(RenderError::fault)?;
        }
    }
    Ok(())
}

/// Asks all parts, each as soon as what it needs is here; those that were cancelled have no end.
async fn ask_all<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    merging: Merging<'_>,
    x: &Exchange,
    ends: &Ends,
) {
    let Merging { plan, view, .. } = merging;
    let (mut ended, mut waiting) = (PartSet::EMPTY, plan.waiting().within(view.asked()));
    let part = |index, values| {
        Some(Box::pin(each::ask(core, installed, Order { merging, index, values, by: None }, x)))
    };
    let first = |index| match view.asked().contains(index) && !waiting.contains(index) {
        true => part(index, Values::default()),
        false => None,
    };
    let mut asked: Vec<Option<Pin<Box<_>>>> = (0..plan.parts.len()).map(first).collect();
    join::all(&mut asked, |index, end, asked| {
        let go_on = match &end.result {
            Ok(_) => true,
            Err(failure) => failure.part().is_some() && !view.is_required(plan, index),
        };
        ends.put(core, merging, index, end);
        if !go_on {
            return Then::Stop;
        }
        ended.insert(index);
        let mut then = Then::GoOn;
        // One that is required and can never be asked does not wait for the rest: the answer fails now.
        let is_lost = |next: usize| {
            let outcome = referred(ends.get(index));
            let lost = |tokens: &mut _| Values::are_lost(plan, next, index, outcome, tokens);
            view.is_required(plan, next) && core.shard(|shard| lost(&mut shard.tokens))
        };
        let is_ready = |next: usize| plan.parts[next].needs().is_within(ended) || is_lost(next);
        for next in waiting.iter().filter(|next| is_ready(*next)) {
            let ended = |needed: usize| referred(ends.get(needed));
            let values = core.shard(|shard| Values::gather(plan, next, ended, &mut shard.tokens));
            asked[next] = part(next, values);
            waiting.remove(next);
            then = Then::Started;
        }
        then
    })
    .await;
}
