//! How often, how many at once and how fast: `[limit.NAME]`, `concurrency`, `bandwidth`, and the store of fleet limits.
//!
//! Like the rest of the language a key never stands anywhere else.

use crate::base::limits::SEAT_QUEUE_MAX;
use crate::config::defaults::{
    CONCURRENCY_CEILING, KEYS_CEILING, LIMIT_BURST_CEILING, STORE_DATABASES,
};
use crate::config::schema::{Key, Section, Shape};

/// `[limit.NAME]`
pub static LIMIT: Section = Section {
    title: "[limit.NAME]",
    here: "this limit",
    doc: "A rate limit, exact for the whole machine. Over it the answer is 429 with `Retry-After`.",
    keys: &[
        Key::new("rate", Shape::Rate, "Requests of one key in the long run.").required(),
        Key::new(
            "burst",
            Shape::Integer(1, LIMIT_BURST_CEILING),
            "Requests that one key may make at once after a pause.",
        )
        .or("one second's worth, at least `1`"),
        Key::new(
            "key",
            Shape::Text,
            "What is counted apart: `\"{client.address}\"`, `\"{client.network}\"` (the /64 of an IPv6 client), `\"{jwt.sub}\"`, `\"{header.x-tenant}\"`, `\"{path.id}\"`, `\"{view}\"` of a merge, or a text without braces for one count of all.",
        )
        .required(),
        Key::new(
            "keys_max",
            Shape::Integer(1, KEYS_CEILING),
            "Keys that are remembered. When more come at once, some share a count: never more passes than the rule allows.",
        )
        .or("`1048576`"),
        Key::new(
            "ipv6_prefix",
            Shape::Integer(32, 128),
            "How many bits of an IPv6 client's `{client.address}` are counted as one; IPv4 addresses are whole.",
        )
        .or("`64`"),
        Key::new(
            "cost",
            Shape::Text,
            "What a request spends: a template of a whole number, `\"{header.x-cost}\"`. Let nobody but your own services set it.",
        )
        .or("1 a request"),
        Key::new(
            "cost_default",
            Shape::Integer(1, LIMIT_BURST_CEILING),
            "What a request spends that does not say it, or no number.",
        )
        .or("`1`"),
        Key::new(
            "cost_max",
            Shape::Integer(1, LIMIT_BURST_CEILING),
            "The most that one request spends, whatever it says; at most the burst.",
        )
        .or("the burst"),
        Key::new(
            "dry_run",
            Shape::Boolean,
            "Counts and logs what it would refuse, and refuses nothing.",
        )
        .or("`false`"),
        Key::new(
            "store",
            Shape::Choice(&["redis"]),
            "Counts for the whole fleet, in the store of `[redis]`.",
        )
        .or("this machine"),
        Key::new(
            "mode",
            Shape::Choice(&["leased", "exact"]),
            "With a store: `leased` decides at once and tells the store afterwards, `exact` asks it for each request.",
        )
        .or("`\"leased\"`"),
        Key::new(
            "away",
            Shape::Choice(&["local", "allow", "deny"]),
            "While the store is away: this machine counts by itself, everybody passes, or nobody does (503).",
        )
        .or("`\"local\"`"),
        Key::later("quota"),
        Key::later("status"),
    ],
};

/// `bandwidth` of a route.
pub static BANDWIDTH: Section = Section {
    title: "bandwidth",
    here: "this bandwidth",
    doc: "How fast answers go, in bytes written to clients. See docs/policies/bandwidth.md.",
    keys: &[
        Key::new("each", Shape::Text, "Each answer, at least `\"1KiB/s\"`."),
        Key::new("all", Shape::Text, "All answers of the route together, on all cores."),
    ],
};

/// `[redis]`
pub static REDIS: Section = Section {
    title: "[redis]",
    here: "this store",
    doc: "Redis or Valkey, for limits with `store = \"redis\"`. See docs/policies/fleet-limits.md.",
    keys: &[
        Key::new("address", Shape::Text, "`\"ip:port\"` or `\"unix:/path\"`.").required(),
        Key::new("user", Shape::Text, "An ACL user.").or("the store's default user"),
        Key::new("password", Shape::Text, "Best as `\"${file:…}\"`."),
        Key::new("database", Shape::Integer(0, STORE_DATABASES), "The number of a database.")
            .or("`0`"),
        Key::new(
            "timeout",
            Shape::Duration,
            "How long an answer may take, `1ms` to `500ms`; a slower store is away.",
        )
        .or("`\"50ms\"`"),
        Key::later("tls"),
    ],
};

/// `concurrency` of a route or an upstream.
pub static CONCURRENCY: Section = Section {
    title: "concurrency",
    here: "this concurrency",
    doc: "How many at once, exact for the whole machine. See docs/policies/concurrency.md.",
    keys: &[
        Key::new("max", Shape::Integer(1, CONCURRENCY_CEILING), "All together; of an adaptive limit the most."),
        Key::new("key", Shape::Text, "What is counted apart besides, as in `[limit.NAME]`."),
        Key::new("key_max", Shape::Integer(1, CONCURRENCY_CEILING), "How many of one key."),
        Key::new(
            "queue",
            Shape::Integer(0, SEAT_QUEUE_MAX as i64),
            "How many may wait for a seat, on all cores together; who exceeds `key_max` never waits.",
        )
        .or("`0`"),
        Key::new(
            "wait",
            Shape::Duration,
            "How long each may wait in a burst. A queue that stands for longer is an overload.",
        )
        .or("`\"100ms\"`"),
        Key::new(
            "target",
            Shape::Duration,
            "How long each may wait in an overload, where the newest is served first.",
        )
        .or("`\"5ms\"`"),
        Key::new(
            "adaptive",
            Shape::Boolean,
            "Finds out how many the origin can take from how long it takes, between `min` and `max`.",
        )
        .or("`false`"),
        Key::new(
            "min",
            Shape::Integer(1, CONCURRENCY_CEILING),
            "The least adaptive limit; every 30 seconds it holds for a moment, to measure the origin without a queue.",
        )
        .or("`4`"),
    ],
};
