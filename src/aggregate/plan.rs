//! What a `merge` was compiled to: its parts in the order of the answer's keys.
//!
//! A plan is immutable and shared by all exchanges of a core; it never holds a value of any of them. All
//! text that does not depend on the request is written once, when the plan is made: keys with their
//! punctuation, the names that `gateway-partial` uses, constant request fields.

use std::time::Duration;

use serde_json::Value;

use crate::aggregate::cache::{self, CacheRule};
use crate::aggregate::each::{Each, Failures};
use crate::aggregate::embed::Embed;
use crate::aggregate::json::{self, Path, Tokens};
use crate::aggregate::partial::{self, PartFault};
use crate::aggregate::reference::{PartSet, Reference};
use crate::aggregate::request;
use crate::aggregate::select::Selection;
use crate::base::ids::UpstreamId;
use crate::base::limits::{PART_BYTES_MAX, PARTS_MAX};
use crate::base::name::Name;
use crate::base::span::Span;
use crate::exchange::template::Template;
use crate::http::withheld::Withheld;
use crate::http::{Method, Status};

/// How one request becomes several and several answers become one.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of the answer's keys; 1 to `PARTS_MAX`.
    pub parts: Box<[Part]>,
    /// What of the client's request goes to every part.
    pub pass: Pass,
    /// Whether answers get an entity tag, and conditions on it are honoured.
    pub etag: bool,
    /// Whether answers go out while optional parts are still asked.
    pub stream: bool,
    /// Whether answers tell how long each part took.
    pub server_timing: bool,
    /// The parts that wait for others.
    waiting: PartSet,
    /// The parts that others refer to.
    referred: PartSet,
    /// The parts whose answers stand in others.
    embedded: PartSet,
}

/// What of the client's request goes inward: nothing that is not named (CONFIG.md rule 8).
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Field names; compared without case. Those of [`request::RESERVED`] are ignored.
    pub headers: Box<[Box<str>]>,
    /// Names of query parameters, decoded.
    pub query: Box<[Box<str>]>,
    /// What of its cookies goes to nobody, even where `cookie` is named.
    pub withheld: Withheld,
}

/// One call, and what becomes of its answer.
#[derive(Clone, Debug)]
pub struct Part {
    /// The key in the answer.
    pub name: Name,
    /// The upstream asked.
    pub upstream: UpstreamId,
    /// The call's method: GET, POST, PUT or PATCH.
    pub method: Method,
    /// Its target.
    pub target: Template,
    /// Fields sent with it. Those of [`request::RESERVED`] are ignored.
    pub headers: Box<[(Box<str>, Template)]>,
    /// The JSON sent with it.
    pub body: Option<Template>,
    /// Whether it is called once for each element of another part.
    pub each: Option<Each>,
    /// Whether the client's body is sent with it, as it came; `body` is `None` then.
    pub client_body: bool,
    /// Whether a problem document (RFC 9457) with a 4xx is the answer's, if the part is required.
    pub problem_passed: bool,
    /// What its templates take from other parts' answers, by slot.
    pub references: Box<[Reference]>,
    /// How long it may take, inside of the route's own deadline.
    pub timeout: Duration,
    /// Largest body of its answer. Unit: bytes. Default: `PART_BYTES_MAX`.
    pub bytes_max: u32,
    /// What stands in when it fails, as JSON (`else`); `None`: the part is required.
    pub otherwise: Option<Box<[u8]>>,
    /// The value that is taken from its answer; `None`: all of it.
    pub pick: Option<Path>,
    /// What of that is kept, dropped and renamed; `None`: nothing changes.
    pub shape: Option<Selection>,
    /// Whether its members stand in the document themselves, not below its name.
    pub flatten: bool,
    /// Content codings that it is asked to answer in; none: `identity`.
    pub codings: Box<[Box<str>]>,
    /// Fields of its answer that go to the client.
    pub reply_headers: Box<[Box<str>]>,
    /// Whether its answers are used again.
    pub cache: Option<CacheRule>,
    /// How many of a hundred calls may be sent a second time when they are late; `None`: none.
    pub hedge_percent: Option<u32>,
    /// What it asks and what it makes of an answer, for keys.
    pub(super) identity: Box<[u8]>,
    /// `,"name":`.
    pub(super) key_text: Box<[u8]>,
    /// The name as `gateway-partial` spells it.
    pub(super) label: Box<[u8]>,
    /// Field lines that do not depend on the request.
    pub(super) constant_fields: Box<[u8]>,
    /// The parts that its references wait for.
    pub(super) needs: PartSet,
}

