//! Handshakes: with a client before its first request, with an origin before its first exchange.
//!
//! A handshake never runs longer than its listener says, and never more than `TLS_HANDSHAKES_MAX` at once on a
//! core: who comes then is closed at once, which costs less than being slow to everybody. A connection that
//! sends nothing has no handshake and counts as idle. Who speaks HTTP without TLS gets an answer that says so, as
//! with nginx. What was agreed on is decided by the version of the gateway that is in force when the handshake
//! begins; a reload ends none.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{CommonState, Error};

use crate::base::buffer::Buf;
use crate::base::limits::{BUFFER_BYTES, TLS_HANDSHAKES_MAX, TLS_UNFINISHED_BYTES_MAX};
use crate::base::time::Instant;
use crate::exchange::client_cert::{ClientCert, Proof};
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::net::stream::{Unsecured, Wire};
use crate::net::tls::{Pools, Session};
use crate::observe::metrics::Handshake;
use crate::runtime::deadline::Slot;
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;
use crate::serve::connection::{Downstream, Waited};
use crate::serve::h1::{self, After};
use crate::serve::proxy_header;
use crate::serve::shard::Origins;
use crate::serve::unproven::{self, Unproven};
use crate::tls::certificate;
use crate::tls::challenge::PROTOCOL;
use crate::tls::server::{Greeting, Hello, ServerTls};
use crate::upstream::Endpoint;

/// The first byte of a handshake: a record of that type (RFC 8446 §5.1). No request begins with it.
pub const HANDSHAKE: u8 = 22;

/// What became of a connection that is to be secured.
pub enum Secured {
    /// It speaks TLS.
    Yes,
    /// Its client speaks something else, and these bytes came.
    Plain(Buf),
    /// It is closed.
    Close,
}

/// Whether a client's connection is to be secured before anything else.
pub fn is_due<R: Runtime>(core: &Core<R>, connection: &Downstream<R>) -> bool {
    let installed = core.installed();
    connection.listener(&installed).is_some_and(|listener| listener.tls.is_some())
}

/// Whether HTTP/2 was agreed on in the handshake (RFC 9113 §3.2).
pub fn speaks_http2<R: Runtime>(connection: &Downstream<R>) -> bool {
    agreed_on_http2(&connection.stream)
}

/// Makes the handshake with a client, behind its PROXY header if one is due.
pub async fn client<R: Runtime>(
    core: &Core<R>,
    connection: &Downstream<R>,
    slot: &Slot,
) -> Secured {
    let Some(first) = first_bytes(core, connection, slot).await else { return Secured::Close };
    if first.data().first() != Some(&HANDSHAKE) {
        core.metrics.handshake(Handshake::PlainHttp);
        return Secured::Plain(first);
    }
    let Some(under_way) = UnderWay::new(&core.handshakes) else {
        core.metrics.handshake(Handshake::Shed);
        connection.stream.reset_on_close();
        return Secured::Close;
    };
    let Some((tls, timeout)) = rules(core, connection) else { return Secured::Close };
    let until = core.runtime.now() + timeout;
    let outcome = match slot.within(until, shake_hands(core, connection, &tls, first)).await {
        Ok(Ok(())) => {
            let resumed = connection.stream.session().is_some_and(Session::was_resumed);
            core.metrics.handshake(if resumed { Handshake::Resumed } else { Handshake::Full });
            if was_challenge(connection) {
                h1::linger(core, connection, slot).await;
                return Secured::Close;
            }
            return Secured::Yes;
        }
        Ok(Err(Unsecured::Gone)) => Handshake::Gone,
        Ok(Err(Unsecured::Short)) => Handshake::Shed,
        Ok(Err(Unsecured::Refused(_))) => Handshake::Refused,
        Err(_) => Handshake::Timeout,
    };
    let was_told = matches!(outcome, Handshake::Refused);
    core.metrics.handshake(outcome);
    drop(under_way);
    if was_told {
        // A client that speaks first (RFC 9113 §3.4) has sent more than was read: a reset would take the alert from it.
        h1::linger(core, connection, slot).await;
    }
    Secured::Close
}

