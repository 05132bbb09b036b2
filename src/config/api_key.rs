//! `[api_key.NAME]`: keys that name their owner, in a file of keyed hashes.
//!
//! The secret under which keys are hashed must never be printed, and neither the file nor the configuration
//! ever holds a key itself.

use std::path::PathBuf;

use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::jwt::{Secret, beside};
use crate::config::language::API_KEY;
use crate::config::reader::Reader;
use crate::config::span::{Spanned, Text};
use crate::config::tree::{Entry, Log};

/// Keys and where they stand.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The name that routes use.
    pub name: Text,
    /// The file, joined to the folder of the file that names it.
    pub keys: Spanned<PathBuf>,
    /// What keys are hashed with.
    pub secret: Secret,
    /// The field, in lower case. Default: `x-api-key`.
    pub header: String,
    /// The query parameter, if one may hold a key.
    pub query: Option<String>,
    /// Whether keys are sent on. Default: no.
    pub forward: bool,
}

/// Reads one `[api_key.NAME]`; `None` without keys or secret.
pub(super) fn read(entry: &Entry, log: &Log) -> Option<ApiKey> {
    let reader = Reader::open(&API_KEY, &entry.node, log)?;
    if let Some(node) = reader.node("secret") {
        log.mask(node.span);
    }
    if reader.node("keys").is_none() {
        reader.missing("keys", "write `keys = \"keys.txt\"`; `ringway hash-key` makes its lines");
    }
    if reader.node("secret").is_none() {
        reader.missing("secret", "write `secret = \"${file:/run/secrets/api-keys}\"`; make one with `openssl rand -base64 48`");
    }
    let name_of = |key: &str| {
        let name = reader.text(key)?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !name.value.is_empty() && name.value.bytes().all(token) {
            return Some(name.value);
        }
        let message = format!("this cannot be the name of a {key} that holds a key");
        reader.error(codes::BAD_NAME, name.span, message);
        None
    };
    let header = name_of("header").map(|name| name.to_ascii_lowercase());
    let query = name_of("query");
    let forward = reader.boolean("forward").is_some_and(|forward| forward.value);
    let secret = reader.text("secret");
    let keys = reader.text("keys")?;
    let secret = secret?;
    if secret.value.len() < defaults::SECRET_BYTES_MIN {
        let message = format!(
            "this secret is too short: it must have at least {} bytes",
            defaults::SECRET_BYTES_MIN
        );
        let diagnostic = Diagnostic::error(codes::OUT_OF_RANGE, secret.span, message);
        log.push(diagnostic.help("make one with `openssl rand -base64 48`"));
        return None;
    }
    let path = beside(&keys.value, keys.span, log);
    Some(ApiKey {
        name: entry.key.clone(),
        keys: keys.map(|_| path),
        secret: Secret::new(secret.value),
        header: header.unwrap_or_else(|| defaults::API_KEY_HEADER.into()),
        query,
        forward,
    })
}
