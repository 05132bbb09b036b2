//! Compiled templates: text with `{…}` placeholders that are filled from a request (CONFIG.md rule 6).
//!
//! A placeholder names where its value comes from: `{jwt.a.b}` a claim, `{path.id}` or `{id}` or
//! `{*rest}` a path parameter, `{query.q}`, `{header.x}`, `{request.host}`, `{client.address}`, `{client.network}`,
//! `{client_cert.subject}` and its kin, and in the
//! parts of a merge `{part.user.id}` a value from another part's answer, handed in as JSON by slot,
//! and `{each}` or `{each*}` the elements that a call is made for; `{view}` is the name of the view that a merge
//! has for the client, and nothing where that gets the whole answer. `{x?}` may be absent,
//! `{x|text}` has a default, `{{` and `}}` are literal braces. Everything is parsed when the
//! configuration is compiled; filling walks a list of pieces and, outside of JSON, allocates nothing.
//!
//! Each value is escaped for where it stands, and that place is decided while parsing. A value can
//! never add a path segment, a dot segment, a query pair, a fragment or a line: RFC 3986 §2.1 and §3.3
//! for targets, RFC 9110 §5.5 for fields, RFC 8259 §7 for JSON. A value that has no safe spelling is
//! refused (`RenderError::Unfit`) rather than bent into one, and a missing value is never sent as a
//! literal. The choice refused: one escaping for all places, which is wrong in each of them.

mod edges;
mod elements;
mod encode;
mod fill;
mod of_request;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::base::buffer::Buf;
use crate::base::name::Name;
use crate::base::span::Span;
use crate::exchange::client::Client;
use crate::exchange::client_cert::CertField;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::identity::Identity;
use crate::exchange::params::Params;
use crate::exchange::template::elements::Elements;
use crate::exchange::template::of_request::OfRequest;
use crate::http::head::Request;

pub use crate::exchange::template::encode::query_pairs;
pub use crate::exchange::template::parse::{SOURCES, TemplateError, TemplateErrorKind};

/// Text with placeholders, compiled.
#[derive(Clone, Debug)]
pub struct Template {
    text: Box<str>,
    kind: TemplateKind,
    pieces: Box<[Piece]>,
}

/// Where a template as a whole will stand; decides the [`Position`] of each of its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateKind {
    /// A request target in origin form: begins with `/`, and is a query behind its first `?`.
    Target,
    /// A Location: a target, or `http://` / `https://` with an authority without placeholders.
    Location,
    /// The value of a field.
    Field,
    /// A JSON document. Outside of strings a `{` before a letter or `*` opens a placeholder and every
    /// other brace is JSON's own; inside of strings the rules are as everywhere.
    Json,
    /// A key that stays inside the gateway (rate limits); values are taken as they are.
    Plain,
}

/// Where one placeholder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// In a path: one segment, percent-encoded; a `{*rest}` keeps its slashes and its encoding.
    Path,
    /// In a query: percent-encoded, so that it stays one name or value.
    Query,
    /// In a field value: as it is, without control bytes.
    Field,
    /// Inside a JSON string: escaped.
    Json,
    /// In JSON outside of strings: the value with its type; text becomes a JSON string.
    JsonValue,
    /// As it is.
    Plain,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<[u8]>),
    Value(Placeholder),
}

#[derive(Clone, Debug)]
struct Placeholder {
    source: Source,
    position: Position,
    absent: Absent,
    /// Where it stands in the text, braces included.
    place: Span,
}

impl Placeholder {
    fn reference(&self) -> Reference<'_> {
        match &self.source {
            Source::Claim(path) => Reference::Claim(path),
            Source::Param { index, .. } => Reference::Param(*index),
            Source::Query(name) => Reference::Query(name),
            Source::Header(name) => Reference::Header(name),
            Source::Request(_) => Reference::Request,
            Source::ClientAddress => Reference::ClientAddress,
            Source::ClientNetwork | Source::ClientPrefix(_) => Reference::ClientNetwork,
            Source::KeyOwner => Reference::KeyOwner,
            Source::ClientCert(_) => Reference::ClientCert,
            Source::User => Reference::User,
            Source::Part { path, .. } => Reference::Part(path),
            Source::Each(_) => Reference::Each,
            Source::View { .. } => Reference::View,
        }
    }
}

#[derive(Clone, Debug)]
enum Source {
    Claim(Box<[Box<str>]>),
    Param {
        index: usize,
        rest: bool,
    },
    Query(Box<str>),
    Header(Box<str>),
    /// Something of the request itself.
    Request(OfRequest),
    ClientAddress,
    /// The elements that a call is made for.
    Each(Elements),
    /// A value of another part, as written behind `part.`; `slot` is given by [`Template::bind`].
    Part {
        path: Box<str>,
        slot: usize,
    },
    ClientNetwork,
    /// Whom the API key belongs to.
    KeyOwner,
    /// What the client's certificate says.
    ClientCert(CertField),
    /// Who knew the password.
    User,
    /// The network of a client's address with so many bits of IPv6.
    ClientPrefix(u8),
    /// The client's view; `proven` says whether a claim may decide which it is.
    View {
        proven: bool,
    },
}

