//! The Forwarded field (RFC 7239 §4), element by element from the right.
//!
//! The last element was written by our neighbour; elements before it may be anything that a client made
//! up. So a line is cut at the last comma outside of quotes as seen from its end, and only that element is
//! then read, strictly: what stands to the left can never change how it is read. An element is never read
//! by half: one that breaks the grammar, has no `for`, or names an obfuscated or unknown node says nothing.

use std::net::{IpAddr, SocketAddr};

use crate::exchange::client::Said;
use crate::http::chars;

/// The elements of one line, the last first; `None` for one that tells no address.
pub(super) fn from_right(value: &[u8]) -> impl Iterator<Item = Option<Said>> {
    cut(value).map(|text| element(text)?.said())
}

/// Whether every element of a line keeps the grammar, so that whoever reads on finds the same ones. A list
/// may have empty elements (RFC 9110 §5.6.1.2).
pub(super) fn is_whole(value: &[u8]) -> bool {
    cut(value).all(|text| text.is_empty() || element(text).is_some())
}

/// The texts between commas, the last first.
fn cut(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest?;
        let comma = last_comma(value);
        rest = comma.map(|at| &value[..at]);
        Some(chars::trim(&value[comma.map_or(0, |at| at + 1)..]))
    })
}

/// The last comma outside of quotes, as seen from the end: a quote behind an odd number of backslashes is
/// part of its string.
fn last_comma(value: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for at in (0..value.len()).rev() {
        match value[at] {
            b'"' => {
                let escapes = value[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                if escapes.is_multiple_of(2) {
                    quoted = !quoted;
                }
            }
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// What is looked at of an element.
#[derive(Default)]
struct Element<'a> {
    node: Option<&'a [u8]>,
    proto: Option<&'a [u8]>,
}

impl Element<'_> {
    fn said(&self) -> Option<Said> {
        let tls = self.proto.map(|proto| proto.eq_ignore_ascii_case(b"https"));
        Some(Said { tls, ..node(self.node?)? })
    }
}

/// `forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )`; `None` if it is none.
fn element(mut text: &[u8]) -> Option<Element<'_>> {
    const KNOWN: [&[u8]; 4] = [b"by", b"for", b"host", b"proto"];
    let mut element = Element::default();
    // Each at most once (§4). Others may come and are not looked at.
    let mut seen = [false; KNOWN.len()];
    while let Some(first) = text.first() {
        if *first == b';' {
            text = &text[1..];
            continue;
        }
        let (name, value, behind) = pair(text)?;
        if let Some(index) = KNOWN.iter().position(|known| known.eq_ignore_ascii_case(name)) {
            if std::mem::replace(&mut seen[index], true) {
                return None;
            }
            match index {
                1 => element.node = Some(value),
                3 => element.proto = Some(value),
                _ => {}
            }
        }
        text = match behind.split_first() {
            None => &[],
            Some((b';', behind)) => behind,
            Some(_) => return None,
        };
    }
    Some(element)
}

/// A name, a value without its quotes, and what follows. No whitespace surrounds the equals sign.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&text[..equals], &text[equals + 1..]);
    if !chars::is_token(name) {
        return None;
    }
    let Some(inside) = value.strip_prefix(b"\"") else {
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        let (token, behind) = value.split_at(end);
        return chars::is_token(token).then_some((name, token, behind));
    };
    let mut at = 0;
    loop {
        match inside.get(at)? {
            b'"' => return Some((name, &inside[..at], &inside[at + 1..])),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// `node = nodename [ ":" node-port ]` (§6): an address with or without a port. `unknown`, an obfuscated
/// name (`_x`) and an escape inside of quotes, which no address needs, tell nothing.
fn node(text: &[u8]) -> Option<Said> {
    let text = std::str::from_utf8(text).ok()?;
    let (name, port) = match text.strip_prefix('[') {
        Some(inside) => {
            let (name, behind) = inside.split_once(']')?;
            let port = if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) };
            (IpAddr::V6(name.parse().ok()?), port)
        }
        None => {
            let (name, port) =
                text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
            (IpAddr::V4(name.parse().ok()?), port)
        }
    };
    let port = match port {
        None => 0,
        // An obfuscated port hides no more than itself.
        Some(port) if port.starts_with('_') && chars::is_token(port.as_bytes()) => 0,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
    };
    let end = SocketAddr::new(name, port);
    Some(Said::of(end.ip(), end.port()))
}
