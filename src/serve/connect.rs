//! CONNECT (RFC 9110 §9.3.6): a tunnel to an endpoint of the route's upstream.
//!
//! The authority of the request never chooses the address, and a connection that served another exchange is
//! never used: what comes first on it must be the tunnel's. The 200 goes out when the endpoint has accepted,
//! and has neither Content-Length nor Transfer-Encoding.

use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::{Exchange, Tunnel};
use crate::http::framing::BodyLength;
use crate::http::{Status, writer};
use crate::runtime::Runtime;
use crate::serve::attempt::{self, Asked, Lease, Wants};
use crate::serve::forward::Passage;
use crate::serve::outgoing::Outgoing;

/// Dials the upstream and tells the client; the connection is the tunnel's other end.
///
/// # Errors
/// The request has content, no endpoint could be reached, or the client is gone.
pub async fn run<R: Runtime>(
    passage: &Passage<'_, R>,
    x: &mut Exchange,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Lease<R>, Fault> {
    if x.head.body != BodyLength::None {
        // Content of CONNECT means nothing, and the tunnel's first bytes could be taken for it.
        let kind = FaultKind::HttpRequestError;
        return Err(Fault { kind, side: Side::Downstream, again: Again::Never });
    }
    let lease = dial(passage, x).await?;
    let now = passage.core.runtime.now();
    x.timeline.connected = Some(now);
    x.status = Some(Status(200));
    x.tunnel = Some(Tunnel { protocol: None, closed_by: Side::Downstream });
    let mut head = passage.core.buffer()?;
    let fits = writer::status_line(&mut head, Status(200))
        && head.put(x.reply_fields.as_bytes())
        && writer::end(&mut head);
    debug_assert!(fits, "a local head fits a buffer");
    outgoing.switch(head, None).await?;
    Ok(lease)
}

/// A connection of its own, tried again as the route says: nothing has been sent yet.
async fn dial<R: Runtime>(passage: &Passage<'_, R>, x: &mut Exchange) -> Result<Lease<R>, Fault> {
    let Passage { core, installed, to, up, .. } = *passage;
    let origins = installed.origins(to.upstream);
    origins.state.borrow_mut().request_begun();
    let asked = Asked {
        may_reuse: false,
        wants: Wants::Raw,
        ..Asked::of(to.upstream, x.deadline, &x.client)
    };
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut record = attempt::begin(&asked, core.runtime.now());
        let dialled = attempt::connect(core, installed, &asked, up, &mut record).await;
        record.fault = dialled.as_ref().err().map(|fault| fault.kind);
        // A connection that stands is done with at the tunnel's end.
        record.done = record.fault.map(|_| core.runtime.now());
        x.record(record);
        let fault = match dialled {
            Ok(lease) => return Ok(lease),
            Err(fault) => fault,
        };
        let again = fault.again == Again::Always
            && attempts <= passage.retries()
            && origins.state.borrow_mut().retry_budget.take();
        if !again {
            asked.tell(x);
            return Err(fault);
        }
    }
}
