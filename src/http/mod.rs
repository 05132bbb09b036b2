//! HTTP messages: bytes in, values out (RFC 9110, RFC 9112). No I/O, no clock.
//!
//! Heads are spans into the buffer they were received in: a field that passes unchanged is never copied
//! but onto the wire. This room never guesses: framing that is ambiguous in any way is refused.

pub mod accept;
pub mod caching;
pub mod chars;
pub mod coding;
pub mod conditional;
pub mod date;
pub mod encoding;
pub mod etag;
pub mod forward;
pub mod framing;
pub mod grpc_web;
pub mod h1;
pub mod h2;
pub mod head;
pub mod headers;
pub mod names;
pub mod ranges;
pub mod rewrite;
pub mod target;
pub mod upgrade;
pub mod withheld;
pub mod writer;

use crate::base::span::Span;

/// A request method (RFC 9110 §9). Case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET (RFC 9110 §9.3.1).
    Get,
    /// HEAD (RFC 9110 §9.3.2).
    Head,
    /// POST (RFC 9110 §9.3.3).
    Post,
    /// PUT (RFC 9110 §9.3.4).
    Put,
    /// DELETE (RFC 9110 §9.3.5).
    Delete,
    /// CONNECT (RFC 9110 §9.3.6).
    Connect,
    /// OPTIONS (RFC 9110 §9.3.7).
    Options,
    /// TRACE (RFC 9110 §9.3.8).
    Trace,
    /// PATCH (RFC 5789).
    Patch,
    /// Any other token; its bytes are at `RequestHead::method_text`.
    Other,
}

impl Method {
    /// The method named by `token`.
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Whether a repeated request has the effect of one (RFC 9110 §9.2.2). Unknown methods are not.
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace
        )
    }
}

/// A protocol version that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As access logs have it since Apache's.
    pub fn text(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// A three-digit status code (RFC 9110 §15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(pub u16);

impl Status {
    /// Whether this is an interim (1xx) status.
    pub fn is_interim(self) -> bool {
        self.0 < 200
    }

    /// The registered reason phrase, or an empty one.
    pub fn reason(self) -> &'static str {
        match self.0 {
            100 => "Continue",
            101 => "Switching Protocols",
            103 => "Early Hints",
            200 => "OK",
            201 => "Created",
            202 => "Accepted",
            204 => "No Content",
            206 => "Partial Content",
            301 => "Moved Permanently",
            302 => "Found",
            303 => "See Other",
            304 => "Not Modified",
            307 => "Temporary Redirect",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            409 => "Conflict",
            411 => "Length Required",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            417 => "Expectation Failed",
            421 => "Misdirected Request",
            422 => "Unprocessable Content",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "",
        }
    }
}

/// How a request target is written (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`, with CONNECT only.
    Authority,
    /// `*`, with OPTIONS only.
    Asterisk,
}

/// A request target, taken apart. Spans are into the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// How it was written.
    pub form: TargetForm,
    /// All of it, as received.
    pub whole: Span,
    /// The raw path, from its first `/` up to `?`; empty in authority and asterisk form, and in an
    /// absolute form without a path (which stands for `/`).
    pub path: Span,
    /// The raw query behind `?`, without it; `None` when there is no `?`.
    pub query: Option<Span>,
}
