//! The head of a forwarded request, from the client's bytes straight into the buffer that is sent.
//!
//! It never invents a field beyond those that an intermediary owes (RFC 9110 §7.6): who asked, which
//! request it is, and in which trace.

use crate::base::buffer::Buf;
use crate::base::name::Name;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::client::AddressText;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::template::RenderError;
use crate::gateway::route::Forward;
use crate::http::forward::{self as heads, RequestForward};
use crate::http::names::FieldName;
use crate::http::withheld::Withheld;
use crate::observe::trace::TraceLines;
use crate::policy::header_edit::HeaderEdits;
use crate::runtime::Runtime;
use crate::serve::{Core, grpc, grpc_web};

/// Fields that are replaced by our own lines.
const REPLACED: &[FieldName] = &[FieldName::Traceparent, FieldName::XRequestId, FieldName::Expect];

/// The same, and what a call in gRPC-Web says otherwise than one of gRPC.
const REPLACED_WEB: &[FieldName] =
    &[FieldName::Traceparent, FieldName::XRequestId, FieldName::Expect, FieldName::ContentType];

/// The client's own conditions, which those of a stored response stand in for.
const REPLACED_CONDITIONS: &[FieldName] = &[
    FieldName::Traceparent,
    FieldName::XRequestId,
    FieldName::Expect,
    FieldName::IfNoneMatch,
    FieldName::IfModifiedSince,
    FieldName::Range,
];

/// Writes the head for the exchange's upstream into `out`, with the route's `edits`; it asks for `upgrade` if there
/// is one, and by `conditions`, complete lines, instead of the client's own conditions if there are any.
///
/// # Errors
/// A template's value is missing, or the head has become too large.
pub fn write<R: Runtime>(
    core: &Core<R>,
    x: &Exchange,
    to: &Forward,
    edits: Option<&HeaderEdits>,
    upgrade: Option<&Name>,
    conditions: &[u8],
    out: &mut Buf,
) -> Result<(), Unsent> {
    let withheld = edits.map(|edits| &edits.withheld).filter(|withheld| !withheld.is_empty());
    let rewritten = match &to.target {
        Some(template) => {
            let mut target = core.buffer()?;
            template.render(x, &mut target).map_err(Unsent::of_target)?;
            keep_query(x, withheld, &mut target)?;
            Some(target)
        }
        None => None,
    };
    let lines = TraceLines::of(&x.id, &x.trace);
    let conditional = !conditions.is_empty();
    let web = x.grpc.web.is_some();
    let mut joined = Vec::new();
    if conditional || web {
        joined.extend_from_slice(lines.as_bytes());
        joined.extend_from_slice(conditions);
    }
    if web {
        let request = x.request();
        grpc_web::put_request_lines(request, heads::wants_trailers(request), &mut joined);
    }
    let edited: &[Box<str>] = edits.map_or(&[], |edits| &edits.dropped);
    let mut dropped = Vec::new();
    if x.grpc.deadline != Instant::NEVER {
        if joined.is_empty() {
            joined.extend_from_slice(lines.as_bytes());
        }
        grpc::put_timeout(x.grpc.deadline.since(core.runtime.now()), &mut joined);
        dropped.extend_from_slice(edited);
        dropped.push("grpc-timeout".into());
    }
    let added = if joined.is_empty() { lines.as_bytes() } else { joined.as_slice() };
    if conditional {
        dropped.extend_from_slice(edited);
        dropped.push("if-range".into());
    }
    let (mut address, mut real) = (AddressText::default(), AddressText::default());
    let client = x.client.forwarded_as(&mut address, &mut real);
    let how = RequestForward {
        method: None,
        target: rewritten.as_ref().map(Buf::data),
        edited: &x.request_lines,
        host: edits.and_then(|edits| edits.host.as_deref()).map(str::as_bytes),
        added,
        client,
        body: x.head.body,
        upgrade: upgrade.map(Name::as_str),
        drop: match conditional {
            true => REPLACED_CONDITIONS,
            false if web => REPLACED_WEB,
            false => REPLACED,
        },
        drop_named: if dropped.is_empty() { edited } else { &dropped },
        withheld,
    };
    heads::request_head(out, x.request(), &how).map_err(|_| too_large().into())
}

/// Why a request cannot be sent on.
pub struct Unsent {
    /// What the client is told.
    pub fault: Fault,
    /// One word for the log; empty where the fault says all.
    pub word: &'static str,
}

impl Unsent {
    fn of_target(error: RenderError) -> Self {
        let word = match error {
            RenderError::Missing { .. } => "target_value_missing",
            RenderError::Unfit => "target_unfit",
            RenderError::Full | RenderError::PartMissing | RenderError::PartUnfit => "",
        };
        Self { fault: error.fault(), word }
    }

    /// The fault, with its reason told to the exchange.
    pub fn blame(self, x: &mut Exchange) -> Fault {
        x.reason = self.word;
        self.fault
    }
}

impl From<Fault> for Unsent {
    fn from(fault: Fault) -> Self {
        Self { fault, word: "" }
    }
}

/// A template that rewrites the path alone leaves the client's query as it is. Values are escaped, so a
/// question mark is always the template's own.
fn keep_query(x: &Exchange, withheld: Option<&Withheld>, target: &mut Buf) -> Result<(), Fault> {
    let Some(query) = x.request().query() else { return Ok(()) };
    if target.data().contains(&b'?') {
        return Ok(());
    }
    let mut fits = true;
    match withheld {
        Some(cut) => cut.query(query, b"?", |piece| fits &= target.put(piece)),
        None => fits = target.put(b"?") && target.put(query),
    }
    if fits { Ok(()) } else { Err(too_large()) }
}

fn too_large() -> Fault {
    Fault { kind: FaultKind::HeadTooLarge, side: Side::Downstream, again: Again::Never }
}
