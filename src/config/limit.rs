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
use crate::config::span::{Span, Spanned, Text};
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
    /// How much of an IPv6 address `{client.address}` counts in a key. Unit: bits, 32–128. Default: 64.
    pub ipv6_prefix: u8,
    /// The template of what a request spends; `None`: 1.
    pub cost: Option<Text>,
    /// What is spent when the request does not say it. Default: 1.
    pub cost_default: u64,
    /// The most that is spent. Default: the burst.
    pub cost_max: u64,
    /// Whether it only tells what it would refuse. Default: false.
    pub dry_run: bool,
    /// Whether it is counted for the whole fleet, and how. Default: for this machine.
    pub store: Option<Stored>,
}

/// How a limit of the fleet is counted.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where it is said.
    pub span: Span,
    /// Whether each request asks the store. Default: no, it is told afterwards.
    pub exact: bool,
    /// What happens while the store is away. Default: this machine counts.
    pub away: &'static str,
}

/// What one request spends.
struct Costs {
    from: Option<Text>,
    default: Option<Spanned<u64>>,
    max: Option<Spanned<u64>>,
}

impl Costs {
    /// The same, no more than a burst: what spends more never passes.
    fn within(self, burst: u64, log: &Log) -> Costs {
        if let Some(max) = self.max.as_ref().filter(|max| max.value > burst) {
            let message =
                format!("a request that spends more than the burst ({burst}) never passes");
            log.push(Diagnostic::error(codes::OUT_OF_RANGE, max.span, message));
        }
        let ceiling = self.max.as_ref().map_or(burst, |max| max.value.min(burst));
        if let Some(default) = self.default.as_ref().filter(|cost| cost.value > ceiling) {
            let message = format!("a request spends at most {ceiling} here");
            log.push(Diagnostic::error(codes::OUT_OF_RANGE, default.span, message));
        }
        self
    }
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
    let costs = read_costs(&reader);
    let store = read_store(&reader);
    let prefix = reader.integer("ipv6_prefix").map(|number| number.value as u8);
    let dry_run = reader.boolean("dry_run").is_some_and(|dry| dry.value);
    let rate = reader.rate("rate")?;
    if rate.value.count > defaults::LIMIT_RATE_CEILING {
        let message = format!("a rate counts at most {}", defaults::LIMIT_RATE_CEILING);
        log.push(Diagnostic::error(codes::OUT_OF_RANGE, rate.span, message));
        return None;
    }
    let second = rate.value.count / rate.value.per.as_secs().max(1);
    let burst = burst.unwrap_or(second.max(1));
    let costs = costs.within(burst, log);
    Some(Limit {
        name: entry.key.clone(),
        rate,
        burst,
        key: key?,
        keys_max: keys_max.unwrap_or(defaults::LIMIT_KEYS_MAX),
        ipv6_prefix: prefix.unwrap_or(defaults::LIMIT_IPV6_PREFIX),
        cost: costs.from,
        cost_default: costs.default.map_or(1, |cost| cost.value),
        cost_max: costs.max.map_or(burst, |cost| cost.value),
        dry_run,
        store,
    })
}

fn read_store(reader: &Reader<'_>) -> Option<Stored> {
    let (mode, away) = (reader.choice("mode"), reader.choice("away"));
    let Some(store) = reader.choice("store") else {
        if reader.node("store").is_none()
            && let Some(lone) = mode.or(away)
        {
            let message = "this says something of a `store` that is not here";
            let diagnostic = Diagnostic::error(codes::MISSING_KEY, lone.span, message);
            reader.log.push(diagnostic.help("write `store = \"redis\"`"));
        }
        return None;
    };
    let exact = mode.is_some_and(|mode| mode.value == "exact");
    Some(Stored { span: store.span, exact, away: away.map_or("local", |away| away.value) })
}

fn read_costs(reader: &Reader<'_>) -> Costs {
    let from = reader.text("cost");
    let number = |key: &str| reader.integer(key).map(|number| number.map(|cost| cost as u64));
    let (default, max) = (number("cost_default"), number("cost_max"));
    if let (None, Some(lone)) = (&from, default.as_ref().or(max.as_ref())) {
        let message = "this says something of a `cost` that is not here";
        let diagnostic = Diagnostic::error(codes::MISSING_KEY, lone.span, message);
        reader.log.push(diagnostic.help("write `cost = \"{header.x-cost}\"`"));
    }
    Costs { from, default, max }
}
