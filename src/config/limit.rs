//! `[limit.NAME]`: a rate limit, exact for the whole machine.
//!
//! A limit always says what it counts apart (`key`), and never gets one by default: a limit that silently
//! counted all clients together would let one of them lock out the others. The key's template is compiled, and
//! its names are checked, in `compile`.

use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::LIMIT;
use crate::config::reader::Reader;
use crate::config::span::{Spanned, Text};
use crate::config::tree::{Entry, Log};
use crate::config::units::Rate;

/// A rate limit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The name that routes use.
    pub name: Text,
    /// Requests of one key in the long run.
    pub rate: Spanned<Rate>,
    /// Requests of one key at once after a pause. Default: one second's worth, at least 1.
    pub burst: u64,
    /// The template of what is counted apart.
    pub key: Text,
    /// Keys that are remembered. Default: 2^20.
    pub keys_max: usize,
}

/// Reads one `[limit.NAME]`; `None` without rate or key.
pub(super) fn read(entry: &Entry, log: &Log) -> Option<Limit> {
    let reader = Reader::open(&LIMIT, &entry.node, log)?;
    if reader.node("rate").is_none() {
        reader.missing("rate", "write `rate = \"100/s\"`");
    }
    if reader.node("key").is_none() {
        reader.missing(
            "key",
            "write `key = \"{client.address}\"`, or `key = \"all\"` for one count of all",
        );
    }
    let keys_max = reader.integer("keys_max").map(|number| number.value as usize);
    let burst = reader.integer("burst").map(|number| number.value as u64);
    let key = reader.text("key");
    let rate = reader.rate("rate")?;
    if rate.value.count > defaults::LIMIT_RATE_CEILING {
        let message = format!("a rate counts at most {}", defaults::LIMIT_RATE_CEILING);
        log.push(Diagnostic::error(codes::OUT_OF_RANGE, rate.span, message));
        return None;
    }
    let second = rate.value.count / rate.value.per.as_secs().max(1);
    Some(Limit {
        name: entry.key.clone(),
        rate,
        burst: burst.unwrap_or(second.max(1)),
        key: key?,
        keys_max: keys_max.unwrap_or(defaults::LIMIT_KEYS_MAX),
    })
}