/// The rules in force for a handshake that begins, and how long it may take.
fn rules<R: Runtime>(core: &Core<R>, connection: &Downstream<R>) -> Option<(ServerTls, Duration)> {
    let installed = core.installed();
    let listener = connection.listener(&installed)?;
    Some((listener.tls.clone()?, listener.handshake_timeout))
}

async fn shake_hands<R: Runtime>(
    core: &Core<R>,
    connection: &Downstream<R>,
    tls: &ServerTls,
    first: Buf,
) -> Result<(), Unsecured> {
    let challenges = core.installed().gateway.challenges.clone();
    let challenges = challenges.filter(|challenges| challenges.may_come_by_tls());
    let (hello, first) = match tls.needs_name() || challenges.is_some() {
        true => Box::pin(read_hello(core, connection, first)).await?,
        false => (Hello::default(), first),
    };
    if let Some(challenges) = challenges.filter(|_| hello.is_challenge) {
        let Some(session) = challenges.begin(&hello.name) else { return Err(Unsecured::Gone) };
        let session = Session::server(session, pools(core));
        session.feed(first);
        return connection.stream.secure(session).await;
    }
    let Some((session, scope)) = tls.begin(&hello.name) else { return Err(Unsecured::Gone) };
    let session = Session::server(session, pools(core));
    session.feed(first);
    connection.stream.secure(session).await?;
    if tls.asks_clients {
        let session = connection.stream.session();
        let cert = session.and_then(|session| session.agreed(proven));
        let proof = Proof { cert: cert.map(Rc::new), scope: scope.0 };
        // A handshake is made once.
        let _ = connection.proof.set(Rc::new(proof));
    }
    Ok(())
}

/// Whether the handshake was an authority's, which wanted to see its certificate and nothing else (RFC 8737 §3).
fn was_challenge<R: Runtime>(connection: &Downstream<R>) -> bool {
    let session = connection.stream.session();
    session.is_some_and(|session| session.agreed(|tls| tls.alpn_protocol() == Some(PROTOCOL)))
}

/// Reads a client's greeting until it says for whom it is; gives it back as it came.
async fn read_hello<R: Runtime>(
    core: &Core<R>,
    connection: &Downstream<R>,
    first: Buf,
) -> Result<(Hello, Buf), Unsecured> {
    let mut greeting = Greeting::default();
    let mut whole = first;
    let mut seen = 0;
    loop {
        if let Some(hello) = greeting.hello(&whole.data()[seen..]) {
            return Ok((hello, whole));
        }
        seen = whole.len();
        // Room in front for what is here already, as a session has it.
        let pool = if seen * 2 < BUFFER_BYTES { &core.buffers } else { &core.bulk };
        let mut buf = pool.take().ok_or(Unsecured::Short)?;
        buf.clear();
        if seen > TLS_UNFINISHED_BYTES_MAX || !buf.put(whole.data()) {
            return Err(Unsecured::Gone);
        }
        let room = buf.spare();
        match connection.stream.read(buf, room).await {
            (Ok(0) | Err(_), _) => return Err(Unsecured::Gone),
            (Ok(_), buf) => whole = buf,
        }
    }
}

/// The certificate that a client proved, as policies and templates see it.
fn proven(session: &CommonState) -> Option<ClientCert> {
    let der = session.peer_certificates()?.first()?;
    let facts = certificate::read(der)?;
    let of_kind = |kind: &str| {
        let names = facts.alternatives.iter().filter_map(|name| name.strip_prefix(kind));
        names.map(Box::from).collect::<Box<[Box<str>]>>()
    };
    Some(ClientCert {
        subject: facts.subject.as_str().into(),
        issuer: facts.issuer.as_str().into(),
        serial: facts.serial.as_str().into(),
        fingerprint: certificate::hex(&facts.sha256).into(),
        dns: facts.names.iter().map(|name| name.as_str().into()).collect(),
        uri: of_kind("URI:"),
        email: of_kind("email:"),
        encoded: format!(":{}:", STANDARD.encode(der)).into(),
        not_after: facts.not_after,
    })
}

