//! `upgrade` of a route or of `[default]`: the protocols that a client may leave HTTP for.
//!
//! A protocol inside of which requests could pass unseen by every policy is never allowed, whatever the
//! operator writes: HTTP itself in any version (`h2c`, RFC 9113 §3.1 has no use for it) and TLS (RFC 2817).

use crate::base::limits::UPGRADES_PER_ROUTE_MAX;
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::reader::Reader;
use crate::config::span::Text;
use crate::config::suggest;

/// Protocols whose content would be requests again.
const BLIND: [&str; 5] = ["http", "h2", "h2c", "h3", "tls"];

/// Reads the key; `None` where it is absent, empty for `"none"`.
pub(super) fn read(reader: &Reader<'_>) -> Option<Vec<Text>> {
    let node = reader.node("upgrade")?;
    let protocols = reader.texts("upgrade");
    if let [only] = protocols.as_slice()
        && only.value == "none"
    {
        return Some(Vec::new());
    }
    for (index, protocol) in protocols.iter().enumerate() {
        let same = |first: &&Text| first.value.eq_ignore_ascii_case(&protocol.value);
        if let Some(first) = protocols[..index].iter().find(same) {
            let message = format!("the protocol `{}` is here twice", protocol.value);
            let diagnostic = Diagnostic::error(codes::DUPLICATE, protocol.span, message);
            reader.log.push(diagnostic.also(first.span, "first written here"));
        } else if let Some((message, help)) = refused(&protocol.value) {
            let diagnostic = Diagnostic::error(codes::BAD_CHOICE, protocol.span, message);
            reader.log.push(diagnostic.help(help));
        } else if let Some(near) = suggest::slip(&protocol.value, &["websocket"]) {
            let message = "this protocol is none of the usual ones";
            let diagnostic = Diagnostic::warning(codes::SLIP, protocol.span, message);
            reader.log.push(diagnostic.suggest(Some(near), ""));
        }
    }
    if protocols.len() > UPGRADES_PER_ROUTE_MAX {
        let message = format!("a route has at most {UPGRADES_PER_ROUTE_MAX} protocols");
        reader.error(codes::OUT_OF_RANGE, node.span, message);
    }
    Some(protocols)
}

/// What is wrong with a protocol, and what to do.
fn refused(protocol: &str) -> Option<(String, &'static str)> {
    if protocol == "none" {
        let message = "`none` stands alone: it means that no upgrade is allowed".into();
        return Some((message, "write `upgrade = \"none\"`, or leave `none` out"));
    }
    if !protocol.splitn(2, '/').all(is_token) {
        let message = format!("`{protocol}` is not a protocol as it stands in an Upgrade field");
        let help = "a word, perhaps with a version: `websocket`, `tcp`, `SPDY/3.1` (RFC 9110 §7.8)";
        return Some((message, help));
    }
    let name = protocol.split('/').next().unwrap_or_default();
    BLIND.iter().any(|blind| name.eq_ignore_ascii_case(blind)).then(|| {
        let message = format!("an upgrade to `{protocol}` is never forwarded");
        (message, "requests inside of such a tunnel would pass every policy unseen; remove it")
    })
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let one = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_words_inside_of_which_there_is_no_http() {
        for fine in ["websocket", "WebSocket", "tcp", "SPDY/3.1", "x-thing"] {
            assert!(refused(fine).is_none(), "{fine}");
        }
        for bad in [
            "h2c", "H2C", "HTTP/2.0", "h2", "TLS/1.0", "", "a b", "a/", "/1", "a/1/2", "a,b",
            "none",
        ] {
            assert!(refused(bad).is_some(), "{bad}");
        }
    }
}
