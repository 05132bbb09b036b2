//! `bandwidth` of a route and of `[default]`: bytes a second, of each response and of all together.
//!
//! It never means requests: how many of these there may be is a limit's business.

use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::BANDWIDTH;
use crate::config::reader::{Reader, quoted, text_of, wrong_type};
use crate::config::tree::{Kind, Log, Node};
use crate::config::units;

/// How fast responses may go. Unit: bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Each of them.
    pub each: Option<u64>,
    /// All of a route together, on all cores.
    pub all: Option<u64>,
}

/// Reads the key `bandwidth`: `None` if it is absent or wrong, `Some(None)` for `"none"`.
pub(super) fn read(reader: &Reader<'_>) -> Option<Option<Bandwidth>> {
    let node = reader.node("bandwidth")?;
    match &node.kind {
        Kind::Text(text) if text == "none" => Some(None),
        Kind::Text(_) => {
            Some(Some(Bandwidth { each: Some(read_rate(node, reader.log)?), all: None }))
        }
        Kind::Table(_) => {
            let table = reader.table("bandwidth", &BANDWIDTH)?;
            let rate = |key: &str| table.node(key).and_then(|node| read_rate(node, reader.log));
            let (each, all) = (rate("each"), rate("all"));
            if table.node("each").is_none() && table.node("all").is_none() {
                table.missing("each", "write `each = \"1MiB/s\"`, `all = \"100MiB/s\"`, or both");
                return None;
            }
            Some(Some(Bandwidth { each, all }))
        }
        _ => {
            let advice = "write `bandwidth = \"1MiB/s\"`";
            wrong_type(reader.log, node, "a size in a second", advice);
            None
        }
    }
}

fn read_rate(node: &Node, log: &Log) -> Option<u64> {
    let text = text_of(node, log, "a size in a second, like \"1MiB/s\"")?;
    let size = text.value.trim().strip_suffix("/s").map(str::trim_end).map(units::bytes);
    match size {
        Some(Ok(bytes)) if bytes >= defaults::BANDWIDTH_MIN => Some(bytes),
        Some(Ok(_)) => {
            let message = "less than 1KiB a second is no bandwidth: clients give up";
            log.error(codes::OUT_OF_RANGE, node.span, message);
            None
        }
        _ => {
            let message = format!("{} is not a size in a second", quoted(node, &text.value));
            let diagnostic = Diagnostic::error(codes::BAD_UNIT, node.span, message);
            log.push(diagnostic.help("write a size and `/s`: `500KiB/s`, `1MiB/s`"));
            None
        }
    }
}
