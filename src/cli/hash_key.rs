//! `ringway hash-key`: makes an API key, prints it once, and the line for the file of keys.
//!
//! The key is 256 random bits from the kernel. It is never written anywhere by this program but to standard
//! output, and never asked for again: the file has its keyed hash only.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::cli::{CONFIG, OK, Said, USAGE};
use crate::control::load;
use crate::policy::api_key;
use crate::policy::key_limit::KeyLimit;
use crate::runtime::entropy;

/// What the key is for.
pub struct Wishes {
    /// The `[api_key.NAME]` whose secret hashes it; the only one if there is one.
    pub name: Option<String>,
    /// Whose it is.
    pub owner: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// Until when.
    pub until: Option<String>,
    /// How often it may be used.
    pub limit: Option<String>,
    /// How often at once.
    pub burst: Option<String>,
}

/// Makes a key for the configuration at `path`, or the default one.
pub fn run(path: Option<&Path>, wishes: &Wishes) -> Said {
    let failed =
        |code, err: String| Said { out: String::new(), err: format!("error: {err}\n"), code };
    let word = |text: &str| {
        !text.is_empty()
            && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '=')
    };
    if !word(&wishes.owner) || wishes.owner.starts_with('#') {
        return failed(USAGE, "an owner is a word without blanks and `=`".into());
    }
    if wishes.scopes.iter().any(|scope| !word(scope) || scope.contains(',')) {
        return failed(
            USAGE,
            "a scope is a word without blanks, commas and `=`; give `--scope` once for each".into(),
        );
    }
    if wishes.until.as_ref().is_some_and(|until| api_key::moment(until).is_none()) {
        return failed(USAGE, "`--until` is a day, `2027-01-31`, or seconds since 1970".into());
    }
    let bounded = wishes.limit.as_ref().map(|rate| KeyLimit::parse(rate, wishes.burst.as_deref()));
    if bounded.as_ref().is_some_and(Option::is_none)
        || wishes.limit.is_none() && wishes.burst.is_some()
    {
        let why = "`--limit` is a rate, `100/s`, `10/m`, `1000/h`, `5000/d`, and `--burst` a number beside it";
        return failed(USAGE, why.into());
    }
    let (config, found) = load::read(&load::path(path));
    if found.has_errors() {
        return Said { out: String::new(), err: found.render(), code: CONFIG };
    }
    let tables = &config.api_keys;
    let table = match (&wishes.name, tables.as_slice()) {
        (Some(name), tables) => tables.iter().find(|table| table.name.value == *name),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let Some(table) = table else {
        let names: Vec<&str> = tables.iter().map(|table| table.name.value.as_str()).collect();
        let why = match names.as_slice() {
            [] => "the configuration has no `[api_key.NAME]`".into(),
            names => format!("which `[api_key.NAME]` is it for? there are: {}", names.join(", ")),
        };
        return failed(CONFIG, why);
    };
    let mut bytes = [0; 32];
    for eight in bytes.chunks_exact_mut(8) {
        eight.copy_from_slice(&entropy::seed().to_ne_bytes());
    }
    let key = format!("rwk_{}", URL_SAFE_NO_PAD.encode(bytes));
    let mut line = api_key::hash(table.secret.expose().as_bytes(), key.as_bytes());
    line.push_str(&format!(" {}", wishes.owner));
    if !wishes.scopes.is_empty() {
        line.push_str(&format!(" scope={}", wishes.scopes.join(",")));
    }
    if let Some(until) = &wishes.until {
        line.push_str(&format!(" until={until}"));
    }
    if let Some(limit) = &wishes.limit {
        line.push_str(&format!(" limit={limit}"));
    }
    if let Some(burst) = &wishes.burst {
        line.push_str(&format!(" burst={burst}"));
    }
    let file = table.keys.value.display();
    let err = format!(
        "the key, which is not shown again, and the line for {file}; a running gateway takes it within a second\n"
    );
    Said { out: format!("{key}\n{line}\n"), err, code: OK }
}
