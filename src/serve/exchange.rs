//! The life of a request, in one function. The order of its lines is the order of events.
//!
//! It never decides: rooms decide, and return values. It never holds a borrow of the core's state across
//! an await.

use std::time::Duration;

use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::reply::{Reply, ReplyText};
use crate::exchange::template::RenderError;
use crate::gateway::listener::Listener;
use crate::gateway::route::{Redirect, Route, Target};
use crate::http::framing::BodyLength;
use crate::policy::{Env, Policy, Verdict};
use crate::route::Found;
use crate::runtime::Runtime;
use crate::runtime::deadline::Slot;
use crate::serve::body::BodyReader;
use crate::serve::forward::{self, Passage};
use crate::serve::outgoing::Outgoing;
use crate::serve::work::ResponseScratch;
use crate::serve::{Core, Installed, answer, fan_out};

/// A policy that waits is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// The two strands of an exchange: what carries the request, and what carries the response.
pub struct Strands<'a> {
    /// Deadlines on the way to the origin.
    pub up: &'a Slot,
    /// Deadlines on the way back.
    pub down: &'a Slot,
}

/// Carries one request through the house and its response to the client.
pub async fn run<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    listener: &Listener,
    strands: Strands<'_>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) {
    let walked = walk(core, installed, listener, strands, x, scratch, incoming, outgoing).await;
    if let Err(fault) = walked {
        answer::fault(core, x, fault, outgoing).await;
    }
}

async fn walk<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    listener: &Listener,
    strands: Strands<'_>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    let route = find_route(core, installed, listener, x)?;
    x.deadline = x.timeline.begun + route.timeout;
    bound_body(route, x, incoming)?;
    for policy in &route.policies {
        ask(core, policy, x).await?;
    }
    x.timeline.target = Some(core.runtime.now());
    match &route.target {
        Target::Forward(to) => {
            let Strands { up, down } = strands;
            let passage = Passage { core, installed, route, to, up, down };
            forward::run(&passage, x, scratch, incoming, outgoing).await
        }
        Target::Aggregate(plan) => fan_out::run(core, installed, plan, x, outgoing).await,
        Target::Redirect(to) => {
            let reply = redirection(to, x)?;
            answer::reply(core, x, &reply, outgoing).await;
            Ok(())
        }
        Target::Respond(fixed) => {
            answer::reply(core, x, fixed, outgoing).await;
            Ok(())
        }
    }
}

/// Which route is this?
fn find_route<'i, R: Runtime>(
    core: &Core<R>,
    installed: &'i Installed<R>,
    listener: &Listener,
    x: &mut Exchange,
) -> Result<&'i Route, Fault> {
    if let Some(bytes) = &mut x.bytes {
        listener.spelling.normalise(&mut x.head, bytes.data_mut());
    }
    let mut params = std::mem::take(&mut x.params);
    let router = &installed.gateway.router;
    let found = core
        .shard(|shard| router.find(x.request(), &listener.spelling, &mut params, &mut shard.path));
    x.params = params;
    let kind = match found {
        Found::Route(id) => {
            x.route = Some(id);
            return Ok(installed.gateway.route(id));
        }
        Found::MethodRefused(allow) => {
            x.reply_fields.add("allow", allow.as_bytes());
            FaultKind::MethodRefused
        }
        Found::Missing => FaultKind::RouteMissing,
        Found::PathRefused(_) => FaultKind::PathRefused,
    };
    Err(refusal(kind))
}

/// Refuses a body that says it is too large before a byte of it is read (RFC 9110 §15.5.14).
fn bound_body<R: Runtime>(
    route: &Route,
    x: &Exchange,
    incoming: &mut BodyReader<'_, R>,
) -> Result<(), Fault> {
    incoming.bound(route.body_bytes_max);
    match x.head.body {
        BodyLength::Exact(bytes) if bytes > route.body_bytes_max => {
            Err(refusal(FaultKind::BodyTooLarge))
        }
        _ => Ok(()),
    }
}

/// Asks one policy, again and again while it waits.
async fn ask<R: Runtime>(core: &Core<R>, policy: &Policy, x: &mut Exchange) -> Result<(), Fault> {
    loop {
        let (now, wall) = (core.runtime.now(), core.runtime.wall());
        let verdict = core.shard(|shard| {
            let env = &mut Env { now, wall, rng: &mut shard.rng, slots: &mut shard.slots };
            policy.on_request(x, env)
        });
        match verdict {
            Verdict::Continue => return Ok(()),
            Verdict::Refuse(fault) => return Err(fault),
            Verdict::Wait if now >= x.deadline => return Err(refusal(FaultKind::KeysUnavailable)),
            Verdict::Wait => core.runtime.sleep_until(now + ASK_AGAIN).await,
        }
    }
}

fn redirection(to: &Redirect, x: &Exchange) -> Result<Reply, Fault> {
    let mut fields = b"location: ".to_vec();
    to.to.render(x, &mut fields).map_err(RenderError::fault)?;
    fields.extend_from_slice(b"\r\n");
    Ok(Reply {
        status: to.status,
        fields: ReplyText::Owned(fields),
        body: ReplyText::Static(""),
        content_type: "",
        close: false,
    })
}

fn refusal(kind: FaultKind) -> Fault {
    Fault { kind, side: Side::Downstream, again: Again::Never }
}
