//! Issuers of tokens: their rules, and where their keys come from.
//!
//! Keys that stand in the configuration are read here; those of files and URLs are loaded by control.
//! A key's text never gets into a diagnostic.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::name::Name;
use crate::compile::{Compiler, codes};
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, KeySource, Text};
use crate::policy::jose::Algorithm;
use crate::policy::jwks::KeySet;
use crate::policy::jwt::{Jwt, JwtRules};
use crate::policy::key_cell::KeyCell;

/// Where the keys of one issuer come from.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The issuer's name.
    pub name: Name,
    /// Where cores find them.
    pub cell: Arc<KeyCell>,
    /// Where they come from.
    pub from: KeysFrom,
    /// How often they are fetched again.
    pub refresh: Duration,
    /// The algorithms that are taken; empty: what the keys say.
    pub permitted: Vec<Algorithm>,
}

/// The place of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysFrom {
    /// An `http://` or `https://` URL.
    Url(String),
    /// A file.
    File(PathBuf),
    /// The configuration itself; they are in the cell already.
    Fixed,
}

/// All issuers.
pub(super) struct Issuers {
    /// The policies, by the issuer's place; `None` after an error.
    pub(super) policies: Vec<Option<Jwt>>,
    pub(super) keys: Vec<Keys>,
}

/// Largest file of keys that is read while compiling. Unit: bytes.
const KEYS_BYTES_MAX: u64 = crate::base::limits::KEY_SET_BYTES_MAX as u64;

impl Compiler<'_> {
    pub(super) fn issuers(&mut self) -> Issuers {
        let config = self.config;
        let mut issuers = Issuers { policies: Vec::new(), keys: Vec::new() };
        for written in &config.jwts {
            let policy = self.keys(written).map(|keys| {
                let texts = |list: &[Text]| list.iter().map(|text| text.value.clone()).collect();
                let rules = JwtRules {
                    name: keys.name.clone(),
                    keys: keys.cell.clone(),
                    issuers: texts(&written.issuers),
                    audiences: texts(&written.audiences),
                    leeway: written.leeway,
                    required: texts(&written.required),
                };
                issuers.keys.push(keys);
                Jwt::new(rules)
            });
            issuers.policies.push(policy);
        }
        issuers
    }

    fn keys(&mut self, written: &config::Jwt) -> Option<Keys> {
        let named = |name: &config::Spanned<&'static str>| Algorithm::named(name.value);
        let permitted: Vec<Algorithm> = written.algorithms.iter().filter_map(named).collect();
        let (from, fixed) = match &written.keys.value {
            KeySource::JwksUrl(url) => {
                if url.starts_with("http://") {
                    self.warn_plain(written);
                }
                (KeysFrom::Url(url.clone()), None)
            }
            KeySource::JwksFile(path) => {
                let text = self.around.file(path, KEYS_BYTES_MAX);
                let keys = text.map_err(|error| error.to_string()).and_then(|text| {
                    KeySet::from_jwks(text.as_bytes(), &permitted).map_err(|e| e.to_string())
                });
                (KeysFrom::File(path.clone()), Some(keys))
            }
            KeySource::Secret(secret) => {
                let keys = KeySet::from_secret(secret.expose().as_bytes(), &permitted);
                (KeysFrom::Fixed, Some(keys.map_err(|error| error.to_string())))
            }
            KeySource::Pem(pem) => {
                let keys = KeySet::from_pem(pem.expose().as_bytes(), &permitted);
                (KeysFrom::Fixed, Some(keys.map_err(|error| error.to_string())))
            }
        };
        let cell = match fixed {
            None => self.carried_cell(written),
            Some(Ok(keys)) => Arc::new(KeyCell::fixed(keys)),
            Some(Err(why)) => {
                let message = format!("these keys cannot be used: {why}");
                self.found.push(Diagnostic::error(codes::BAD_KEYS, written.keys.span, message));
                return None;
            }
        };
        let name = Name::new(&written.name.value);
        Some(Keys { name, cell, from, refresh: written.refresh, permitted })
    }

    /// Keys from a URL stay as long as the URL does: an issuer that is away must not matter to a reload.
    fn carried_cell(&mut self, written: &config::Jwt) -> Arc<KeyCell> {
        let KeySource::JwksUrl(url) = &written.keys.value else { return Arc::default() };
        let algorithms: Vec<_> = written.algorithms.iter().map(|name| name.value).collect();
        let settings = format!("{}\0{url}\0{algorithms:?}", written.name.value);
        let last = self.last.and_then(|last| last.carry.key_cells.get(&settings)).cloned();
        let cell = last.unwrap_or_default();
        self.carry.key_cells.insert(settings, cell.clone());
        cell
    }

    fn warn_plain(&mut self, written: &config::Jwt) {
        let message = "these keys are fetched over a connection that anybody on the way can change";
        let diagnostic = Diagnostic::warning(codes::PLAIN_KEYS, written.keys.span, message);
        self.found.push(diagnostic.help("use https:// unless the issuer is on this machine"));
    }
}
