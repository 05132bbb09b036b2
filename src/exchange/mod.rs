//! One request and its response, on the way through the house.
//!
//! The `Exchange` is what the porter (`serve/exchange.rs`) carries from room to room. It never performs
//! I/O, and it is reused by its connection, so that beginning one allocates nothing.

pub mod attempt;
pub mod cached;
pub mod client;
pub mod client_cert;
pub mod fault;
pub mod grpc;
pub mod identity;
pub mod marks;
pub mod params;
pub mod part;
pub mod reply;
pub mod template;
pub mod timeline;

use std::rc::Rc;
use std::time::Duration;

use crate::base::buffer::Buf;
use crate::base::ids::RouteId;
use crate::base::limits::ATTEMPTS_RECORDED_MAX;
use crate::base::name::Name;
use crate::base::seats::Seat;
use crate::base::time::{Instant, Wall};
use crate::exchange::attempt::Attempt;
use crate::exchange::cached::Cached;
use crate::exchange::client::Client;
use crate::exchange::client_cert::Proof;
use crate::exchange::fault::{Fault, Side};
use crate::exchange::grpc::Grpc;
use crate::exchange::identity::Identity;
use crate::exchange::marks::LimitMarks;
use crate::exchange::params::Params;
use crate::exchange::part::{PartCached, PartFailure};
use crate::exchange::reply::ReplyFields;
use crate::exchange::timeline::Timeline;
use crate::http::Status;
use crate::http::head::{Request, RequestHead};

/// One request and its response. The bytes of the head stay in `bytes` until the exchange ends.
pub struct Exchange {
    /// The request id: accepted from the client or made by us; printable ASCII.
    pub id: RequestId,
    /// W3C trace context of this hop (<https://www.w3.org/TR/trace-context/>).
    pub trace: TraceContext,
    /// Who is asking.
    pub client: Client,
    /// What its connection proved by a handshake that asked for it; an identity only where a policy asks for that.
    pub proof: Option<Rc<Proof>>,
    /// The head, as received; spans into `bytes`.
    pub head: RequestHead,
    /// The head's bytes, and behind them what of the body arrived with it.
    pub bytes: Option<Buf>,
    /// The head's bytes by themselves, once the buffer is needed elsewhere (see `keep_head`).
    pub kept_head: Box<[u8]>,
    /// The route, once found.
    pub route: Option<RouteId>,
    /// Which view of a merge the client gets; `None`: the whole answer.
    pub view: Option<ViewChosen>,
    /// Captured path parameters.
    pub params: Params,
    /// What authentication proved; set only by a policy that proved it.
    pub identity: Option<Identity>,
    /// Fields that policies add to whatever response is sent (RateLimit and its kin).
    pub reply_fields: ReplyFields,
    /// Complete lines that the route gives to every answer (CORS, edits); at most `EDITED_LINES_BYTES_MAX` and
    /// what a preflight takes.
    pub answer_lines: Vec<u8>,
    /// The same for the request that is sent on.
    pub request_lines: Vec<u8>,
    /// What is special about a call of gRPC.
    pub grpc: Grpc,
    /// When the exchange as a whole must be over.
    pub deadline: Instant,
    /// Moments of the stages reached.
    pub timeline: Timeline,
    /// The wall clock when the request began.
    pub began: Wall,
    /// What went wrong, if anything did.
    pub fault: Option<Fault>,
    /// Why it was refused, in one word of a closed set, for the log: by a policy, or because of its head or
    /// path; empty when it was not.
    pub reason: &'static str,
    /// What the limits of the route said.
    pub limits: LimitMarks,
    /// Its seat, where the route bounds who may be there at once.
    pub seat: Option<Seat>,
    /// How long it waited for that.
    pub queued: Duration,
    /// What the connection became, if HTTP was left.
    pub tunnel: Option<Tunnel>,
    /// Every attempt at an origin, in order of beginning; at most `ATTEMPTS_RECORDED_MAX`.
    pub attempts: Vec<Attempt>,
    /// Parts of a merge that failed, in plan order; at most `PARTS_MAX`.
    pub parts_failed: Vec<PartFailure>,
    /// What the store of answers did for parts, in plan order; at most `PARTS_MAX`.
    pub parts_cached: Vec<PartCached>,
    /// How the response cache treated it, where the route has one.
    pub cached: Option<Cached>,
    /// The status sent to the client, once sent.
    pub status: Option<Status>,
    /// Bytes of the request read from the client, head included.
    pub bytes_in: u64,
    /// Bytes of the response written to the client, head included.
    pub bytes_out: u64,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            id: RequestId::EMPTY,
            trace: TraceContext::default(),
            client: Client::default(),
            proof: None,
            head: RequestHead::default(),
            bytes: None,
            kept_head: Box::default(),
            route: None,
            view: None,
            params: Params::default(),
            identity: None,
            reply_fields: ReplyFields::default(),
            answer_lines: Vec::new(),
            request_lines: Vec::new(),
            grpc: Grpc::default(),
            deadline: Instant::NEVER,
            timeline: Timeline::default(),
            began: Wall::default(),
            fault: None,
            reason: "",
            limits: LimitMarks::default(),
            seat: None,
            queued: Duration::ZERO,
            tunnel: None,
            attempts: Vec::with_capacity(4),
            parts_failed: Vec::new(),
            parts_cached: Vec::new(),
            cached: None,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }
}

