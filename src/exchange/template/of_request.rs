//! `{request.…}`: what of the request line and the connection a template can name.
//!
//! Host is the effective one (RFC 9112 §3.3). Nothing here is ever taken from a field that a client adds.

use crate::exchange::template::Inputs;

/// What a placeholder takes of the request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfRequest {
    /// The effective host, with its port as received.
    Host,
    /// The method.
    Method,
    /// The path as received.
    Path,
    /// `http` or `https`.
    Scheme,
}

impl OfRequest {
    /// Every one, with its name.
    pub(super) const ALL: [(&str, Self); 4] = [
        ("host", Self::Host),
        ("method", Self::Method),
        ("path", Self::Path),
        ("scheme", Self::Scheme),
    ];

    pub(super) fn of<'a>(self, from: &Inputs<'a>) -> &'a [u8] {
        match self {
            Self::Host => from.request.authority(),
            Self::Method => from.request.method_text(),
            Self::Path => from.request.path(),
            Self::Scheme => {
                if from.client.tls {
                    b"https"
                } else {
                    b"http"
                }
            }
        }
    }
}
