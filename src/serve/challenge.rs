//! The answer to an authority that looks over HTTP whether a host is ours (RFC 8555 §8.3).
//!
//! It comes before routes, redirections and policies, for a token that is in flight and for no other: whatever else
//! lies below that path is a request like any other, and is never answered here.

use crate::exchange::Exchange;
use crate::exchange::reply::{Reply, ReplyText};
use crate::http::{Method, Status};
use crate::runtime::Runtime;
use crate::serve::answer::reply;
use crate::serve::exchange::Way;
use crate::serve::outgoing::Outgoing;
use crate::tls::challenge::PATH;

/// What is answered, if this asks for a token in flight.
pub fn answer<R: Runtime>(way: &Way<'_, R>, x: &Exchange) -> Option<Reply> {
    let challenges = way.installed.gateway.challenges.as_deref()?;
    let path = x.request().path();
    if !path.starts_with(PATH) || !matches!(x.head.method, Method::Get | Method::Head) {
        return None;
    }
    Some(Reply {
        status: Status(200),
        fields: ReplyText::Static("cache-control: no-store\r\n"),
        body: ReplyText::Shared(challenges.answer(path)?),
        content_type: "application/octet-stream",
        close: false,
    })
}

/// Sends it. The answer lives in here, and not in everybody's future.
pub async fn send<R: Runtime>(
    way: &Way<'_, R>,
    x: &mut Exchange,
    proof: Reply,
    outgoing: &mut Outgoing<'_, R>,
) {
    reply(way.core, x, &proof, outgoing).await;
}
