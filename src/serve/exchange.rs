//! The life of a request, in one function. The order of its lines is the order of events.
//!
//! It never decides: rooms decide, and return values. It never holds a borrow of the core's state across
//! an await.

use std::pin::pin;

use crate::base::limits::POLICY_LOOK_EVERY;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::attempt::Ledger;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::marks::LimitSaid;
use crate::exchange::reply::{Reply, ReplyText};
use crate::exchange::template::RenderError;
use crate::gateway::listener::Listener;
use crate::gateway::route::{Redirect, Route, Target};
use crate::gateway::view::Merge;
use crate::http::forward::max_forwards;
use crate::http::framing::BodyLength;
use crate::http::{Method, Status, TargetForm, upgrade};
use crate::policy::maintenance::{self, Maintenance};
use crate::policy::{Env, Policy, Verdict};
use crate::route::Found;
use crate::runtime::Runtime;
use crate::runtime::deadline::Slot;
use crate::serve::answering::Asked;
use crate::serve::attempt::Lease;
use crate::serve::body::BodyReader;
use crate::serve::budget::Budget;
use crate::serve::forward::{self, Passage};
use crate::serve::merged_cache::{self, Keeping};
use crate::serve::outgoing::Outgoing;
use crate::serve::part::{self, Merging};
use crate::serve::part_answer::Body;
use crate::serve::watch::Watch;
use crate::serve::work::ResponseScratch;
use crate::serve::{
    Core, Installed, answer, answering, auth_request, cached, challenge, connect, fan_out, grpc,
    grpc_web, mirror, revoked, seating, store,
};

/// The answer to `OPTIONS *`.
const NO_CONTENT: Reply = Reply {
    status: Status(204),
    fields: ReplyText::Static(""),
    body: ReplyText::Static(""),
    content_type: "",
    close: false,
};

/// What an exchange has around it, all the way.
pub struct Way<'a, R: Runtime> {
    /// The core.
    pub core: &'a Core<R>,
    /// One version of the gateway for the whole walk.
    pub installed: &'a Installed<R>,
    /// Where the request came in.
    pub listener: &'a Listener,
    /// Deadlines of the strand that carries the request.
    pub up: &'a Slot,
    /// Deadlines of the strand that carries the response.
    pub down: &'a Slot,
    /// Whether the client is still there.
    pub watch: &'a Watch<'a, R>,
}

impl<R: Runtime> Way<'_, R> {
    /// Waits until a policy is to be asked again. Who is gone meanwhile must not keep a place that others wait for.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn pause(&self) -> Result<(), Fault> {
        let runtime = &self.core.runtime;
        self.watch.over(pin!(runtime.sleep_until(runtime.now() + POLICY_LOOK_EVERY))).await
    }
}

/// Carries one request through the house and its response to the client. Returns the connection to the
/// origin if HTTP was left on both.
pub async fn run<'a, R: Runtime>(
    way: &Way<'a, R>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'a, R>,
) -> Option<Lease<R>> {
    let walked = if let Some(proof) = challenge::answer(way, x) {
        settle(incoming, outgoing);
        Box::pin(challenge::send(way, x, proof, outgoing)).await;
        Ok(None)
    } else if way.listener.to_https {
        Box::pin(send_to_https(way.core, x, incoming, outgoing)).await
    } else {
        pin!(walk(way, x, scratch, incoming, outgoing)).await
    };
    match walked {
        Ok(switched) => switched,
        Err(fault) => {
            settle(incoming, outgoing);
            if let Some(rules) = outgoing.answering.filter(|_| x.answer_lines.is_empty()) {
                answering::make_some_lines(rules, x);
            }
            answer::fault(way.core, x, fault, outgoing).await;
            None
        }
    }
}

