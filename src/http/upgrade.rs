//! Leaving HTTP: which requests ask for another protocol, and which answers grant it (RFC 9110 §7.8).
//!
//! A tunnel must never open unless three agree: the operator listed the protocol, the client asked for it in the
//! one form that cannot be read otherwise, and the origin said that it switched to it. Whatever else a request
//! says about upgrades is ignored, as §7.8 lets a server do, and stays behind like every hop-by-hop field: an
//! origin that never sees the question cannot switch behind our back. That closes the WebSocket smuggling of
//! 2019 (a refused handshake after which a proxy tunnels all the same) and HTTP/2 in disguise (`h2c`).
//!
//! Choice: Sec-WebSocket-Key, -Version and -Accept pass as they came. They are between the ends, which check
//! them (RFC 6455 §4.1, §4.2.2); an origin that wants another version says so with 426, and that must arrive.

use crate::base::name::Name;
use crate::http::framing::BodyLength;
use crate::http::head::{Request, Response};
use crate::http::headers::Fields;
use crate::http::names::FieldName;
use crate::http::{Method, Status, Version, chars};

/// The protocol of RFC 6455, as it stands in Upgrade.
pub const WEBSOCKET: &str = "websocket";

/// The answer that changes the protocol (RFC 9110 §15.2.2).
pub const SWITCHING: Status = Status(101);

/// Why a request is refused, in one word: it is a [`HandshakeWithBody`].
pub const HANDSHAKE_WITH_BODY: &str = "handshake_with_body";

/// A WebSocket handshake that announces content. It has none (RFC 6455 §4.1), and who counts it as part of
/// the tunnel and who reads it as content would see different requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeWithBody;

/// The protocol among `allowed` that a request asks for; `None` when it asks for none that is honoured.
///
/// # Errors
/// A WebSocket handshake with content: to be refused.
pub fn asked<'p>(
    request: Request<'_>,
    allowed: &'p [Name],
) -> Result<Option<&'p Name>, HandshakeWithBody> {
    let (head, raw) = (request.head, request.raw);
    let Some(value) = only_upgrade(&head.fields, raw) else { return Ok(None) };
    // HTTP/1.0 knows no upgrades (§7.8), and CONNECT has a tunnel of its own.
    let able = head.version != Version::Http10 && head.method != Method::Connect;
    if !able || !has_upgrade_option(&head.fields, raw) {
        return Ok(None);
    }
    let named = |protocol: &&Name| protocol.as_str().as_bytes().eq_ignore_ascii_case(value);
    let Some(protocol) = allowed.iter().find(named) else { return Ok(None) };
    if protocol.as_str().eq_ignore_ascii_case(WEBSOCKET) {
        if head.method != Method::Get {
            return Ok(None);
        }
        if head.body != BodyLength::None {
            return Err(HandshakeWithBody);
        }
    }
    Ok(Some(protocol))
}

/// Whether a 101 grants just the protocol that was asked for.
pub fn granted(response: Response<'_>, protocol: &Name) -> bool {
    let (head, raw) = (response.head, response.raw);
    let same = |value: &[u8]| protocol.as_str().as_bytes().eq_ignore_ascii_case(value);
    head.version == Version::Http11
        && has_upgrade_option(&head.fields, raw)
        && only_upgrade(&head.fields, raw).is_some_and(same)
}

/// The value of the only Upgrade line. Several, or a list in one, offer a choice that is not taken.
fn only_upgrade<'r>(fields: &Fields, raw: &'r [u8]) -> Option<&'r [u8]> {
    let mut lines = fields.iter().filter(|field| field.id == FieldName::Upgrade);
    match (lines.next(), lines.next()) {
        (Some(only), None) => Some(only.value.of(raw)),
        _ => None,
    }
}

