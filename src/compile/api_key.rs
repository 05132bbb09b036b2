//! `[api_key.NAME]`: its file of keys, read and from then on watched.
//!
//! A table whose keys cannot be read never compiles: a route without keys would be closed to everybody.

use crate::base::name::Name;
use crate::compile::lists::{Kind, Lists};
use crate::compile::policy::Making;
use crate::config;
use crate::policy::api_key::{ApiKey, KeyBook, KeyRules};
use crate::policy::file_cell::List;

/// How files of keys are read.
const KEYS: Kind<KeyBook> = Kind {
    parse: KeyBook::parse,
    wrap: List::Keys,
    unwrap: |list| match list {
        List::Keys(cell) => Some(cell),
        _ => None,
    },
};

/// Compiles one table.
pub fn compile(table: &config::ApiKey, lists: &mut Lists, making: &Making<'_>) -> Option<ApiKey> {
    let name = Name::new(&table.name.value);
    let book = lists.read(&KEYS, &name, (&table.keys.value, table.keys.span), making)?;
    let secret = table.secret.expose().as_bytes();
    let rules = KeyRules::new(name, secret, &table.header, table.query.as_deref(), book);
    Some(ApiKey::new(rules))
}