async fn walk<'a, R: Runtime>(
    way: &Way<'a, R>,
    x: &mut Exchange,
    scratch: &mut ResponseScratch,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'a, R>,
) -> Result<Option<Lease<R>>, Fault> {
    let Way { core, installed, listener, .. } = *way;
    if listener.is_misdirected(x) {
        return Err(refusal(FaultKind::MisdirectedRequest));
    }
    if x.head.method == Method::Options && Box::pin(options(way, x, incoming, outgoing)).await {
        return Ok(None);
    }
    let route = find_route(core, installed, listener, x)?;
    grpc_web::begin(route, x, incoming, outgoing);
    if let Some(closed) = route.maintenance.as_deref().filter(|rules| rules.holds(x)) {
        return Box::pin(close(core, closed, x, incoming, outgoing)).await;
    }
    x.deadline = deadline(core, route, x, incoming);
    bound_bodies(route, x, incoming, outgoing)?;
    let known = ask_all(way, route, x).await?;
    answering::edit(route, x)?;
    // With policies the time is asked for once more, so that the log says what they took.
    let known = known.filter(|_| route.policies.is_empty());
    x.timeline.target = known.or_else(|| Some(core.runtime.now()));
    match &route.target {
        Target::Forward(_) if max_forwards(x.request()) == Some(0) => {
            settle(incoming, outgoing);
            last_recipient(core, x, outgoing).await?;
        }
        Target::Forward(to) => {
            let Way { up, down, watch, .. } = *way;
            let Ok(upgrade) = upgrade::asked(x.request(), &route.upgrades) else {
                x.reason = upgrade::HANDSHAKE_WITH_BODY;
                return Err(refusal(FaultKind::HttpRequestError));
            };
            // Who asks for a tunnel may have said all that it has to say: half a connection is not gone.
            watch.read_elsewhere.set(upgrade.is_some() || watch.read_elsewhere.get());
            let fill = None;
            let passage = Passage { core, installed, route, to, upgrade, up, down, watch, fill };
            if x.head.method == Method::Connect {
                return connect::run(&passage, x, outgoing).await.map(Some);
            }
            let mirror = route.mirror.as_deref().filter(|_| passage.upgrade.is_none());
            let copied = mirror.and_then(|mirror| mirror::begin(way, route, mirror, x, incoming));
            let forwarded = match &route.cache {
                Some(cache) => {
                    pin!(cached::run(cache, &passage, x, scratch, incoming, outgoing)).await
                }
                None => pin!(forward::run(&passage, x, scratch, incoming, outgoing)).await,
            };
            if let (Some(mirror), Some(place)) = (mirror, copied) {
                mirror::finish(way, route, mirror, x, incoming, place);
            }
            return forwarded;
        }
        Target::Aggregate(merge) => pin!(joined(way, route, merge, x, incoming, outgoing)).await?,
        Target::Redirect(to) => {
            settle(incoming, outgoing);
            let reply = redirection(to, x)?;
            answer::reply(core, x, &reply, outgoing).await;
        }
        Target::Respond(fixed) => {
            settle(incoming, outgoing);
            answer::reply(core, x, fixed, outgoing).await;
        }
    }
    Ok(None)
}

/// Answers from the store, if the route has one, or asks several origins.
async fn joined<R: Runtime>(
    way: &Way<'_, R>,
    route: &Route,
    merge: &Merge,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    match &route.cache {
        Some(cache) => Box::pin(merged_cache::run(cache, way, merge, x, incoming, outgoing)).await,
        None => pin!(merged(way, merge, x, incoming, outgoing, None)).await,
    }
}

/// Asks several origins and sends their one answer, which is kept if somebody waits to keep it.
///
/// # Errors
/// As `fan_out::run`.
pub(super) async fn merged<R: Runtime>(
    way: &Way<'_, R>,
    merge: &Merge,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
    keeping: Option<&Keeping<'_>>,
) -> Result<(), Fault> {
    let chosen = x.view.as_ref().map(|view| usize::from(view.index));
    let (plan, view, vary) = (&merge.plan, merge.view(chosen), &merge.vary);
    let body = match plan.takes_body(view.asked()) {
        true => part::client_body(incoming, x.deadline).await?,
        false => Body::Empty,
    };
    settle(incoming, outgoing);
    let (attempts, budget) = (Ledger::of(std::mem::take(&mut x.attempts)), Budget::default());
    let (body, ledger, budget) = (&body, &attempts, &budget);
    let merging = Merging { plan, view, vary, body, ledger, budget, keeping };
    let merged = fan_out::run(way.core, way.installed, merging, x, way.watch, outgoing).await;
    x.attempts = attempts.close();
    merged
}

/// Answers what a closed route answers.
async fn close<R: Runtime>(
    core: &Core<R>,
    closed: &Maintenance,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Option<Lease<R>>, Fault> {
    settle(incoming, outgoing);
    x.reason = maintenance::REASON;
    if let Some(rules) = outgoing.answering {
        answering::make_some_lines(rules, x);
    }
    match closed.problem {
        true => answer::problem_reply(core, x, &closed.reply, maintenance::DETAIL, outgoing).await,
        false => answer::reply(core, x, &closed.reply, outgoing).await,
    }
    Ok(None)
}

/// Answers an OPTIONS that is for the gateway itself, as a whole or as a preflight; says whether it was one.
async fn options<'a, R: Runtime>(
    way: &Way<'a, R>,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'a, R>,
) -> bool {
    let mut decided = Ok(());
    // `OPTIONS *` asks about the server, and that is this gateway (RFC 9110 §9.3.7).
    if x.head.target.form != TargetForm::Asterisk {
        let Asked::Preflight(rules, verdict) = answering::preflight(way, x) else { return false };
        outgoing.answering = Some(rules);
        decided = verdict;
    }
    settle(incoming, outgoing);
    match decided {
        Ok(()) => answer::reply(way.core, x, &NO_CONTENT, outgoing).await,
        Err(fault) => answer::fault(way.core, x, fault, outgoing).await,
    }
    true
}

