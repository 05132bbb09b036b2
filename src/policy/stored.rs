//! One response as it is kept: immutable, shared by all cores, made of the bytes that are sent again.
//!
//! Its head is what an intermediary would have sent (`http/forward.rs`): nothing hop-by-hop, nothing that
//! Connection nominates, no Age, and none of the fields that the origin keeps out of shared caches
//! (RFC 9111 §3.1, §5.2.2.4, §5.2.2.7). It never holds a part of a body, and never changes: a 304 makes a new one with
//! the same body (§3.2, §4.3.4).

use std::sync::{Arc, OnceLock};

use crate::base::shared::Word;
use crate::base::span::Span;
use crate::http::caching::Freshness;
use crate::http::conditional::Validators;
use crate::http::head::{Request, Response};
use crate::http::names::FieldName;
use crate::http::{Status, chars, date};
use crate::policy::recoded::Recoded;
use crate::policy::store::Machine;

/// What tells a response from others: its key, and whose it is.
#[derive(Debug)]
pub struct Key {
    /// All bytes of it.
    pub bytes: Box<[u8]>,
    /// Where the authority, path and query stand in it: what operators name.
    pub url: Span,
    /// Its hash.
    pub hash: u64,
}

/// A stored response.
pub struct Stored {
    /// Its key.
    pub key: Arc<Key>,
    /// Its status.
    pub status: Status,
    /// Status line and field lines, without the empty line, each with its CRLF.
    pub head: Box<[u8]>,
    /// How much of the head is the status line.
    pub status_line: usize,
    /// The content.
    pub body: Arc<Vec<u8>>,
    /// How long it may be used.
    pub freshness: Freshness,
    /// The fields of a request that choose it, in lower case, with their values in the request that brought
    /// it (RFC 9111 §4.1).
    pub vary: Vary,
    /// By which it can be removed.
    pub tags: Box<[Box<[u8]>]>,
    etag: Option<Span>,
    last_modified: Option<u64>,
    /// Last-Modified as it came.
    modified: Option<Span>,
    date: u64,
    /// What it is counted as.
    pub weight: usize,
    /// One while it may be found.
    alive: Word,
    /// The content in other codings, once somebody wanted one.
    pub(super) recoded: OnceLock<Box<Recoded>>,
    machine: Arc<Machine>,
}

/// The fields of a request that choose a response, in lower case and in order, with their values.
pub type Vary = Box<[(Box<[u8]>, Option<Box<[u8]>>)]>;

/// What a stored response is made from.
pub struct Making {
    /// Its key.
    pub key: Arc<Key>,
    /// Its status.
    pub status: Status,
    /// Its head as it will be sent: a status line and fields, each with its CRLF.
    pub head: Vec<u8>,
    /// Its content.
    pub body: Arc<Vec<u8>>,
    /// How long it may be used.
    pub freshness: Freshness,
    /// Which requests it answers: [`vary_of`] the one that brought it.
    pub vary: Vary,
    /// By which it can be removed: [`tags_of`].
    pub tags: Box<[Box<[u8]>]>,
    /// The wall clock. Unit: seconds since 1970.
    pub now: u64,
}

/// What is counted for bookkeeping. Unit: bytes.
const OVERHEAD_BYTES: usize = 256;

impl Stored {
    /// A response that is in memory from now on, and can be found once it is admitted.
    pub fn new(making: Making, machine: Arc<Machine>) -> Self {
        let Making { key, status, head, body, freshness, vary, tags, now } = making;
        let head = head.into_boxed_slice();
        let line = |name: &[u8]| value_in(&head, name);
        let said = |span: Option<Span>| span.and_then(|span| date::parse(span.of(&head), now));
        let (etag, modified) = (line(b"etag"), line(b"last-modified"));
        let (last_modified, date) = (said(modified), said(line(b"date")).unwrap_or(now));
        let varied =
            vary.iter().map(|(name, value)| name.len() + value.as_deref().map_or(0, <[u8]>::len));
        let tagged = tags.iter().map(|tag| tag.len() + size_of::<Box<[u8]>>());
        let parts = key.bytes.len() + head.len() + body.capacity();
        let weight = OVERHEAD_BYTES + parts + varied.sum::<usize>() + tagged.sum::<usize>();
        machine.hold(weight);
        let status_line = line_end(&head);
        let alive = Word::new(0);
        Self {
            key,
            status,
            head,
            status_line,
            body,
            freshness,
            vary,
            tags,
            etag,
            last_modified,
            modified,
            date,
            weight,
            alive,
            recoded: OnceLock::new(),
            machine,
        }
    }

