//! What of a request stands in the access log, in which form, and which requests do: compiled.
//!
//! Nothing of a header or of a query is written unless it is named here; `hash` writes a keyed hash, by which two
//! equal values can be told to be equal and nobody can go back to them (HMAC-SHA-256, RFC 2104, its first 64 bits).
//! A line never holds a value that its rule drops, whatever the format says. The default (no rules) is the whole
//! JSON line without headers and query.

use aws_lc_rs::hmac;

use crate::base::ids::RouteId;
use crate::base::limits::{LOG_HEADER_BYTES_MAX, LOG_HOST_BYTES_MAX, LOG_TARGET_BYTES_MAX};
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::http::withheld::is_named;
use crate::observe::line::Line;
use crate::observe::log_identity::Who;
use crate::observe::metrics::{Spent, outcome};
use crate::observe::plan::RecordPlan;

/// The rules of the log.
#[derive(Debug)]
pub struct LogRules {
    /// How a line looks.
    pub format: Format,
    /// Request fields that are written, in lower case.
    pub headers: Box<[(Box<str>, Keep)]>,
    /// Query keys, and what becomes of them.
    pub query: Box<[(Box<str>, Keep)]>,
    /// What becomes of the query keys that are not named.
    pub query_others: Keep,
    /// What becomes of the names of users, subjects and owners.
    pub identity: Keep,
    /// The key of hashes.
    pub hash_key: Option<HashKey>,
    /// How many of a million requests are written; failed ones always are.
    pub millionths: u32,
    /// Statuses that are written, as ranges; empty: all.
    pub statuses: Box<[(u16, u16)]>,
    /// Routes whose requests are written; empty: all.
    pub routes: Box<[RouteId]>,
    /// Only requests that took as long are written. Unit: microseconds.
    pub slower_than_micros: u64,
}

/// A key without `Debug`'s curiosity.
pub struct HashKey(hmac::Key);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl HashKey {
    /// The key made of a secret.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is written.
    Keep,
    /// It is not.
    Drop,
    /// Its keyed hash is.
    Hash,
}

/// How a line looks.
#[derive(Debug)]
pub enum Format {
    /// One JSON object.
    Json,
    /// The Combined Log Format of Apache and nginx.
    Combined,
    /// A text with fields in it.
    Template(Box<[Piece]>),
}

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(Box<[u8]>),
    /// A field of the line.
    Field(TextField),
    /// A request field.
    Header(Box<str>),
}

/// Fields of a text line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the field of that name in the JSON line")]
pub enum TextField {
    Time,
    RequestId,
    TraceId,
    Route,
    Client,
    Peer,
    Method,
    Host,
    Path,
    Query,
    Protocol,
    Status,
    Fault,
    Reason,
    BytesIn,
    BytesOut,
    DurationMs,
    Upstream,
    Address,
    Identity,
    User,
    Subject,
    KeyOwner,
    ClientCert,
}

impl TextField {
    /// Every field, with its name in templates.
    pub const ALL: &'static [(&'static str, TextField)] = &[
        ("time", Self::Time),
        ("request_id", Self::RequestId),
        ("trace_id", Self::TraceId),
        ("route", Self::Route),
        ("client", Self::Client),
        ("peer", Self::Peer),
        ("method", Self::Method),
        ("host", Self::Host),
        ("path", Self::Path),
        ("query", Self::Query),
        ("protocol", Self::Protocol),
        ("status", Self::Status),
        ("fault", Self::Fault),
        ("reason", Self::Reason),
        ("bytes_in", Self::BytesIn),
        ("bytes_out", Self::BytesOut),
        ("duration_ms", Self::DurationMs),
        ("upstream", Self::Upstream),
        ("address", Self::Address),
        ("identity", Self::Identity),
        ("user", Self::User),
        ("subject", Self::Subject),
        ("key_owner", Self::KeyOwner),
        ("client_cert", Self::ClientCert),
    ];
}

impl LogRules {
    /// Whether an exchange has a line at all.
    pub fn wants(&self, x: &Exchange, now: Instant) -> bool {
        let status = outcome(x).map_or(0, |status| status.0);
        // What ended in a fault behind its head is looked for by the status that the fault stands for, too.
        let stands_for = x.fault.map_or(status, |fault| fault.kind.status().0);
        let within = |(low, high): &(u16, u16)| {
            (*low..=*high).contains(&status) || (*low..=*high).contains(&stands_for)
        };
        if !self.statuses.is_empty() && !self.statuses.iter().any(within) {
            return false;
        }
        if !self.routes.is_empty() && !x.route.is_some_and(|id| self.routes.contains(&id)) {
            return false;
        }
        if self.slower_than_micros > 0
            && now.since(x.timeline.begun).as_micros() < u128::from(self.slower_than_micros)
        {
            return false;
        }
        // Our own span id is drawn by us: nobody can choose not to be written down.
        let drawn = x.trace.span_id % 1_000_000 < u64::from(self.millionths);
        drawn || status >= 500 || x.fault.is_some()
    }