/// Answers an OPTIONS or TRACE that may not be forwarded any more (RFC 9110 §7.6.2). TRACE would show the
/// client what proxies in front of us added (§9.3.8 warns of it), so that it is not done here.
async fn last_recipient<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    if x.head.method != Method::Options {
        return Err(refusal(FaultKind::NotImplemented));
    }
    answer::reply(core, x, &NO_CONTENT, outgoing).await;
    Ok(())
}

/// Nobody reads the request's body any more: what is here of it is dropped, and if more is to come the
/// response says that the connection closes.
pub(super) fn settle<R: Runtime>(incoming: &mut BodyReader<'_, R>, outgoing: &mut Outgoing<'_, R>) {
    if !incoming.skip_arrived() {
        outgoing.keep_alive = false;
    }
}

/// Which route is this?
fn find_route<'i, R: Runtime>(
    core: &Core<R>,
    installed: &'i Installed<R>,
    listener: &Listener,
    x: &mut Exchange,
) -> Result<&'i Route, Fault> {
    let kind = match look_up(core, installed, listener, x) {
        Found::Route(id) => {
            x.route = Some(id);
            return Ok(installed.gateway.route(id));
        }
        // Nobody tunnels by accident: a route must name CONNECT, and then it does nothing else.
        _ if x.head.method == Method::Connect => FaultKind::NotImplemented,
        Found::MethodRefused(allow) => {
            x.reply_fields.add("allow", allow.as_bytes());
            FaultKind::MethodRefused
        }
        Found::Missing => FaultKind::RouteMissing,
        Found::PathRefused(why) => {
            x.reason = why.word();
            FaultKind::PathRefused
        }
    };
    Err(refusal(kind))
}

/// Asks the router about the request as its head says it.
pub fn look_up<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    listener: &Listener,
    x: &mut Exchange,
) -> Found {
    if let Some(bytes) = &mut x.bytes {
        listener.spelling.normalise(&mut x.head, bytes.data_mut());
    }
    let mut params = std::mem::take(&mut x.params);
    let router = &installed.gateway.router;
    let found = core
        .shard(|shard| router.find(x.request(), &listener.spelling, &mut params, &mut shard.path));
    x.params = params;
    found
}

/// When the request must be over. The head has a bound of its own (`listen.timeout.head`): who sends it slowly must
/// not leave origins no time.
fn deadline<R: Runtime>(
    core: &Core<R>,
    route: &Route,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
) -> Instant {
    let begun = x.timeline.head.unwrap_or(x.timeline.begun);
    if x.grpc.is_any() {
        grpc::begin(core, route, x, incoming, begun);
    }
    x.grpc.deadline.min(begun + route.timeout)
}

/// Refuses a body that says it is too large before a byte of it is read (RFC 9110 §15.5.14), and holds the answer
/// to its bandwidth.
fn bound_bodies<R: Runtime>(
    route: &Route,
    x: &Exchange,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    if let Some(bandwidth) = &route.bandwidth {
        outgoing.hold_to(bandwidth);
    }
    incoming.bound(route.body_bytes_max);
    match x.head.body {
        BodyLength::Exact(bytes) if bytes > route.body_bytes_max => {
            Err(refusal(FaultKind::BodyTooLarge))
        }
        _ => Ok(()),
    }
}

/// Asks the policies of a route. Which view the client has is known to all of them, as far as it is known who
/// asks. Says when the head was here if nothing was waited for since.
async fn ask_all<R: Runtime>(
    way: &Way<'_, R>,
    route: &Route,
    x: &mut Exchange,
) -> Result<Option<Instant>, Fault> {
    let views = route.views();
    views.inspect(|merge| merge.note(x));
    let mut known = x.timeline.head;
    for policy in &route.policies {
        ask(way, policy, x, &mut known).await?;
        if let (Policy::Jwt(_), Some(merge)) = (policy, views) {
            merge.note(x);
        }
    }
    Ok(known)
}

