//! What a route asks of a request, as the compiler of routes hands it over.
//!
//! A pattern is only read when a router is built or explained; finding a route never touches it.

use crate::base::ids::RouteId;
use crate::http::Method;
use crate::route::matcher::Condition;

/// Everything that one route asks of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The route it leads to.
    pub route: RouteId,
    /// The methods; empty for any but CONNECT. GET stands for HEAD, too (RFC 9110 §9.3.2).
    pub methods: Vec<MethodName>,
    /// The host.
    pub host: HostPattern,
    /// The path's segments, decoded. `/` is one empty literal; a trailing slash is a last empty one.
    pub path: Vec<Segment>,
    /// Further conditions; all must hold.
    pub conditions: Vec<Condition>,
}

/// A method by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodName(pub Box<str>);

impl MethodName {
    /// Whether a request with this method is meant.
    pub fn accepts(&self, method: Method, text: &[u8]) -> bool {
        self.0.as_bytes() == text || (method == Method::Head && &*self.0 == "GET")
    }
}

/// Which hosts are meant. Compared without case and without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Any, and none.
    Any,
    /// This one.
    Exact(Box<str>),
    /// `*.example.com`: one or more labels in front of this suffix, which is kept without `*.`.
    Wildcard(Box<str>),
}

impl HostPattern {
    /// Whether this host, as received and without its port, is meant.
    pub fn is_for(&self, host: &[u8]) -> bool {
        let host = host.strip_suffix(b".").unwrap_or(host);
        match self {
            Self::Any => true,
            Self::Exact(name) => host.eq_ignore_ascii_case(name.as_bytes()),
            Self::Wildcard(suffix) => {
                let front = host.len().checked_sub(suffix.len());
                front.is_some_and(|front| {
                    front > 1
                        && host[front - 1] == b'.'
                        && host[front..].eq_ignore_ascii_case(suffix.as_bytes())
                })
            }
        }
    }
}

/// One segment of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// These bytes, decoded.
    Literal(Box<[u8]>),
    /// Any one segment that is not empty.
    Param,
    /// All that is left, which may be empty; the last segment only.
    Rest,
}
