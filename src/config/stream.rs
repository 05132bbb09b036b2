//! `stream = true` on a route: what an answer cannot have whose head goes out early.
//!
//! An entity tag is made of all bytes (RFC 9110 §8.8), and fields of a part's answer have to be here before the
//! head: neither is ever left out in silence.

use crate::config::aggregate::Part;
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::reader::Reader;

/// Looks at a route that streams.
pub(super) fn check(reader: &Reader<'_>, parts: &[Part], etag: bool, on_partial: Option<&str>) {
    let Some(stream) = reader.entry("stream").map(|entry| entry.key.span) else { return };
    let reason = "this sends the head before all parts are here";
    if let Some(entry) = reader.entry("etag").filter(|_| etag) {
        let message = "an answer that streams has no entity tag: it is made of all bytes";
        let diagnostic = Diagnostic::error(codes::BAD_STREAM, entry.key.span, message);
        reader.log.push(diagnostic.also(stream, reason).help("remove `etag` or `stream`"));
    }
    for part in parts.iter().filter(|part| part.fallback.is_some()) {
        let Some(header) = part.headers.first() else { continue };
        let name = &part.name.value;
        let message = format!(
            "fields of `{name}` cannot go to the client: the part is optional and may end behind the head"
        );
        let diagnostic = Diagnostic::error(codes::BAD_STREAM, header.span, message);
        let advice = "remove `headers`, or `else`, which makes the part optional";
        reader.log.push(diagnostic.also(stream, reason).help(advice));
    }
    if let Some(entry) = reader.entry("on_partial").filter(|_| on_partial == Some("fail")) {
        let message = "the head waits for all parts: `on_partial` makes every one required";
        let diagnostic = Diagnostic::warning(codes::STREAM_WAITS, entry.key.span, message);
        reader.log.push(diagnostic.also(stream, "so that this sends nothing early"));
    }
}