impl Exchange {
    /// Forgets everything and keeps the room: the next exchange begins like a new one.
    pub fn clear(&mut self) {
        self.id = RequestId::EMPTY;
        self.trace = TraceContext::default();
        self.client = Client::default();
        self.proof = None;
        self.head.clear();
        self.bytes = None;
        self.route = None;
        self.view = None;
        self.params.clear();
        self.identity = None;
        self.reply_fields.clear();
        self.answer_lines.clear();
        self.request_lines.clear();
        self.grpc = Grpc::default();
        self.deadline = Instant::NEVER;
        self.timeline = Timeline::default();
        self.began = Wall::default();
        self.fault = None;
        self.reason = "";
        self.limits.clear();
        self.seat = None;
        self.queued = Duration::ZERO;
        self.tunnel = None;
        self.kept_head = Box::default();
        self.attempts.clear();
        self.parts_failed.clear();
        self.parts_cached.clear();
        self.cached = None;
        self.status = None;
        self.bytes_in = 0;
        self.bytes_out = 0;
    }

    /// Keeps the record of an attempt; beyond the bound it is left out.
    pub fn record(&mut self, attempt: Attempt) {
        if self.attempts.len() < ATTEMPTS_RECORDED_MAX {
            self.attempts.push(attempt);
        }
    }

    /// Copies the head's bytes out of their buffer and gives the buffer away: an exchange that goes on for
    /// hours keeps what the log will say of it, and no more.
    pub fn keep_head(&mut self) -> Option<Buf> {
        let bytes = self.bytes.take()?;
        let length = (self.head.bytes as usize).min(bytes.len());
        self.kept_head = bytes.data()[..length].into();
        Some(bytes)
    }

    /// The request: its head and bytes.
    pub fn request(&self) -> Request<'_> {
        let raw = self.bytes.as_ref().map_or(&*self.kept_head, Buf::data);
        Request { head: &self.head, raw }
    }
}

/// The view that a merge has for its client.
#[derive(Clone, Debug)]
pub struct ViewChosen {
    /// By its place in the route.
    pub index: u16,
    /// As it is written.
    pub name: Name,
}

/// What a connection became after HTTP was left, for the log.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// The protocol that was switched to; `None` after CONNECT.
    pub protocol: Option<Name>,
    /// Who ended it.
    pub closed_by: Side,
}

/// A request id in place: at most 64 printable ASCII bytes.
#[derive(Clone, Copy)]
pub struct RequestId {
    text: [u8; Self::BYTES_MAX],
    len: u8,
}

impl RequestId {
    /// Longest id accepted from a client. Unit: bytes.
    pub const BYTES_MAX: usize = 64;

    /// The empty id, before one is accepted or made.
    pub const EMPTY: RequestId = RequestId { text: [0; Self::BYTES_MAX], len: 0 };

    /// An id from bytes; `None` when empty, too long or not made of `[A-Za-z0-9._:/+=-]`.
    pub fn accept(bytes: &[u8]) -> Option<Self> {
        let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(byte);
        if bytes.is_empty() || bytes.len() > Self::BYTES_MAX || !bytes.iter().all(fine) {
            return None;
        }
        let mut text = [0; Self::BYTES_MAX];
        text[..bytes.len()].copy_from_slice(bytes);
        Some(Self { text, len: bytes.len() as u8 })
    }

    /// An id of our own, made of hexadecimal digits.
    pub fn of_digits(digits: [u8; 32]) -> Self {
        let mut text = [0; Self::BYTES_MAX];
        text[..digits.len()].copy_from_slice(&digits);
        Self { text, len: digits.len() as u8 }
    }

    /// The id's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len as usize]
    }
}

/// W3C trace context: the trace, our own span in it, and the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TraceContext {
    /// Trace id; never zero once begun.
    pub trace_id: u128,
    /// The span id that we send on as parent.
    pub span_id: u64,
    /// The client's span id, zero when we began the trace.
    pub parent_id: u64,
    /// trace-flags; bit 0 is `sampled`.
    pub flags: u8,
}