/// What stands in for a value that the request does not have.
#[derive(Clone, Debug)]
enum Absent {
    Refuse,
    Nothing,
    /// Escaped for its position already.
    Default(Box<[u8]>),
}

/// One placeholder, as other rooms see it (checks for unused and undefined names, `explain`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// A claim, by its path.
    Claim(&'a [Box<str>]),
    /// A path parameter, by its index in the route's pattern.
    Param(usize),
    /// A parameter of the query.
    Query(&'a str),
    /// A request field.
    Header(&'a str),
    /// Something of the request line or the connection.
    Request,
    /// The client's address.
    ClientAddress,
    /// A value of another part, as written behind `part.`.
    Part(&'a str),
    /// The element that a call is made for.
    Each,
    /// The network that the client has to itself.
    ClientNetwork,
    /// Whom the API key belongs to.
    KeyOwner,
    /// What the client's certificate says.
    ClientCert,
    /// Who knew the password.
    User,
    /// The name of the client's view.
    View,
}

/// What templates are filled from: a view of one request.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The request as received.
    pub request: Request<'a>,
    /// Captured path parameters.
    pub params: &'a Params,
    /// What authentication proved.
    pub identity: Option<&'a Identity>,
    /// Who is asking.
    pub client: &'a Client,
    /// The name of the client's view, if it has one.
    pub view: Option<&'a Name>,
    /// Values from the answers of other parts.
    pub parts: PartValues<'a>,
}

/// What is known of other parts' answers.
#[derive(Clone, Copy, Debug, Default)]
pub enum PartValues<'a> {
    /// Nothing yet: placeholders that need them are passed over. A rehearsal finds so what the request
    /// itself lacks.
    #[default]
    Unknown,
    /// Nothing, and placeholders stand for themselves: for `explain`.
    Named,
    /// Checked JSON by slot; `None` where there is no value.
    Known {
        /// All texts, one behind the other.
        text: &'a [u8],
        /// Where each slot's value lies.
        slots: &'a [Option<Span>],
        /// Where the elements lie that a call is made for, if it is.
        each: &'a [Span],
    },
}

impl<'a> PartValues<'a> {
    /// The JSON of a slot; a `null` is no value.
    fn value(self, slot: usize) -> Option<&'a [u8]> {
        let Self::Known { text, slots, .. } = self else { return None };
        let value = (*slots.get(slot)?)?.of(text);
        Some(value).filter(|value| *value != b"null")
    }
}

/// Why a template could not be filled. None of them carries the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// The request lacks a value that the template requires.
    Missing {
        /// Whether it is a claim: the answer is 401 then, and 400 otherwise.
        claim: bool,
    },
    /// The sink is full.
    Full,
    /// The value cannot stand where the template puts it: a dot segment or control byte in a path, a
    /// control byte or a blank at the edge of a field, text that is not UTF-8 in JSON, an object where text is needed.
    Unfit,
    /// A value that other parts' answers should hold is not there.
    PartMissing,
    /// A value of another part cannot stand where the template puts it.
    PartUnfit,
}

impl RenderError {
    /// The fault of the exchange that could not be rendered: the client's side, but for values of parts.
    pub fn fault(self) -> Fault {
        let kind = match self {
            Self::Missing { claim: true } => FaultKind::Unauthorized,
            Self::Missing { claim: false } => FaultKind::ValueMissing,
            Self::Full => FaultKind::TargetTooLong,
            Self::Unfit => FaultKind::HttpRequestError,
            Self::PartMissing | Self::PartUnfit => {
                let kind = FaultKind::PartFailed;
                return Fault { kind, side: Side::Upstream, again: Again::Never };
            }
        };
        Fault { kind, side: Side::Downstream, again: Again::Never }
    }
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing { claim: true } => "a claim that the template requires is missing",
            Self::Missing { claim: false } => "a value that the template requires is missing",
            Self::Full => "the filled template is too long",
            Self::Unfit => "a value cannot stand where the template puts it",
            Self::PartMissing => "another part's answer lacks a value that the template requires",
            Self::PartUnfit => "a value of another part cannot stand where the template puts it",
        })
    }
}

/// Where bytes are written to.
pub trait Sink {
    /// Appends `bytes`; `false`, and nothing appended, when they do not fit.
    #[must_use]
    fn put(&mut self, bytes: &[u8]) -> bool;

    /// Says whether what is put next is a value, or text of the template's own.
    fn value_follows(&mut self, _is_value: bool) {}
}

impl Sink for Buf {
    fn put(&mut self, bytes: &[u8]) -> bool {
        Buf::put(self, bytes)
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> bool {
        self.extend_from_slice(bytes);
        true
    }
}

impl Template {
    /// Compiles `text`, to stand as `kind`. `params` are the names of the route's path parameters in
    /// the order of its pattern, a rest parameter with its star (`["id", "*rest"]`).
    ///
    /// Errors name the place in `text` and, where a name is unknown, the name.
    pub fn parse(text: &str, kind: TemplateKind, params: &[&str]) -> Result<Self, TemplateError> {
        let pieces = parse::pieces(text, kind, params)?;
        Ok(Self { text: text.into(), kind, pieces: pieces.into() })
    }