/// Asks one policy, again and again while it waits. `known` is the time as long as nothing was waited for.
async fn ask<R: Runtime>(
    way: &Way<'_, R>,
    policy: &Policy,
    x: &mut Exchange,
    known: &mut Option<Instant>,
) -> Result<(), Fault> {
    let core = way.core;
    loop {
        let now = known.unwrap_or_else(|| core.runtime.now());
        let wall = core.wall(now);
        let verdict = core.shard(|shard| {
            let env = &mut Env { now, wall, rng: &mut shard.rng, slots: &mut shard.slots };
            policy.on_request(x, env)
        });
        if verdict != Verdict::Continue {
            *known = None;
        }
        match verdict {
            Verdict::Continue => return Ok(()),
            Verdict::Refuse(fault) => return Err(fault),
            Verdict::AskService => return ask_service(way, policy, x).await,
            Verdict::AskStore => return ask_store(core, policy, x).await,
            Verdict::Queue => return Box::pin(queue(way, policy, x)).await,
            Verdict::Wait if now >= x.deadline => return Err(refusal(FaultKind::KeysUnavailable)),
            Verdict::Wait => Box::pin(way.pause()).await?,
        }
    }
}

/// Asks the service that decides.
async fn ask_service<R: Runtime>(
    way: &Way<'_, R>,
    policy: &Policy,
    x: &mut Exchange,
) -> Result<(), Fault> {
    let Policy::AuthRequest(service) = policy else { return Ok(()) };
    Box::pin(auth_request::ask(way, service, x)).await
}

/// Asks the store of the fleet's limits.
async fn ask_store<R: Runtime>(
    core: &Core<R>,
    policy: &Policy,
    x: &mut Exchange,
) -> Result<(), Fault> {
    match policy {
        Policy::ClientLimit(limits) | Policy::RateLimit(limits) => {
            Box::pin(store::ask(core, limits, x)).await
        }
        Policy::Jwt(bearer) => Box::pin(revoked::ask(core, bearer, x)).await,
        _ => Ok(()),
    }
}

/// Waits for a seat as long as the client does.
async fn queue<R: Runtime>(
    way: &Way<'_, R>,
    policy: &Policy,
    x: &mut Exchange,
) -> Result<(), Fault> {
    let Policy::Concurrency(limit) = policy else { return Ok(()) };
    let core = way.core;
    let key = limit.key_of(x)?;
    let begun = core.runtime.now();
    let seated = way.watch.over(pin!(seating::wait(core, limit, key, x.deadline))).await;
    x.queued = core.runtime.now().since(begun);
    match seated? {
        Ok(seat) => {
            limit.seat(x, seat, LimitSaid::Queued);
            Ok(())
        }
        Err(said) => Err(limit.refuse(x, said)),
    }
}

/// Sends a client on, whatever it asks for.
async fn send_to_https<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    incoming: &mut BodyReader<'_, R>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<Option<Lease<R>>, Fault> {
    settle(incoming, outgoing);
    let reply = to_https(x)?;
    answer::reply(core, x, &reply, outgoing).await;
    Ok(None)
}

/// The same address over `https`; the port of a listener without TLS is not that of one with it.
fn to_https(x: &Exchange) -> Result<Reply, Fault> {
    let raw = x.request().raw;
    let (host, target) = (x.head.host.of(raw), x.head.target);
    if host.is_empty() || !matches!(target.form, TargetForm::Origin | TargetForm::Absolute) {
        return Err(refusal(FaultKind::RouteMissing));
    }
    let path = if target.path.of(raw).is_empty() { b"/" } else { target.path.of(raw) };
    let mut fields = [b"location: https://", host, path].concat();
    if let Some(query) = x.request().query() {
        fields.push(b'?');
        fields.extend_from_slice(query);
    }
    fields.extend_from_slice(b"\r\n");
    Ok(Reply {
        status: Status(308),
        fields: ReplyText::Owned(fields),
        body: ReplyText::Static(""),
        content_type: "",
        close: false,
    })
}

fn redirection(to: &Redirect, x: &Exchange) -> Result<Reply, Fault> {
    let mut fields = b"location: ".to_vec();
    to.location(x, &mut fields).map_err(RenderError::fault)?;
    fields.extend_from_slice(b"\r\n");
    Ok(Reply {
        status: to.status,
        fields: ReplyText::Owned(fields),
        body: ReplyText::Static(""),
        content_type: "",
        close: false,
    })
}

pub(super) fn refusal(kind: FaultKind) -> Fault {
    Fault { kind, side: Side::Downstream, again: Again::Never }
}
