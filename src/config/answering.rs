//! `cors`, `compress`, `grpc_web`, `request_headers`, `response_headers`, `maintenance`, `mirror` of a route or of `[default]`.
//!
//! What a route says replaces what `[default]` says, whole: two lists are never mixed in silence. `"none"`
//! opts out by name.

use crate::config::codes;
use crate::config::compress::{self, Compress};
use crate::config::cors::{self, Cors};
use crate::config::diagnostic::Diagnostic;
use crate::config::header_edit::{self, HeaderEdits};
use crate::config::maintenance::{self, Maintenance};
use crate::config::mirror::{self, Mirror};
use crate::config::reader::Reader;
use crate::config::tree::{Kind, Node};

/// What a route does to requests and answers on their way.
#[derive(Clone, Debug, Default)]
pub struct Answering {
    /// What browsers are told about pages of other origins.
    pub cors: Option<Cors>,
    /// How answers are compressed.
    pub compress: Option<Compress>,
    /// Whether calls in gRPC-Web are translated.
    pub grpc_web: bool,
    /// Fields of requests that are sent on.
    pub request_headers: Option<HeaderEdits>,
    /// Fields of answers.
    pub response_headers: Option<HeaderEdits>,
    /// What everybody gets while the route is closed.
    pub maintenance: Option<Maintenance>,
    /// A second upstream that gets copies.
    pub mirror: Option<Mirror>,
}

/// What one table says; absent means "as above", `Some(None)` that there is none.
#[derive(Clone, Default)]
pub(super) struct Stated {
    cors: Option<Option<Cors>>,
    compress: Option<Option<Compress>>,
    grpc_web: Option<bool>,
    request_headers: Option<Option<HeaderEdits>>,
    response_headers: Option<Option<HeaderEdits>>,
    maintenance: Option<Option<Maintenance>>,
    mirror: Option<Option<Mirror>>,
}

impl Stated {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        Self {
            cors: word(reader, "cors", cors::read),
            compress: compress::read(reader),
            grpc_web: reader.boolean("grpc_web").map(|on| on.value),
            request_headers: word(reader, "request_headers", header_edit::read_request),
            response_headers: word(reader, "response_headers", header_edit::read_response),
            maintenance: word(reader, "maintenance", maintenance::read),
            mirror: word(reader, "mirror", mirror::read),
        }
    }

    pub(super) fn over(self, other: &Stated) -> Answering {
        let other = other.clone();
        Answering {
            cors: self.cors.or(other.cors).flatten(),
            compress: self.compress.or(other.compress).flatten(),
            grpc_web: self.grpc_web.or(other.grpc_web).unwrap_or(false),
            request_headers: self.request_headers.or(other.request_headers).flatten(),
            response_headers: self.response_headers.or(other.response_headers).flatten(),
            maintenance: self.maintenance.or(other.maintenance).flatten(),
            mirror: self.mirror.or(other.mirror).flatten(),
        }
    }
}

/// The word of a key: what it says, or that there is none.
pub(super) fn word<T>(
    reader: &Reader<'_>,
    key: &str,
    read: impl FnOnce(&Reader<'_>, &Node) -> Option<T>,
) -> Option<Option<T>> {
    let node = reader.node(key)?;
    if matches!(&node.kind, Kind::Text(text) if text == "none") {
        return Some(None);
    }
    read(reader, node).map(Some)
}

/// Reports a key that is for routes that `forward`, where this one does not.
pub(super) fn only_forwarded(reader: &Reader<'_>, key: &str, why: &str) {
    let Some(entry) = reader.entry(key) else { return };
    match &entry.node.kind {
        Kind::Text(text) if text == "none" => return,
        Kind::Boolean(false) => return,
        _ => {}
    }
    let message = format!("`{key}` means nothing here: {why}");
    let diagnostic = Diagnostic::error(codes::WRONG_TARGET, entry.key.span, message);
    reader.log.push(diagnostic.help("it is for routes that `forward`"));
}
