//! Where an attempt gets a stream to an origin that speaks HTTP/2: on a connection there is, or on one more.
//!
//! Over TLS the origin says which version it speaks (RFC 7301), without TLS the configuration does ("prior knowledge",
//! RFC 9113 §3.3). Never are two connections to one endpoint made at once by one core: who comes meanwhile waits, and
//! shares its fate. Nothing of a request is sent before the origin has said what it allows, so that all that fails here
//! may be tried again.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use crate::base::ids::EndpointId;
use crate::base::time::Instant;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::net::stream::Wire;
use crate::runtime::Runtime;
use crate::runtime::deadline::Slot;
use crate::serve::Core;
use crate::serve::attempt::{self, Asked, Wants};
use crate::serve::origin_h2::{self, Patience};
use crate::serve::origin_line::{Call, Line};
use crate::serve::origin_link::{Link, Over, Taken};
use crate::serve::origin_strand::ClientStrand;
use crate::serve::secure::{self, HTTP1, HTTP2};
use crate::serve::shard::{Connection, Origins};
use crate::upstream::{Speaks, Upstream};

/// Where an attempt goes.
pub enum Way<R: Runtime> {
    /// On a stream of its own, on a connection that was there before or not.
    Stream { connection: Connection<R>, reused: bool },
    /// On a connection of its own, in HTTP/1.1; perhaps on this one.
    Alone(Option<Wire<R::Stream>>),
}

/// The way to an endpoint of an upstream that may speak HTTP/2.
///
/// # Errors
/// There is no connection, or no place on one; nothing was sent.
pub async fn way<R: Runtime>(
    core: &Core<R>,
    upstream: &Upstream,
    origins: &Origins<R>,
    asked: &Asked,
    slot: &Slot,
    endpoint: EndpointId,
) -> Result<Way<R>, Fault> {
    let line = &origins.lines[endpoint.index()];
    let begun = core.runtime.now();
    let until = asked.deadline.min(begun + upstream.rules.connect_timeout);
    let dial = Dial { core, upstream, origins, asked, slot, endpoint, line, until };
    let mut was_called = false;
    loop {
        let now = core.runtime.now();
        if !asked.wants.may_share() || line.is_http1(now) {
            return Ok(Way::Alone(None));
        }
        if let Some(link) = line.find(now, upstream.rules.pool_age_max, was_called) {
            return Ok(dial.on(&link, true));
        }
        if let Some(dialling) = line.dial(now) {
            match dial.make().await {
                Ok(Made::Link(link)) => {
                    line.add(link.clone());
                    return Ok(dial.on(&link, false));
                }
                Ok(Made::Http1(stream)) => {
                    dialling.found_http1(core.runtime.now());
                    return Ok(Way::Alone(Some(stream)));
                }
                // Whose own time is over has proved nothing: somebody else may try.
                Err(fault) if fault.again == Again::Never => return Err(fault),
                Err(fault) => {
                    let others = dialling.failed(fault, core.runtime.now());
                    if !others {
                        return Err(fault);
                    }
                }
            }
        }
        was_called = match slot.within(until, line.wait()).await {
            Ok(Call::Look) => true,
            Ok(Call::Failed(fault)) => return Err(fault),
            Err(_) if line.is_dialling() => return Err(dial.too_late()),
            Err(_) => {
                let kind = FaultKind::ConnectionLimitReached;
                return Err(Fault { kind, side: Side::Gateway, again: Again::Never });
            }
        };
    }
}

/// What a connection that was made speaks.
enum Made<R: Runtime> {
    Link(Rc<Link>),
    Http1(Wire<R::Stream>),
}

/// What making a connection takes.
struct Dial<'a, R: Runtime> {
    core: &'a Core<R>,
    upstream: &'a Upstream,
    origins: &'a Origins<R>,
    asked: &'a Asked,
    slot: &'a Slot,
    endpoint: EndpointId,
    line: &'a Rc<Line>,
    until: Instant,
}

impl<R: Runtime> Dial<'_, R> {
    /// A stream on `link`, unless the request wants what the origin does not grant.
    fn on(&self, link: &Rc<Link>, reused: bool) -> Way<R> {
        if self.asked.wants == Wants::WebSocket && !link.takes_websockets() {
            return Way::Alone(None);
        }
        let taken = Taken::new(link.clone(), self.core.runtime.clone());
        let stream = Wire::strand(Rc::new(ClientStrand::new(taken)));
        let connection = Connection {
            stream,
            made_at: link.made_at(),
            client: None,
            is_bulky: Cell::new(false),
        };
        Way::Stream { connection, reused }
    }

    async fn make(&self) -> Result<Made<R>, Fault> {
        let Self { core, upstream, origins, asked, slot, endpoint, line, until } = *self;
        let stream = attempt::dial(core, upstream, origins, asked, slot, endpoint).await?;
        if origins.tls.is_some() {
            let offer = match upstream.rules.speaks {
                Speaks::Http2 => &[HTTP2][..],
                Speaks::Either | Speaks::Http1 => &[HTTP2, HTTP1],
            };
            let at = &upstream.endpoints[endpoint.index()];
            let proven = secure::origin(core, origins, at, &stream, offer, slot, until).await;
            proven.map_err(|unproven| unproven.note(core, upstream, at, asked))?;
            let agreed = secure::agreed_on_http2(&stream);
            if !agreed && upstream.rules.speaks == Speaks::Either {
                return Ok(Made::Http1(stream));
            }
            if !agreed {
                return Err(fault(FaultKind::TlsProtocolError));
            }
        }
        let rules = &upstream.rules;
        let patience = Patience { idle: rules.pool_idle_timeout, pause: rules.idle_timeout };
        let begun = core.own().and_then(|core| origin_h2::begin(core, stream, line, patience));
        let Some(link) = begun else {
            let kind = FaultKind::ConnectionLimitReached;
            return Err(Fault { kind, side: Side::Gateway, again: Again::Never });
        };
        let link = Unproven(Some(link));
        let established = poll_fn(|cx| link.link().poll_established(cx));
        match slot.within(until, established).await {
            Ok(Ok(())) => Ok(Made::Link(link.proven())),
            Ok(Err(Over::Malformed | Over::Flood)) => Err(fault(FaultKind::HttpProtocolError)),
            Ok(Err(Over::Closed | Over::Silent)) => Err(fault(FaultKind::ConnectionTerminated)),
            Err(_) => Err(self.too_late()),
        }
    }

    /// A deadline that was the exchange's own leaves no time for another try.
    fn too_late(&self) -> Fault {
        let own = self.until == self.asked.deadline;
        let again = if own { Again::Never } else { Again::Always };
        Fault { kind: FaultKind::ConnectionTimeout, side: Side::Upstream, again }
    }
}

fn fault(kind: FaultKind) -> Fault {
    Fault { kind, side: Side::Upstream, again: Again::Always }
}

/// A connection that has not begun; retired unless it does.
struct Unproven(Option<Rc<Link>>);

impl Unproven {
    fn link(&self) -> &Link {
        self.0.as_ref().expect("taken out by `proven` only, which consumes it")
    }

    fn proven(mut self) -> Rc<Link> {
        self.0.take().expect("taken out here only")
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.retire();
        }
    }
}