    /// Where it is stored.
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// What tells this version from another.
    pub fn validators(&self) -> Validators<'_> {
        Validators {
            etag: self.etag.map(|span| span.of(&self.head)),
            last_modified: self.last_modified,
            date: self.date,
        }
    }

    /// Last-Modified as the origin wrote it: what it is asked about goes back to the letter.
    pub fn modified(&self) -> Option<&[u8]> {
        self.modified.map(|span| span.of(&self.head))
    }

    /// Whether the origin can be asked about it (RFC 9111 §4.3.1).
    pub fn can_be_validated(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Its field lines, without the status line.
    pub fn fields(&self) -> &[u8] {
        &self.head[self.status_line..]
    }

    /// Whether this request is one of those that it answers (RFC 9111 §4.1).
    pub fn is_chosen_by(&self, request: Request<'_>) -> bool {
        self.vary.iter().all(|(name, value)| {
            let mut asked = normalised(request, name);
            match value {
                None => asked.next().is_none(),
                Some(value) => {
                    let mut known = value.split(|byte| *byte == b',');
                    let folds = folds_case(name);
                    asked.all(|element| {
                        known.next().is_some_and(|known| {
                            known == element || folds && known.eq_ignore_ascii_case(element)
                        })
                    }) && known.next().is_none()
                }
            }
        })
    }

    /// Whether both are chosen by the same requests.
    pub fn replaces(&self, other: &Stored) -> bool {
        self.vary == other.vary
    }

    /// Whether it may be found.
    pub fn is_alive(&self) -> bool {
        self.alive.load() == 1
    }

    /// Counts it, if there is room in the machine's budget; it can be found then.
    pub fn admit(&self) -> bool {
        let admitted = self.machine.take_room(self.weight);
        if admitted {
            self.alive.store(1);
        }
        admitted
    }

    /// Ends it on every core at once; whoever does so first gives its room back.
    pub fn end(&self) {
        if self.alive.replace(1, 2) {
            self.machine.give_room(self.weight);
            self.give_recoded();
        }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.end();
        let recoded = self.recoded.get().map_or(0, |recoded| recoded.weight());
        self.machine.released(self.weight + recoded);
    }
}

/// The fields that a response varies by, with their values in this request, in the order of their names, so
/// that two responses that vary alike are told from others by comparing them. `None` when there are too many.
pub fn vary_of(response: Response<'_>, request: Request<'_>, fields_max: usize) -> Option<Vary> {
    let mut names: Vec<Vec<u8>> = response
        .all(FieldName::Vary)
        .flat_map(chars::list)
        .take(fields_max + 1)
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    if names.len() > fields_max {
        return None;
    }
    names.sort();
    names.dedup();
    let value_of = |name: &[u8]| {
        let elements: Vec<&[u8]> = normalised(request, name).collect();
        let value = elements.join(&b","[..]);
        let value = if folds_case(name) { value.to_ascii_lowercase() } else { value };
        (!elements.is_empty()).then(|| value.into_boxed_slice())
    };
    let one = |name: Vec<u8>| {
        let value = value_of(&name);
        (name.into_boxed_slice(), value)
    };
    Some(names.into_iter().map(one).collect())
}

/// The elements of all values of a field, whitespace around them removed: how lines are cut, and spaces, say
/// nothing (RFC 9111 §4.1).
fn normalised<'a>(
    request: Request<'a>,
    name: &'a [u8],
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let known = FieldName::of(name);
    let named = request.all_named(name).filter(move |_| known == FieldName::Other);
    let known = request.all(known).filter(move |_| known != FieldName::Other);
    known.chain(named).flat_map(|value| value.split(|byte| *byte == b',').map(chars::trim))
}

/// Fields whose values have no case (RFC 9110 §12.5).
fn folds_case(name: &[u8]) -> bool {
    matches!(name, b"accept-language" | b"accept-encoding" | b"accept-charset")
}

/// The tags that a response names in the field `name`; none if that is empty.
pub fn tags_of(response: Response<'_>, name: &[u8]) -> Box<[Box<[u8]>]> {
    if name.is_empty() {
        return Box::default();
    }
    let values = response.head.fields.named(name, response.raw);
    values.flat_map(tags_in).map(Into::into).collect()
}

/// The tags of one field value: separated by commas or spaces, as the CDNs that invented them do.
fn tags_in(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| matches!(byte, b',' | b' ' | b'\t')).filter(|tag| !tag.is_empty())
}

/// The lines of a head behind its first one: name, value, and the whole with its end.
pub fn lines(fields: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    fields.split_inclusive(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((&line[..colon], chars::trim(line[colon + 1..].trim_ascii_end()), line))
    })
}

fn line_end(head: &[u8]) -> usize {
    head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |at| at + 1)
}

/// Where the first value of a field stands in a head.
fn value_in(head: &[u8], name: &[u8]) -> Option<Span> {
    let start = line_end(head);
    let mut at = start;
    for line in head[start..].split_inclusive(|byte| *byte == b'\n') {
        if let Some(colon) = line.iter().position(|byte| *byte == b':')
            && line[..colon].eq_ignore_ascii_case(name)
        {
            let value = chars::trim(line[colon + 1..].trim_ascii_end());
            let lead = line[colon + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
            let begin = at + colon + 1 + lead.count();
            return Some(Span::new(begin, begin + value.len()));
        }
        at += line.len();
    }
    None
}