    /// The template as the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it stands.
    pub fn kind(&self) -> TemplateKind {
        self.kind
    }

    /// The bytes of a template without placeholders; `None` when it has one.
    pub fn constant(&self) -> Option<&[u8]> {
        match &*self.pieces {
            [] => Some(&[]),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether what authentication proves is named anywhere, so that the route must prove an identity first.
    pub fn needs_identity(&self) -> bool {
        let proven = |one: &Placeholder| matches!(one.source, Source::View { proven: true });
        self.needs_claim()
            || self.needs_key()
            || self.names_cert()
            || self.needs_user()
            || self.placeholders().any(proven)
    }

    /// Whether a claim of a token is named anywhere.
    pub fn needs_claim(&self) -> bool {
        self.references().any(|reference| matches!(reference, Reference::Claim(_)))
    }

    /// Where the first `{view}` stands in the text, if there is one.
    pub fn view(&self) -> Option<Span> {
        let mut placeholders = self.placeholders();
        let found = placeholders.find(|one| matches!(one.source, Source::View { .. }));
        found.map(|placeholder| placeholder.place)
    }

    /// Says that a claim decides which view a client has.
    #[must_use]
    pub fn with_proven_views(mut self) -> Self {
        for piece in &mut self.pieces {
            if let Piece::Value(Placeholder { source: Source::View { proven }, .. }) = piece {
                *proven = true;
            }
        }
        self
    }

    /// Whether the owner of an API key is named anywhere.
    pub fn needs_key(&self) -> bool {
        self.references().any(|reference| matches!(reference, Reference::KeyOwner))
    }

    /// Whether the client's certificate is named anywhere.
    pub fn names_cert(&self) -> bool {
        self.references().any(|reference| matches!(reference, Reference::ClientCert))
    }

    /// Whether the user of a password is named anywhere.
    pub fn needs_user(&self) -> bool {
        self.references().any(|reference| matches!(reference, Reference::User))
    }

    /// Whether a target has a query of its own (its text holds a `?`).
    pub fn has_query(&self) -> bool {
        let texts = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text),
            Piece::Value(_) => None,
        });
        texts.into_iter().any(|text| text.contains(&b'?'))
    }

    /// Every placeholder, in order.
    pub fn references(&self) -> impl Iterator<Item = Reference<'_>> {
        self.placeholders().map(Placeholder::reference)
    }

    /// Those of them without which it cannot be filled.
    pub fn required(&self) -> impl Iterator<Item = Reference<'_>> {
        let required = |placeholder: &&Placeholder| matches!(placeholder.absent, Absent::Refuse);
        self.placeholders().filter(required).map(Placeholder::reference)
    }

    fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Value(placeholder) => Some(placeholder),
        })
    }

    /// Gives every `{part.…}` its slot: `slot` is told what is written behind `part.` and where in the
    /// text the placeholder stands.
    pub fn bind(&mut self, mut slot: impl FnMut(&str, Span) -> usize) {
        for piece in &mut self.pieces {
            if let Piece::Value(Placeholder {
                source: Source::Part { path, slot: own },
                place,
                ..
            }) = piece
            {
                *own = slot(path, *place);
            }
        }
    }

    /// Lets `{client.address}` stand for so many bits of an IPv6 address; an IPv4 address stays whole.
    #[must_use]
    pub fn with_ipv6_prefix(mut self, prefix: u8) -> Self {
        for piece in &mut self.pieces {
            if let Piece::Value(Placeholder { source: source @ Source::ClientAddress, .. }) = piece
            {
                *source = Source::ClientPrefix(prefix);
            }
        }
        self
    }

    /// Whether it cannot be filled without the value of this slot.
    pub fn requires(&self, slot: usize) -> bool {
        self.placeholders().any(|placeholder| {
            let own = matches!(placeholder.source, Source::Part { slot: own, .. } if own == slot);
            own && matches!(placeholder.absent, Absent::Refuse)
        })
    }

    /// Where the first `{part.…}` stands in the text, if there is one.
    pub fn first_part(&self) -> Option<Span> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Value(Placeholder {
                source: Source::Part { .. } | Source::Each(_),
                place,
                ..
            }) => Some(*place),
            _ => None,
        })
    }

    /// Where the first `{each}` stands that several elements cannot fill.
    pub fn single_element(&self) -> Option<Span> {
        let single = |placeholder: &&Placeholder| match &placeholder.source {
            Source::Each(elements) => !elements.may_be_several(placeholder.position),
            _ => false,
        };
        self.placeholders().find(single).map(|placeholder| placeholder.place)
    }

    /// The template with every value as `0` or its default: a JSON template is well-formed exactly when
    /// its sample is, whatever values it is filled with.
    pub fn sample(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.pieces {
            out.extend_from_slice(match piece {
                Piece::Text(text) => text,
                Piece::Value(Placeholder { absent: Absent::Default(text), .. }) => text,
                Piece::Value(_) => b"0",
            });
        }
        out
    }
}