    /// The request fields that are written, in JSON.
    pub(crate) fn write_headers(&self, line: &mut Line<'_>, x: &Exchange) {
        let mut begun = false;
        for (name, keep) in &self.headers {
            let Some(value) = x.request().field_named(name.as_bytes()) else { continue };
            if *keep == Keep::Drop {
                continue;
            }
            if !begun {
                line.name(crate::observe::names::field::HEADERS);
                line.put(b"{");
                begun = true;
            }
            match self.hashed(*keep, value) {
                Some(hash) => line.plain(name, &hash),
                None => drop(line.outside(name, value, LOG_HEADER_BYTES_MAX)),
            }
        }
        if begun {
            line.put(b"}");
        }
    }

    /// Whether anything of queries is written.
    pub(crate) fn has_query(&self) -> bool {
        self.query_others != Keep::Drop || self.query.iter().any(|(_, keep)| *keep != Keep::Drop)
    }

    /// The pairs of the query that are written, one by one; `put` gets pieces of text from outside.
    pub(crate) fn query_pieces(&self, query: &[u8], mut put: impl FnMut(&[u8])) {
        let mut first = true;
        for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let equals = memchr::memchr(b'=', pair);
            let (name, value) =
                equals.map_or((pair, None), |at| (&pair[..at], Some(&pair[at + 1..])));
            let known = self.query.iter().find(|(known, _)| is_named(pair, known.as_bytes()));
            let keep = known.map_or(self.query_others, |(_, keep)| *keep);
            if keep == Keep::Drop {
                continue;
            }
            if !first {
                put(b"&");
            }
            first = false;
            put(name);
            let Some(value) = value else { continue };
            put(b"=");
            match self.hashed(keep, value) {
                Some(hash) => put(&hash),
                None => put(value),
            }
        }
    }

    /// The keyed hash of a value, in hexadecimal digits; without a key nothing that could be undone.
    pub(crate) fn hashed(&self, keep: Keep, value: &[u8]) -> Option<[u8; 16]> {
        if keep != Keep::Hash {
            return None;
        }
        let mut text = [b'-'; 16];
        if let Some(HashKey(key)) = &self.hash_key {
            let tag = hmac::sign(key, value);
            let bytes = tag.as_ref().first_chunk::<8>().copied().unwrap_or_default();
            crate::observe::line::write_hex(u128::from(u64::from_be_bytes(bytes)), &mut text);
        }
        Some(text)
    }

    /// Writes a line of text; its length, or `None` when it does not fit or the format is JSON.
    pub(crate) fn write_text(
        &self,
        room: &mut [u8],
        x: &Exchange,
        plan: &RecordPlan,
        now: Instant,
    ) -> Option<usize> {
        let mut line = Line::new(room);
        match &self.format {
            Format::Json => return None,
            Format::Combined => self.write_combined(&mut line, x, plan, now),
            Format::Template(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => line.put(text),
                        Piece::Field(field) => self.write_field(&mut line, *field, x, plan, now),
                        Piece::Header(name) => self.write_header(&mut line, name, x),
                    }
                }
            }
        }
        line.put(b"\n");
        line.finish()
    }

    /// `client - user [time] "GET /path?query HTTP/1.1" status bytes "referer" "user-agent"`.
    fn write_combined(&self, line: &mut Line<'_>, x: &Exchange, plan: &RecordPlan, now: Instant) {
        self.write_field(line, TextField::Client, x, plan, now);
        line.put(b" - ");
        self.write_who(line, x, None);
        line.put(b" [");
        line.common_moment(x.began);
        line.put(b"] \"");
        self.write_field(line, TextField::Method, x, plan, now);
        line.put(b" ");
        line.text(x.request().path(), LOG_TARGET_BYTES_MAX);
        if self.has_query() && x.request().query().is_some() {
            line.put(b"?");
            self.write_field(line, TextField::Query, x, plan, now);
        }
        line.put(b" ");
        self.write_field(line, TextField::Protocol, x, plan, now);
        line.put(b"\" ");
        self.write_field(line, TextField::Status, x, plan, now);
        line.put(b" ");
        self.write_field(line, TextField::BytesOut, x, plan, now);
        for name in ["referer", "user-agent"] {
            line.put(b" \"");
            self.write_header(line, name, x);
            line.put(b"\"");
        }
    }

    /// A request field as its rule says; one that a format names and no rule does is kept.
    fn write_header(&self, line: &mut Line<'_>, name: &str, x: &Exchange) {
        let rule = self.headers.iter().find(|(known, _)| **known == *name);
        let keep = rule.map_or(Keep::Keep, |(_, keep)| *keep);
        match x.request().field_named(name.as_bytes()).filter(|_| keep != Keep::Drop) {
            None => line.put(b"-"),
            Some(value) => match self.hashed(keep, value) {
                Some(hash) => line.put(&hash),
                None if rule.is_none() && name == "referer" => self.write_referer(line, value),
                None => line.text(value, LOG_HEADER_BYTES_MAX),
            },
        }
    }

    /// The address of the page before: its query may hold what a query must not show, and is treated alike.
    fn write_referer(&self, line: &mut Line<'_>, value: &[u8]) {
        let question = memchr::memchr(b'?', value);
        let (page, query) =
            question.map_or((value, None), |at| (&value[..at], Some(&value[at + 1..])));
        line.text(page, LOG_HEADER_BYTES_MAX);
        if let Some(query) = query.filter(|_| self.has_query()) {
            line.put(b"?");
            self.query_pieces(query, |p| line.text_or_nothing(p, LOG_TARGET_BYTES_MAX));
        }
    }

    fn write_field(
        &self,
        line: &mut Line<'_>,
        field: TextField,
        x: &Exchange,
        plan: &RecordPlan,
        now: Instant,
    ) {
        let request = x.request();
        match field {
            TextField::Time => line.bare_moment(x.began),
            TextField::RequestId => line.text(x.id.as_bytes(), LOG_HOST_BYTES_MAX),
            TextField::TraceId => line.bare_hex(x.trace.trace_id),
            TextField::Route => {
                line.text(x.route.map_or(b"", |id| plan.route_json(id)), LOG_TARGET_BYTES_MAX);
            }
            TextField::Client => line.bare_address(x.client.address, None),
            TextField::Peer => line.bare_address(x.client.peer, None),
            TextField::Method => line.text(request.method_text(), LOG_HOST_BYTES_MAX),
            TextField::Host => line.text(request.authority(), LOG_HOST_BYTES_MAX),
            TextField::Path => line.text(request.path(), LOG_TARGET_BYTES_MAX),
            TextField::Protocol => line.put(x.head.version.text().as_bytes()),
            TextField::Query => match request.query().filter(|_| self.has_query()) {
                Some(query) => {
                    self.query_pieces(query, |p| line.text_or_nothing(p, LOG_TARGET_BYTES_MAX))
                }
                None => line.put(b"-"),
            },
            TextField::Status => {
                line.bare_number(outcome(x).map_or(0, |status| u64::from(status.0)))
            }
            TextField::Fault => line.text(x.fault.map_or("", |f| f.kind.name()).as_bytes(), 64),
            TextField::Reason => line.text(x.reason.as_bytes(), 64),
            TextField::BytesIn => line.bare_number(x.bytes_in),
            TextField::BytesOut => line.bare_number(x.bytes_out),
            TextField::DurationMs => line.millis_value(Spent::of(x, now).total),
            TextField::Upstream => {
                let last = x.attempts.last().filter(|attempt| attempt.part.is_none());
                let name = last.map_or(&b""[..], |attempt| plan.upstream_json(attempt.upstream));
                line.text(name, LOG_TARGET_BYTES_MAX);
            }
            TextField::Address => {
                let last = x.attempts.last().filter(|attempt| attempt.part.is_none());
                match last.and_then(|attempt| attempt.address) {
                    Some(address) => line.bare_address(address.ip(), Some(address.port())),
                    None => line.put(b"-"),
                }
            }
            TextField::Identity => self.write_who(line, x, None),
            TextField::User => self.write_who(line, x, Some(Who::User)),
            TextField::Subject => self.write_who(line, x, Some(Who::Subject)),
            TextField::KeyOwner => self.write_who(line, x, Some(Who::KeyOwner)),
            TextField::ClientCert => self.write_who(line, x, Some(Who::ClientCert)),
        }
    }
}
