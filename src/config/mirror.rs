//! `mirror` of a route or of `[default]`: a copy of requests for a second upstream.
//!
//! What is copied is bounded here and never costs the client anything; a share of nothing is told, because it
//! would look like a mirror and be none.

use std::time::Duration;

use crate::base::limits::MIRROR_BODY_BYTES_MAX;
use crate::config::aggregate::{self, Call};
use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::MIRROR;
use crate::config::reader::{Reader, text_of, wrong_type};
use crate::config::span::Text;
use crate::config::tree::{Kind, Node};

/// A second upstream that gets copies.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Where copies go.
    pub to: Call,
    /// How many of a million requests. Default: all.
    pub millionths: u32,
    /// Longest body that is copied. Unit: bytes. Default: 64 KiB.
    pub body_bytes_max: u64,
    /// How long the second upstream may take. Default: 15 s.
    pub timeout: Duration,
}

/// Reads `mirror`.
pub(super) fn read(outer: &Reader<'_>, node: &Node) -> Option<Mirror> {
    if matches!(node.kind, Kind::Text(_)) {
        let text = text_of(node, outer.log, "an upstream")?;
        let to = aggregate::read_call(&text, false, outer.log)?;
        return Some(Mirror {
            to,
            millionths: MILLION,
            body_bytes_max: defaults::MIRROR_BODY,
            timeout: defaults::TOTAL_TIMEOUT,
        });
    }
    let reader = Reader::open(&MIRROR, node, outer.log)?;
    if reader.node("to").is_none() {
        reader.missing("to", "write `mirror = { to = \"UPSTREAM\", share = \"1%\" }`");
    }
    let share = share_text(&reader, "share").map(|share| read_share(&reader, &share));
    let body = reader.bytes("body_max", 0, MIRROR_BODY_BYTES_MAX);
    let timeout = reader.duration("timeout");
    let to = aggregate::read_call(&reader.text("to")?, false, reader.log)?;
    Some(Mirror {
        to,
        millionths: share.unwrap_or(Some(MILLION))?,
        body_bytes_max: body.map_or(defaults::MIRROR_BODY, |body| body.value),
        timeout: timeout.map_or(defaults::TOTAL_TIMEOUT, |timeout| timeout.value),
    })
}

/// The text of a percentage; a bare number is told what it may have meant.
pub(super) fn share_text(reader: &Reader<'_>, key: &str) -> Option<Text> {
    let node = reader.node(key)?;
    if let Kind::Integer(_) | Kind::Float(_) = node.kind {
        wrong_type(reader.log, node, "a percentage", "write \"10%\", not 0.1 or 10");
        return None;
    }
    reader.text(key)
}

const MILLION: u32 = 1_000_000;

/// A percentage, as millionths.
pub(super) fn read_share(reader: &Reader<'_>, text: &Text) -> Option<u32> {
    let share = millionths(&text.value);
    if share.is_none() {
        let message = format!("`{}` is not a share", text.value);
        let diagnostic = Diagnostic::error(codes::BAD_UNIT, text.span, message);
        reader
            .log
            .push(diagnostic.help("write a percentage above nothing: \"100%\", \"5%\", \"0.01%\""));
    }
    share
}

/// `5%`, `0.01%`; at least a millionth, at most all.
fn millionths(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() > 3 || fraction.len() > 4 {
        return None;
    }
    let fraction: u32 = format!("{fraction:0<4}").parse().ok()?;
    let share = whole.parse::<u32>().ok()? * 10_000 + fraction;
    (1..=MILLION).contains(&share).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_down_to_a_millionth() {
        assert_eq!(millionths("100%"), Some(MILLION));
        assert_eq!(millionths("5 %"), Some(50_000));
        assert_eq!(millionths("0.0001%"), Some(1));
        assert_eq!(millionths("12.5%"), Some(125_000));
        for bad in [
            "0%",
            "0.00001%",
            "101%",
            "100.1%",
            "5",
            "%",
            "-1%",
            "1.%",
            ".5%",
            "1e2%",
            "99999999999%",
        ] {
            assert_eq!(millionths(bad), None, "{bad}");
        }
    }
}