/// How one part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartOutcome<'a> {
    /// Its JSON value, checked: what [`Part::judge`] found.
    Value(&'a [u8]),
    /// It answered that there is nothing (204, or an empty body).
    Empty,
    /// It failed.
    Failed(PartFault),
    /// One call for each element, some of which failed.
    Several(&'a [u8], Failures),
    /// It failed, and an older answer stands in.
    Stale(&'a [u8], PartFault),
    /// It is no part of this answer.
    Absent,
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This span of the body is the part's value.
    Value(Span),
    /// The value was written anew, to where `judge` was told; this span of the body is what it was before.
    Shaped(Span),
    /// There is nothing.
    Empty,
}

impl Plan {
    /// A plan of these parts; at most `PARTS_MAX`, which the reader of the configuration sees to.
    pub fn new(parts: Vec<Part>, pass: Pass) -> Self {
        debug_assert!(parts.len() <= PARTS_MAX);
        let mut plan = Self {
            parts: parts.into(),
            pass,
            etag: false,
            stream: false,
            server_timing: false,
            waiting: PartSet::EMPTY,
            referred: PartSet::EMPTY,
            embedded: PartSet::EMPTY,
        };
        for (index, part) in plan.parts.iter_mut().enumerate() {
            let mut key = vec![b','];
            key.extend_from_slice(Value::from(part.name.as_str()).to_string().as_bytes());
            key.push(b':');
            part.key_text = key.into();
            part.label = partial::label(part.name.as_str());
            part.constant_fields = request::constant_fields(part, &plan.pass);
            part.identity = cache::identity(part);
            part.needs = part.references.iter().map(|reference| reference.part).collect();
            if let Some(each) = &part.each {
                part.needs.insert(each.of.part);
                if each.into.is_some() {
                    plan.embedded.insert(index);
                }
            }
            if !part.needs.is_empty() {
                plan.waiting.insert(index);
                plan.referred = plan.referred.and(part.needs);
            }
        }
        plan
    }

    /// Whether one of these parts is sent the client's body.
    pub fn takes_body(&self, asked: PartSet) -> bool {
        asked.iter().any(|part| self.parts[part].client_body)
    }

    /// The parts that others refer to.
    pub fn referred(&self) -> PartSet {
        self.referred
    }

    /// The parts whose answers stand in others, and nowhere else.
    pub fn embedded(&self) -> PartSet {
        self.embedded
    }

    /// Those of them that stand in this one, and where.
    pub fn guests(&self, holder: usize) -> impl Iterator<Item = (usize, &Embed)> {
        self.embedded.iter().filter_map(move |guest| {
            let each = self.parts[guest].each.as_ref().filter(|each| each.of.part == holder)?;
            Some((guest, each.into.as_ref()?))
        })
    }

    /// The parts that wait for others.
    pub fn waiting(&self) -> PartSet {
        self.waiting
    }

    /// Whether some part's request names a claim, so that the route must prove an identity first.
    pub fn needs_identity(&self) -> bool {
        self.parts.iter().any(|part| part.templates().any(Template::needs_identity))
    }
}

impl Part {
    /// A required GET of all that `target` answers, for at most `timeout`; the other fields are public.
    pub fn new(name: Name, upstream: UpstreamId, target: Template, timeout: Duration) -> Self {
        Self {
            name,
            upstream,
            method: Method::Get,
            target,
            headers: Box::default(),
            body: None,
            each: None,
            client_body: false,
            problem_passed: false,
            references: Box::default(),
            timeout,
            bytes_max: PART_BYTES_MAX as u32,
            otherwise: None,
            pick: None,
            shape: None,
            flatten: false,
            codings: Box::default(),
            reply_headers: Box::default(),
            cache: None,
            hedge_percent: None,
            identity: Box::default(),
            key_text: Box::default(),
            label: Box::default(),
            constant_fields: Box::default(),
            needs: PartSet::EMPTY,
        }
    }

    /// What stands in for an answer: `else`, or `null`.
    pub fn stand_in(&self) -> &[u8] {
        self.otherwise.as_deref().unwrap_or(if self.flatten { b"{}" } else { b"null" })
    }

    /// The parts that have to end before it can be asked.
    pub fn needs(&self) -> PartSet {
        self.needs
    }

    /// Whether its failure is the whole answer's.
    pub fn is_required(&self) -> bool {
        self.otherwise.is_none()
    }

    /// Every template of its request.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        let fields = self.headers.iter().map(|(_, value)| value);
        std::iter::once(&self.target).chain(fields).chain(&self.body)
    }

    /// Whether an answer with this status is worth reading: 2xx. Known as soon as its head is.
    ///
    /// # Errors
    /// The status is the part's failure.
    pub fn judge_status(&self, status: Status) -> Result<(), PartFault> {
        if (200..300).contains(&status.0) { Ok(()) } else { Err(PartFault::Status(status)) }
    }

    /// What a whole answer is worth: one JSON value, or what `pick` names in it, shaped. A value written anew
    /// replaces what was in `shaped`; `tokens` is room to work in.
    ///
    /// # Errors
    /// The reason why the answer is none.
    pub fn judge(
        &self,
        status: Status,
        body: &[u8],
        tokens: &mut Tokens,
        shaped: &mut Vec<u8>,
    ) -> Result<Taken, PartFault> {
        self.judge_status(status)?;
        if body.is_empty() || matches!(status.0, 204 | 205) {
            return Ok(Taken::Empty);
        }
        if body.len() > self.bytes_max as usize {
            return Err(PartFault::TooLarge);
        }
        if self.pick.is_none() && self.shape.is_none() {
            return match json::check(body) {
                Ok(span) => self.fits(span.of(body)).map(|()| Taken::Value(span)),
                Err(json::JsonFault::Empty) => Ok(Taken::Empty),
                Err(fault) => Err(fault.into()),
            };
        }
        let document = match json::index(body, tokens) {
            Ok(document) => document,
            Err(json::JsonFault::Empty) => return Ok(Taken::Empty),
            Err(fault) => return Err(fault.into()),
        };
        let at = match &self.pick {
            Some(pick) => pick.find(&document).ok_or(PartFault::Pick)?,
            None => 0,
        };
        let taken = match &self.shape {
            Some(shape) => {
                shaped.clear();
                shape.apply(&document, at, shaped);
                self.fits(shaped).map(|()| Taken::Shaped(document.value(at)))
            }
            None => {
                let span = document.value(at);
                self.fits(span.of(body)).map(|()| Taken::Value(span))
            }
        };
        tokens.trim();
        taken
    }

    /// Whether a value can stand where the part has its place.
    fn fits(&self, value: &[u8]) -> Result<(), PartFault> {
        if self.flatten && value.first() != Some(&b'{') {
            Err(PartFault::NotObject)
        } else {
            Ok(())
        }
    }

    /// The bytes that stand for the part in the document, and for others that refer to it.
    pub fn text<'a>(&'a self, outcome: PartOutcome<'a>) -> &'a [u8] {
        match outcome {
            PartOutcome::Value(text)
            | PartOutcome::Several(text, _)
            | PartOutcome::Stale(text, _) => text,
            PartOutcome::Empty | PartOutcome::Failed(_) | PartOutcome::Absent => {
                // What stands in for an element stands in for no object of them.
                let otherwise = self.otherwise.as_deref().filter(|_| self.each.is_none());
                otherwise.unwrap_or(if self.flatten || self.each.is_some() {
                    b"{}"
                } else {
                    b"null"
                })
            }
        }
    }
}
