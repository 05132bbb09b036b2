//! `[basic.NAME]`: names and passwords (RFC 7617), the passwords in a file of Argon2 hashes.
//!
//! Neither the file nor the configuration ever holds a password.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::defaults;
use crate::config::jwt::beside;
use crate::config::language::BASIC;
use crate::config::reader::Reader;
use crate::config::span::{Spanned, Text};
use crate::config::tree::{Entry, Log};
use crate::config::units::Rate;

/// Users and where they stand.
#[derive(Clone, Debug)]
pub struct Basic {
    /// The name that routes use.
    pub name: Text,
    /// The file, joined to the folder of the file that names it.
    pub users: Spanned<PathBuf>,
    /// What browsers show. Default: the name.
    pub realm: String,
    /// How long a password that was checked is remembered. Default: 5 min.
    pub ttl: Duration,
    /// Wrong passwords that one network may bring. Default: 20 a minute.
    pub failures: Spanned<Rate>,
    /// Whether credentials are sent on. Default: no.
    pub forward: bool,
}

/// Reads one `[basic.NAME]`; `None` without users.
pub(super) fn read(entry: &Entry, log: &Log) -> Option<Basic> {
    let reader = Reader::open(&BASIC, &entry.node, log)?;
    if reader.node("users").is_none() {
        reader.missing(
            "users",
            "write `users = \"users.txt\"`; `ringway hash-password --user NAME` makes its lines",
        );
    }
    let ttl = reader.duration_in("ttl", defaults::BASIC_TTL_MIN, defaults::BASIC_TTL_MAX);
    let failures = reader.rate("failures");
    let realm = reader.text("realm").map(|realm| realm.value);
    let forward = reader.boolean("forward").is_some_and(|forward| forward.value);
    let users = reader.text("users")?;
    let path = beside(&users.value, users.span, log);
    Some(Basic {
        name: entry.key.clone(),
        users: users.map(|_| path),
        realm: realm.unwrap_or_else(|| entry.key.value.clone()),
        ttl: ttl.map_or(defaults::BASIC_TTL, |ttl| ttl.value),
        failures: failures.unwrap_or_else(|| Spanned::built_in(defaults::BASIC_FAILURES)),
        forward,
    })
}
