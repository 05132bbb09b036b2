//! Routes for CONNECT (RFC 9110 §9.3.6): a tunnel to an upstream that the operator named.
//!
//! Such a route is never an open proxy: the authority of the request only chooses the route, as a host does,
//! and the bytes go to an endpoint of its upstream. So that nobody opens one by accident, CONNECT is taken by
//! no route that does not name it, and a route that names it does nothing else.

use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::matching::{Match, Segment};
use crate::config::reader::Reader;
use crate::config::route::Target;

/// Refuses what a route for CONNECT cannot mean.
pub(super) fn check(reader: &Reader<'_>, matches: &Match, target: &Target) {
    let Some(method) = matches.methods.iter().find(|method| method.value == "CONNECT") else {
        return;
    };
    let log = reader.log;
    if matches.methods.len() > 1 {
        let message = "CONNECT stands alone: its requests become tunnels and have no path";
        let diagnostic = Diagnostic::error(codes::BAD_MATCH, method.span, message);
        log.push(diagnostic.help("give it a route of its own: `match = \"CONNECT host/\"`"));
    }
    let root =
        matches!(matches.segments.as_slice(), [Segment::Literal(text)] if text.value.is_empty());
    if !root {
        let message = "a CONNECT request has no path";
        let diagnostic = Diagnostic::error(codes::BAD_MATCH, matches.text.span, message);
        log.push(diagnostic.help("write `CONNECT /` for any host, or `CONNECT db.example.com/`"));
    }
    let plain = matches!(target, Target::Forward(call) if call.target.is_none());
    if !plain {
        let message = "a route for CONNECT forwards to an upstream, without a path";
        let diagnostic = Diagnostic::error(codes::WRONG_TARGET, method.span, message);
        log.push(
            diagnostic.help("write `forward = \"UPSTREAM\"`: its endpoint is what is dialled"),
        );
    }
    if let Some(entry) = reader.entry("upgrade") {
        let message = "`upgrade` means nothing here: CONNECT is a tunnel already";
        log.push(Diagnostic::error(codes::WRONG_TARGET, entry.key.span, message));
    }
}
