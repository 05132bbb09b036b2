//! `http2` of an upstream: which version of HTTP its endpoints are spoken to in.
//!
//! Without TLS nobody negotiates, so that `"auto"` there would mean nothing; a connection that names one client
//! (`proxy_protocol`) is never shared by several. Both are refused and never guessed at.

use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::reader::{Reader, choice_of, wrong_type};
use crate::config::tree::Kind;

/// Which version of HTTP an upstream is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    /// HTTP/1.1. The default.
    No,
    /// HTTP/2 and nothing else.
    Yes,
    /// What the endpoint chooses in the handshake of TLS.
    Auto,
}

/// Reads `http2`.
pub(super) fn read(reader: &Reader<'_>) -> Http2 {
    let Some(node) = reader.node("http2") else { return Http2::No };
    let said = match &node.kind {
        Kind::Boolean(true) => Http2::Yes,
        Kind::Boolean(false) => return Http2::No,
        Kind::Text(_) => match choice_of(node, &["auto"], reader.log) {
            Some(_) => Http2::Auto,
            None => return Http2::No,
        },
        _ => {
            wrong_type(reader.log, node, "`true`, `false` or \"auto\"", "");
            return Http2::No;
        }
    };
    let off =
        |key| matches!(reader.node(key).map(|node| &node.kind), None | Some(Kind::Boolean(false)));
    if said == Http2::Auto && off("tls") {
        let message = "without `tls` there is no handshake in which an endpoint could choose";
        let diagnostic = Diagnostic::error(codes::BAD_PROTOCOL, node.span, message);
        reader.log.push(
            diagnostic.help("write `http2 = true` for HTTP/2 from the first byte, or add `tls`"),
        );
    }
    if let Some(header) = reader.choice("proxy_protocol").filter(|word| word.value != "off") {
        let message =
            "a connection with a PROXY header serves one client, and one in HTTP/2 serves all";
        let diagnostic = Diagnostic::error(codes::BAD_PROTOCOL, node.span, message);
        let diagnostic = diagnostic.also(header.span, "the header is asked for here");
        reader.log.push(diagnostic.help("leave out one of the two"));
    }
    said
}
