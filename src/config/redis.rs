//! `[redis]`: the store in which limits of the whole fleet are counted.
//!
//! One for all limits. Its password is masked wherever the file is shown; best it comes from a file.

use std::time::Duration;

use crate::config::defaults;
use crate::config::jwt::Secret;
use crate::config::language::REDIS;
use crate::config::listener::read_address;
use crate::config::reader::Reader;
use crate::config::span::{Span, Spanned, Text};
use crate::config::tree::{Entry, Log};
use crate::config::units::Address;

/// The store.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Where the table stands.
    pub span: Span,
    /// Where it listens.
    pub address: Spanned<Address>,
    /// Who asks (an ACL user). Default: the store's default user.
    pub user: Option<Text>,
    /// What proves it.
    pub password: Option<Secret>,
    /// Which of its databases. Default: 0.
    pub database: u32,
    /// How long an answer may take. Default: 50 ms.
    pub timeout: Duration,
}

/// Reads `[redis]`; `None` without an address.
pub(super) fn read(entry: &Entry, log: &Log) -> Option<Redis> {
    let reader = Reader::open(&REDIS, &entry.node, log)?;
    if let Some(node) = reader.node("password") {
        log.mask(node.span);
    }
    if reader.node("address").is_none() {
        reader.missing(
            "address",
            "write `address = \"127.0.0.1:6379\"`, or `\"unix:/run/redis.sock\"`",
        );
    }
    let user = reader.text("user");
    let password = reader.text("password").map(|text| Secret::new(text.value));
    let database = reader.integer("database").map_or(0, |number| number.value as u32);
    let (min, max) = defaults::STORE_TIMEOUT_RANGE;
    let timeout = reader.duration_in("timeout", min, max);
    if let (Some(user), None) = (&user, &password) {
        let message = "a user without a `password` proves nothing";
        reader.error(crate::config::codes::MISSING_KEY, user.span, message);
    }
    Some(Redis {
        span: entry.key.span,
        address: read_address(reader.node("address")?, log)?,
        user,
        password,
        database,
        timeout: timeout.map_or(defaults::STORE_TIMEOUT, |timeout| timeout.value),
    })
}
