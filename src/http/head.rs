//! Version-neutral heads, and the views through which every room reads them.
//!
//! A head holds spans; a view ([`Request`], [`Response`]) pairs it with the bytes. A head never owns
//! bytes and is reused from exchange to exchange, so that filling it allocates nothing.

use crate::base::limits::FIELDS_CEILING;
use crate::base::span::Span;
use crate::http::framing::BodyLength;
use crate::http::headers::Fields;
use crate::http::names::FieldName;
use crate::http::{Method, Status, Target, TargetForm, Version};

/// A request head (RFC 9110 §6.2, RFC 9112 §3). All spans are offsets from its first byte.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method's bytes.
    pub method_text: Span,
    /// The request target, taken apart.
    pub target: Target,
    /// The version of the message.
    pub version: Version,
    /// The effective host, port removed, as received: the authority of an absolute target or else the
    /// Host field (RFC 9112 §3.2.2). Empty when an HTTP/1.0 request has neither.
    pub host: Span,
    /// The same with its port, if any.
    pub authority: Span,
    /// The field lines.
    pub fields: Fields,
    /// How the body is delimited (RFC 9112 §6).
    pub body: BodyLength,
    /// Whether the client lets the connection persist (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// Length of the head on the wire. Unit: bytes.
    pub bytes: u32,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self { fields: Fields::with_capacity(FIELDS_CEILING), ..Self::blank() }
    }
}

impl RequestHead {
    fn blank() -> Self {
        Self {
            // Of a head that could not be parsed nobody knows the method.
            method: Method::Other,
            method_text: Span::EMPTY,
            target: Target {
                form: TargetForm::Origin,
                whole: Span::EMPTY,
                path: Span::EMPTY,
                query: None,
            },
            version: Version::Http11,
            host: Span::EMPTY,
            authority: Span::EMPTY,
            fields: Fields::default(),
            body: BodyLength::None,
            keep_alive: false,
            expect_continue: false,
            bytes: 0,
        }
    }
}

impl RequestHead {
    /// Forgets the message and keeps the room for fields. What stands for "unknown" afterwards is what
    /// `default` says, so that a head that could not be parsed shows nothing of an earlier one.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::blank() };
    }
}

/// A response head (RFC 9112 §4). All spans are offsets from its first byte.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status code.
    pub status: Status,
    /// The reason phrase as received.
    pub reason: Span,
    /// The version of the message.
    pub version: Version,
    /// The field lines.
    pub fields: Fields,
    /// How the body is delimited, given the request's method (RFC 9112 §6.3).
    pub body: BodyLength,
    /// Whether the origin lets the connection persist.
    pub keep_alive: bool,
    /// Length of the head on the wire. Unit: bytes.
    pub bytes: u32,
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self {
            status: Status(0),
            reason: Span::EMPTY,
            version: Version::Http11,
            fields: Fields::with_capacity(FIELDS_CEILING),
            body: BodyLength::None,
            keep_alive: false,
            bytes: 0,
        }
    }
}

/// A request head with its bytes.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The head.
    pub head: &'a RequestHead,
    /// The bytes that its spans are offsets into.
    pub raw: &'a [u8],
}

impl<'a> Request<'a> {
    /// The method's bytes.
    pub fn method_text(&self) -> &'a [u8] {
        self.head.method_text.of(self.raw)
    }

    /// The target as received.
    pub fn target(&self) -> &'a [u8] {
        self.head.target.whole.of(self.raw)
    }

    /// The raw path; `/` for an absolute target without one (RFC 9112 §3.2.1), and for that of CONNECT, so
    /// that a route can be named for it.
    pub fn path(&self) -> &'a [u8] {
        let path = self.head.target.path.of(self.raw);
        let bare = matches!(self.head.target.form, TargetForm::Absolute | TargetForm::Authority);
        if path.is_empty() && bare { b"/" } else { path }
    }

    /// The raw query, without `?`.
    pub fn query(&self) -> Option<&'a [u8]> {
        self.head.target.query.map(|span| span.of(self.raw))
    }

    /// The effective host without its port; empty when the request names none.
    pub fn host(&self) -> &'a [u8] {
        self.head.host.of(self.raw)
    }

    /// The effective host with its port, if it has one.
    pub fn authority(&self) -> &'a [u8] {
        self.head.authority.of(self.raw)
    }

    /// The first value of a known field.
    pub fn field(&self, id: FieldName) -> Option<&'a [u8]> {
        self.head.fields.find(id, self.raw)
    }

    /// Every value of a known field, in the order received.
    pub fn all(&self, id: FieldName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let raw = self.raw;
        let fields = self.head.fields.iter().filter(move |field| field.id == id);
        fields.map(move |field| field.value.of(raw))
    }

    /// The first value of a field by name, compared without case; none of what is not to be believed.
    pub fn field_named(&self, name: &[u8]) -> Option<&'a [u8]> {
        let fields = self.head.fields.iter().filter(|field| field.id != FieldName::LookAlike);
        let mut named = fields.filter(|field| field.name.of(self.raw).eq_ignore_ascii_case(name));
        named.next().map(|field| field.value.of(self.raw))
    }

    /// Every value of a field by name, as [`Request::field_named`] finds the first.
    pub fn all_named(&self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let raw = self.raw;
        let fields = self.head.fields.iter().filter(|field| field.id != FieldName::LookAlike);
        let named = fields.filter(move |field| field.name.of(raw).eq_ignore_ascii_case(name));
        named.map(move |field| field.value.of(raw))
    }
}

/// A response head with its bytes.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    /// The head.
    pub head: &'a ResponseHead,
    /// The bytes that its spans are offsets into.
    pub raw: &'a [u8],
}

impl<'a> Response<'a> {
    /// Every value of a known field, in the order received.
    pub fn all(&self, id: FieldName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let raw = self.raw;
        let fields = self.head.fields.iter().filter(move |field| field.id == id);
        fields.map(move |field| field.value.of(raw))
    }

    /// The first value of a known field.
    pub fn field(&self, id: FieldName) -> Option<&'a [u8]> {
        self.head.fields.find(id, self.raw)
    }

    /// The first value of a field by name, compared without case.
    pub fn field_named(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut fields = self.head.fields.iter();
        let named = fields.find(|field| field.name.of(self.raw).eq_ignore_ascii_case(name));
        named.map(|field| field.value.of(self.raw))
    }
}
