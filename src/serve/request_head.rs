//! The head of a forwarded request, from the client's bytes straight into the buffer that is sent.
//!
//! It never invents a field beyond those that an intermediary owes (RFC 9110 §7.6): who asked, which
//! request it is, and in which trace.

use crate::base::buffer::Buf;
use crate::exchange::Exchange;
use crate::exchange::client::AddressText;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::template::RenderError;
use crate::gateway::route::Forward;
use crate::http::forward::{self as heads, ForwardedClient, RequestForward};
use crate::http::names::FieldName;
use crate::observe::trace::TraceLines;
use crate::runtime::Runtime;
use crate::serve::Core;

/// Fields that are replaced by our own lines.
const REPLACED: &[FieldName] = &[FieldName::Traceparent, FieldName::XRequestId, FieldName::Expect];

/// Writes the head for the exchange's upstream into `out`.
///
/// # Errors
/// A template's value is missing, or the head has become too large.
pub fn write<R: Runtime>(
    core: &Core<R>,
    x: &Exchange,
    to: &Forward,
    out: &mut Buf,
) -> Result<(), Fault> {
    let rewritten = match &to.target {
        Some(template) => {
            let mut target = core.buffer()?;
            template.render(x, &mut target).map_err(RenderError::fault)?;
            Some(target)
        }
        None => None,
    };
    let added = TraceLines::of(&x.id, &x.trace);
    let mut address = AddressText::default();
    let proto = if x.client.tls { "https" } else { "http" };
    let client =
        ForwardedClient { address: address.of(x.client.peer), proto, trusted: x.client.trusted };
    let how = RequestForward {
        target: rewritten.as_ref().map(Buf::data),
        added: added.as_bytes(),
        client,
        body: x.head.body,
        drop: REPLACED,
        ..RequestForward::default()
    };
    heads::request_head(out, x.request(), &how).map_err(|_| {
        let kind = FaultKind::HeadTooLarge;
        Fault { kind, side: Side::Downstream, again: Again::Never }
    })
}
