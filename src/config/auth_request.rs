//! `[auth_request.NAME]`: a service that is asked who may pass.
//!
//! What verdicts are remembered by is never guessed: a key that leaves out what the service looks at would let one
//! client pass for another.

use std::time::Duration;

use crate::config::aggregate::{self, Call};
use crate::config::defaults;
use crate::config::fields;
use crate::config::language::{AUTH_CACHE, AUTH_REQUEST};
use crate::config::reader::Reader;
use crate::config::span::Text;
use crate::config::tree::{Entry, Log};

/// A service that is asked.
#[derive(Clone, Debug)]
pub struct AuthRequest {
    /// The name that routes use.
    pub name: Text,
    /// Who is asked, and for what.
    pub to: Call,
    /// Fields of the answer that go on with the request, in lower case.
    pub copy: Vec<Text>,
    /// How long it may take. Default: 5 s.
    pub timeout: Duration,
    /// What verdicts are remembered by, and for how long; `None`: they are not.
    pub cache: Option<(Text, Duration)>,
}

/// Reads one `[auth_request.NAME]`; `None` without a service.
pub(super) fn read(entry: &Entry, log: &Log) -> Option<AuthRequest> {
    let reader = Reader::open(&AUTH_REQUEST, &entry.node, log)?;
    if reader.node("to").is_none() {
        reader.missing("to", "write `to = \"UPSTREAM /verify\"`");
    }
    let copy = fields::names(reader.texts("copy"), log);
    let copy = copy.into_iter().filter(|name| fields::check_own(name, log)).collect();
    let timeout = reader.duration("timeout");
    let cache = read_cache(&reader);
    let to = aggregate::read_call(&reader.text("to")?, true, log)?;
    Some(AuthRequest {
        name: entry.key.clone(),
        to,
        copy,
        timeout: timeout.map_or(defaults::AUTH_REQUEST_TIMEOUT, |timeout| timeout.value),
        cache,
    })
}

fn read_cache(reader: &Reader<'_>) -> Option<(Text, Duration)> {
    let table = reader.table("cache", &AUTH_CACHE)?;
    if table.node("key").is_none() {
        table.missing(
            "key",
            "name all that the service looks at: `key = \"{header.authorization?} {request.path}\"`",
        );
    }
    if table.node("ttl").is_none() {
        table.missing("ttl", "write `ttl = \"10s\"`");
    }
    let ttl = table.duration_in("ttl", Duration::from_millis(1), defaults::AUTH_CACHE_TTL_MAX);
    Some((table.text("key")?, ttl?.value))
}