/// Whether Connection says that Upgrade is meant for us (RFC 9110 §7.6.1).
fn has_upgrade_option(fields: &Fields, raw: &[u8]) -> bool {
    let mut values = fields.all(FieldName::Connection, raw);
    values.any(|value| chars::list(value).any(|option| option.eq_ignore_ascii_case(b"upgrade")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h1::parse::{self, HeadLimits, Parsed};
    use crate::http::head::{RequestHead, ResponseHead};

    fn ask(allowed: &[&str], raw: &str) -> Result<Option<String>, HandshakeWithBody> {
        let raw = raw.replace('\n', "\r\n");
        let mut head = RequestHead::default();
        let outcome = parse::request(raw.as_bytes(), 0, &HeadLimits::default(), &mut head);
        assert_eq!(outcome, Ok(Parsed::Done), "{raw}");
        let allowed: Vec<Name> = allowed.iter().map(|name| Name::new(name)).collect();
        let asked = asked(Request { head: &head, raw: raw.as_bytes() }, &allowed)?;
        Ok(asked.map(|name| name.as_str().to_owned()))
    }

    fn grants(protocol: &str, raw: &str) -> bool {
        let raw = raw.replace('\n', "\r\n");
        let mut head = ResponseHead::default();
        let limits = HeadLimits::default();
        let outcome = parse::response(raw.as_bytes(), 0, &limits, Method::Get, &mut head);
        assert_eq!(outcome, Ok(Parsed::Done), "{raw}");
        granted(Response { head: &head, raw: raw.as_bytes() }, &Name::new(protocol))
    }

    #[test]
    fn a_handshake_is_recognised_in_any_case() {
        for fields in [
            "Upgrade: websocket\nConnection: Upgrade\n",
            "upgrade: WebSocket\nconnection: keep-alive, upgrade\n",
            "Connection: keep-alive\nUPGRADE: WEBSOCKET\nConnection: UPGRADE\n",
            "Upgrade: websocket\nConnection: Upgrade\nContent-Length: 0\n",
        ] {
            let raw = format!("GET / HTTP/1.1\nHost: a\n{fields}\n");
            assert_eq!(ask(&["websocket"], &raw), Ok(Some("websocket".into())), "{raw}");
        }
    }

    #[test]
    fn what_is_no_handshake_asks_for_nothing() {
        for (line, fields) in [
            ("GET / HTTP/1.1", "Upgrade: websocket\n"),
            ("GET / HTTP/1.1", "Connection: upgrade\n"),
            ("GET / HTTP/1.1", "Connection: upgraded\nUpgrade: websocket\n"),
            ("GET / HTTP/1.1", "Connection: upgrade\nUpgrade: websocket, h2c\n"),
            ("GET / HTTP/1.1", "Connection: upgrade\nUpgrade: websocket\nUpgrade: websocket\n"),
            ("GET / HTTP/1.1", "Connection: upgrade\nUpgrade: websocket/13\n"),
            ("GET / HTTP/1.1", "Connection: upgrade\nUpgrade: h2c\n"),
            ("GET / HTTP/1.1", "Connection: upgrade\nUpgrade: tcp\n"),
            ("GET / HTTP/1.1", "Connection: upgrade\nUpgrade:\n"),
            ("GET / HTTP/1.0", "Connection: upgrade\nUpgrade: websocket\n"),
            ("HEAD / HTTP/1.1", "Connection: upgrade\nUpgrade: websocket\n"),
            ("POST / HTTP/1.1", "Connection: upgrade\nUpgrade: websocket\nContent-Length: 1\n"),
            ("OPTIONS * HTTP/1.1", "Connection: upgrade\nUpgrade: websocket\n"),
            ("CONNECT a:1 HTTP/1.1", "Connection: upgrade\nUpgrade: websocket\n"),
        ] {
            let raw = format!("{line}\nHost: a\n{fields}\n");
            assert_eq!(ask(&["websocket"], &raw), Ok(None), "{raw}");
        }
        let raw = "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\n\n";
        assert_eq!(ask(&[], raw), Ok(None));
    }

    #[test]
    fn a_handshake_with_content_is_refused() {
        for fields in ["Content-Length: 1\n", "Transfer-Encoding: chunked\n"] {
            let raw = format!(
                "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\n{fields}\n"
            );
            assert_eq!(ask(&["websocket"], &raw), Err(HandshakeWithBody));
        }
    }

    #[test]
    fn other_protocols_may_be_asked_for_by_other_methods() {
        let raw = "POST /exec HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: spdy/3.1\n\
            Content-Length: 2\n\n";
        assert_eq!(ask(&["tcp", "SPDY/3.1"], raw), Ok(Some("SPDY/3.1".into())));
    }

    #[test]
    fn only_an_answer_that_names_the_protocol_grants_it() {
        let head = "HTTP/1.1 101 Switching Protocols\n";
        let good = "Upgrade: WebSocket\nConnection: keep-alive, Upgrade\n\n";
        assert!(grants("websocket", &format!("{head}{good}")));
        for bad in [
            "\n",
            "Upgrade: websocket\n\n",
            "Connection: Upgrade\n\n",
            "Upgrade: tcp\nConnection: Upgrade\n\n",
            "Upgrade: websocket, tcp\nConnection: Upgrade\n\n",
            "Upgrade: websocket\nUpgrade: tcp\nConnection: Upgrade\n\n",
        ] {
            assert!(!grants("websocket", &format!("{head}{bad}")), "{bad}");
        }
        assert!(!grants("websocket", &format!("HTTP/1.0 101 X\n{good}")));
    }
}