/// The first bytes that a client sends, behind its PROXY header; `None` when it is to be closed.
async fn first_bytes<R: Runtime>(
    core: &Core<R>,
    connection: &Downstream<R>,
    slot: &Slot,
) -> Option<Buf> {
    let until = {
        let installed = core.installed();
        core.runtime.now() + connection.listener(&installed)?.idle_timeout
    };
    if connection.idle(core, slot, until).await != Waited::Readable {
        return None;
    }
    match proxy_header::read(core, connection, slot).await {
        Ok(Some(behind)) => return Some(behind),
        Ok(None) => {}
        Err(After::Idle) if connection.idle(core, slot, until).await == Waited::Readable => {}
        Err(_) => return None,
    }
    let buf = core.buffer().ok()?;
    let room = buf.spare();
    match slot.within(until, connection.stream.read(buf, room)).await {
        Ok((Ok(1..), buf)) => Some(buf),
        _ => None,
    }
}

/// A protocol that is spoken behind TLS (RFC 7301 §6).
pub const HTTP1: &[u8] = b"http/1.1";
/// The other one (RFC 9113 §3.2).
pub const HTTP2: &[u8] = b"h2";

/// Whether an origin chose HTTP/2 in the handshake.
pub fn agreed_on_http2<S: Stream>(stream: &Wire<S>) -> bool {
    let session = stream.session();
    session.is_some_and(|session| session.agreed(|tls| tls.alpn_protocol() == Some(HTTP2)))
}

/// Makes the handshake with an origin, if it speaks TLS, to whom `offer` is offered.
///
/// # Errors
/// It does not, is not who it should be, or took too long; nothing of a request was sent.
pub async fn origin<R: Runtime>(
    core: &Core<R>,
    origins: &Origins<R>,
    endpoint: &Endpoint,
    stream: &Wire<R::Stream>,
    offer: &[&[u8]],
    slot: &Slot,
    until: Instant,
) -> Result<(), Unproven> {
    let Some(tls) = &origins.tls else { return Ok(()) };
    let fault = |kind| Unproven::from(Fault { kind, side: Side::Upstream, again: Again::Always });
    let address = endpoint.address.tcp().map(|address| address.ip());
    let Some(session) = tls.begin(address, offer) else {
        return Err(fault(FaultKind::TlsProtocolError));
    };
    let session = Session::client(session, pools(core));
    match slot.within(until, stream.secure(session)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Unsecured::Gone)) => Err(fault(FaultKind::ConnectionTerminated)),
        Ok(Err(Unsecured::Short)) => {
            let kind = FaultKind::ConnectionLimitReached;
            Err(Fault { kind, side: Side::Gateway, again: Again::Never }.into())
        }
        Ok(Err(Unsecured::Refused(error))) => {
            Err(Unproven { why: unproven::word(&error), ..fault(kind_of(&error)) })
        }
        Err(_) => Err(fault(FaultKind::ConnectionTimeout)),
    }
}

fn kind_of(error: &Error) -> FaultKind {
    match error {
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => {
            FaultKind::TlsCertificateError
        }
        Error::AlertReceived(_) => FaultKind::TlsAlertReceived,
        _ => FaultKind::TlsProtocolError,
    }
}

fn pools<R: Runtime>(core: &Core<R>) -> Pools {
    Pools { buffers: core.buffers.clone(), bulk: core.bulk.clone() }
}

/// A handshake with a client, counted as long as it lasts.
struct UnderWay<'a>(&'a Cell<usize>);

impl<'a> UnderWay<'a> {
    /// `None` when there are too many.
    fn new(count: &'a Cell<usize>) -> Option<Self> {
        (count.get() < TLS_HANDSHAKES_MAX).then(|| {
            count.set(count.get() + 1);
            Self(count)
        })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
