//! Policies: issuers with their keys, and the chain of a route in its order; limits stand in `limit.rs`.
//!
//! Who may pass is never decided by what could not be compiled: a route with a policy that failed does
//! not compile at all. Key material is read here and handed on; it never stands in a diagnostic.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use crossbeam::channel::Receiver;

use crate::base::limits::KEY_SET_BYTES_MAX;
use crate::base::name::Name;
use crate::base::shared::Word;
use crate::compile::allow;
use crate::compile::assets::Assets;
use crate::compile::auth_request;
use crate::compile::codes;
use crate::compile::concurrency::SeatStock;
use crate::compile::limit::LimitStock;
use crate::compile::lists::{Kind, Lists};
use crate::compile::report::Report;
use crate::compile::route::Tables;
use crate::compile::template::Scope;
use crate::config::client_cert::Asked;
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, KeySource, Spanned, Text};
use crate::gateway::Gateway;
use crate::gateway::carry::{CarriedIssuer, Carry, KeyDigest};
use crate::policy::Policy;
use crate::policy::api_key::ApiKey;
use crate::policy::basic::Basic;
use crate::policy::bearer::{Bearer, TokenPlace};
use crate::policy::client_cert::ClientCerts;
use crate::policy::file_cell::List;
use crate::policy::jose::Algorithm;
use crate::policy::jwks::KeySet;
use crate::policy::jwt::{Jwt, JwtRules};
use crate::policy::key_cell::KeyCell;
use crate::policy::password::Job;
use crate::policy::revocation::Revoked;
use crate::policy::revoked_store::StoreRules;

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
    /// An `http://` or `https://` URL; the cell is empty, or has what the last version fetched.
    Url(String),
    /// The issuer, which says where; the cell is as with a URL.
    Discovery(String),
    /// A file; its keys are in the cell already.
    File(PathBuf),
    /// The configuration itself; they are in the cell already.
    Fixed,
}

/// A file whose presence means something.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The file.
    pub path: PathBuf,
    /// One while it is there.
    pub there: Arc<Word>,
}

/// What the policies of routes are made from.
#[derive(Default)]
pub struct Stock<'a> {
    /// Limits with their cells.
    pub limits: LimitStock<'a>,
    /// Who may be there at once.
    pub seats: SeatStock<'a>,
    issuers: HashMap<&'a str, Jwt>,
    /// What the next version takes over.
    pub carry: Carry,
    /// Where keys come from.
    pub keys: Vec<Keys>,
    /// Files whose presence closes routes.
    pub watched: Vec<Watched>,
    /// What comes from files of lists.
    pub lists: Lists,
    /// Tables of API keys.
    pub api_keys: HashMap<&'a str, ApiKey>,
    /// Tables of users.
    pub basics: HashMap<&'a str, Basic>,
    /// Services that are asked.
    pub auth_requests: &'a [config::AuthRequest],
    /// Passwords to check, which nobody takes yet.
    pub passwords: Option<Receiver<Job>>,
}

/// The seams that issuers and limits are made through.
pub struct Making<'a> {
    /// The version before.
    pub last: Option<&'a Gateway>,
    /// Files.
    pub assets: &'a Assets<'a>,
    /// Where mistakes go.
    pub report: &'a Report,
}

impl<'a> Stock<'a> {
    /// Makes an issuer with its keys, or takes over the last version's.
    pub fn add_issuer(&mut self, issuer: &'a config::Jwt, making: &Making<'_>) {
        let Some(source) = Source::read(issuer, making) else { return };
        let name = Name::new(&issuer.name.value);
        let digest = source.digest(issuer);
        let known = making.last.and_then(|last| last.carry.issuers.get(&name));
        let known = known.filter(|known| known.keys == digest);
        let keys = match known {
            Some(known) => Some(known.policy.rules().keys.clone()),
            None => source.cell(issuer, making.report),
        };
        let Some(keys) = keys else { return };
        let revoked = issuer.revoked.as_ref();
        let revoked = revoked.map(|file| {
            let place = (&*file.value, file.span);
            self.lists.read(&REVOKED, &name, place, making)
        });
        let revoked = match revoked {
            Some(list) => Some(match list {
                Some(list) => list,
                None => return,
            }),
            None => None,
        };
        if !profile_is_sound(issuer, making.report) {
            return;
        }
        let rules = JwtRules { revoked, ..rules_of(issuer, name.clone(), keys) };
        let policy = match known.filter(|known| same_rules(known.policy.rules(), &rules)) {
            Some(known) => known.policy.clone(),
            None => Jwt::new(rules),
        };
        if matches!(source, Source::Url(url) | Source::Discovery(url) if is_open(url)) {
            warn_plain(issuer, making.report);
        }
        self.keys.push(Keys {
            name: name.clone(),
            cell: policy.rules().keys.clone(),
            from: match &issuer.keys.value {
                KeySource::JwksUrl(url) => KeysFrom::Url(url.clone()),
                KeySource::Discovery(issuer) => KeysFrom::Discovery(issuer.clone()),
                KeySource::JwksFile(path) => KeysFrom::File(path.clone()),
                KeySource::Secret(_) | KeySource::Pem(_) => KeysFrom::Fixed,
            },
            refresh: issuer.refresh,
            permitted: permitted(issuer),
        });
        self.issuers.insert(&issuer.name.value, policy.clone());
        self.carry.issuers.insert(name, CarriedIssuer { keys: digest, policy });
    }

    /// Has a file watched that closes routes by being there.
    pub fn watch(&mut self, path: &Path) {
        if self.watched.iter().all(|known| known.path != path) {
            let there = Arc::new(Word::new(0));
            self.watched.push(Watched { path: path.to_path_buf(), there });
        }
    }

    /// The word of a file that is watched.
    pub fn switch(&self, path: &Path) -> Option<Arc<Word>> {
        self.watched.iter().find(|known| known.path == path).map(|known| known.there.clone())
    }

    /// The policies of a route, in the order of execution.
    pub fn chain(&self, scope: &Scope<'_>, tables: &Tables<'_>, report: &Report) -> Box<[Policy]> {
        let policies = &scope.route().policies;
        let Tables { limits, issuers, .. } = tables;
        let mut chain = Policy::limits(self.limits.of_route(scope, limits, report));
        chain.extend(policies.client_cert.as_ref().map(|asked| {
            let required = asked.value == Asked::Required;
            Policy::ClientCert(ClientCerts { required })
        }));
        let known = policies.jwt.iter().filter(|name| issuers.check(name, report));
        let known: Vec<(&Text, &Jwt)> =
            known.filter_map(|name| Some((name, self.issuers.get(name.value.as_str())?))).collect();
        if let Some(name) = &policies.api_key
            && tables.api_keys.check(name, report)
        {
            chain.extend(self.api_keys.get(name.value.as_str()).cloned().map(Policy::ApiKey));
        }
        if let Some(name) = &policies.basic
            && tables.basics.check(name, report)
        {
            chain.extend(self.basics.get(name.value.as_str()).cloned().map(Policy::Basic));
        }
        if !known.is_empty() && issuers_differ(&known, report) {
            let issuers = known.into_iter().map(|(_, issuer)| issuer.clone());
            chain.push(Policy::Jwt(Bearer::new(issuers.collect())));
        }
        chain.extend(auth_request::compile(self.auth_requests, scope, tables, report));
        chain.extend(allow::compile(scope, report));
        let seats = self.seats.of_route(scope, report);
        chain.extend(seats.map(|limit| Policy::Concurrency(Box::new(limit))));
        chain.sort_by_key(Policy::rank);
        chain.into()
    }
}

fn rules_of(issuer: &config::Jwt, name: Name, keys: Arc<KeyCell>) -> JwtRules {
    let texts = |list: &[Text]| list.iter().map(|text| text.value.clone()).collect();
    JwtRules {
        name,
        keys,
        issuers: texts(&issuer.issuers),
        audiences: texts(&issuer.audiences),
        leeway: issuer.leeway,
        required: texts(&issuer.required),
        places: issuer.places.iter().map(place).collect(),
        rfc9068: issuer.rfc9068,
        revoked: None,
        store: issuer
            .revoked_store
            .as_ref()
            .map(|store| StoreRules { ttl: store.ttl, passes_without: store.passes_without }),
    }
}

fn place((place, name): &(config::TokenPlace, Text)) -> TokenPlace {
    let name = name.value.as_str().into();
    match place {
        config::TokenPlace::Header => TokenPlace::Header(name),
        config::TokenPlace::Cookie => TokenPlace::Cookie(name),
        config::TokenPlace::Query => TokenPlace::Query(name),
    }
}

/// How lists of revoked tokens are read.
const REVOKED: Kind<Revoked> = Kind {
    parse: |text, _| Revoked::parse(text),
    wrap: List::Revoked,
    unwrap: |list| match list {
        List::Revoked(cell) => Some(cell),
        _ => None,
    },
};

/// RFC 9068 §4 asks to compare issuer and audience, so that both must be said.
fn profile_is_sound(issuer: &config::Jwt, report: &Report) -> bool {
    let sound = !issuer.rfc9068 || (!issuer.issuers.is_empty() && !issuer.audiences.is_empty());
    if !sound {
        let message = "access tokens are checked for their issuer and audience (RFC 9068 §4), and one of the two is not said";
        let diagnostic = Diagnostic::error(codes::BAD_ISSUER, issuer.name.span, message);
        report.push(diagnostic.help("write `issuer = \"https://…\"` and `audience = \"…\"`"));
    }
    sound
}

/// Of several issuers the `iss` of a token must name exactly one.
fn issuers_differ(known: &[(&Text, &Jwt)], report: &Report) -> bool {
    if known.len() < 2 {
        return true;
    }
    for (index, (name, issuer)) in known.iter().enumerate() {
        let names = &issuer.rules().issuers;
        let message = if names.is_empty() {
            format!("`{}` has no `issuer`, and a token's `iss` must tell these apart", name.value)
        } else {
            let mut before = known[..index].iter().filter(|(other, _)| other.value != name.value);
            let twin = before
                .find(|(_, other)| other.rules().issuers.iter().any(|name| names.contains(name)));
            let Some((twin, _)) = twin else { continue };
            format!("`{}` and `{}` have an `issuer` in common", twin.value, name.value)
        };
        report.error(codes::BAD_ISSUER, name.span, message);
        return false;
    }
    true
}

fn same_rules(one: &JwtRules, other: &JwtRules) -> bool {
    one.issuers == other.issuers
        && one.audiences == other.audiences
        && one.leeway == other.leeway
        && one.required == other.required
        && one.places == other.places
        && one.rfc9068 == other.rfc9068
        && one.store == other.store
        && match (&one.revoked, &other.revoked) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
}

fn permitted(issuer: &config::Jwt) -> Vec<Algorithm> {
    issuer.algorithms.iter().filter_map(|name| Algorithm::named(name.value)).collect()
}

/// Whether others can listen on the way to a URL: it is plain, and leads beyond this machine.
fn is_open(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let here = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    !here && !host.eq_ignore_ascii_case("localhost")
}

fn warn_plain(issuer: &config::Jwt, report: &Report) {
    let message = "these keys are fetched over a connection that anybody on the way can change";
    let diagnostic = Diagnostic::warning(codes::PLAIN_KEYS, issuer.keys.span, message);
    report.push(diagnostic.help("use https:// unless the issuer is on this machine"));
}

/// Where keys come from, files already read.
enum Source<'a> {
    Url(&'a str),
    Discovery(&'a str),
    Jwks(String),
    Secret(&'a str),
    Pem(&'a str),
}

impl<'a> Source<'a> {
    fn read(issuer: &'a config::Jwt, making: &Making<'_>) -> Option<Self> {
        match &issuer.keys.value {
            KeySource::JwksUrl(url) => Some(Self::Url(url)),
            KeySource::Discovery(issuer) => Some(Self::Discovery(issuer)),
            KeySource::Secret(secret) => Some(Self::Secret(secret.expose())),
            KeySource::Pem(pem) => Some(Self::Pem(pem.expose())),
            KeySource::JwksFile(path) => read_jwks(path, &issuer.keys, making).map(Self::Jwks),
        }
    }

    /// Changes exactly when other keys would come of it.
    fn digest(&self, issuer: &config::Jwt) -> KeyDigest {
        let (kind, text) = match self {
            Self::Url(url) => ("url", *url),
            Self::Discovery(issuer) => ("discovery", *issuer),
            Self::Jwks(text) => ("jwks", text.as_str()),
            Self::Secret(secret) => ("secret", *secret),
            Self::Pem(pem) => ("pem", *pem),
        };
        let mut hash = digest::Context::new(&digest::SHA256);
        for algorithm in &issuer.algorithms {
            hash.update(algorithm.value.as_bytes());
            hash.update(b" ");
        }
        hash.update(kind.as_bytes());
        hash.update(b"\0");
        hash.update(text.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.finish().as_ref());
        KeyDigest(bytes)
    }

    /// A new cell for these keys; `None` after an error.
    fn cell(&self, issuer: &config::Jwt, report: &Report) -> Option<Arc<KeyCell>> {
        let permitted = permitted(issuer);
        let set = match self {
            Self::Url(_) | Self::Discovery(_) => return Some(Arc::new(KeyCell::empty())),
            Self::Jwks(text) => KeySet::from_jwks(text.as_bytes(), &permitted),
            Self::Secret(secret) => KeySet::from_secret(secret.as_bytes(), &permitted),
            Self::Pem(pem) => KeySet::from_pem(pem.as_bytes(), &permitted),
        };
        match set {
            Ok(set) => {
                for left_out in set.left_out() {
                    let (index, why) = (left_out.index, left_out.why.name());
                    let message = format!("key {index} of this set is not used: {why}");
                    report.push(Diagnostic::warning(
                        codes::KEY_LEFT_OUT,
                        issuer.keys.span,
                        message,
                    ));
                }
                Some(Arc::new(KeyCell::fixed(set)))
            }
            Err(error) => {
                let diagnostic =
                    Diagnostic::error(codes::BAD_KEYS, issuer.keys.span, error.to_string());
                report.push(self.advise(diagnostic, issuer));
                None
            }
        }
    }

    fn advise(&self, diagnostic: Diagnostic, issuer: &config::Jwt) -> Diagnostic {
        let diagnostic = match issuer.algorithms.first() {
            Some(algorithm) => diagnostic.also(algorithm.span, "for this algorithm"),
            None => diagnostic,
        };
        match self {
            Self::Secret(_) => diagnostic.help(
                "a secret is as long as its hash (RFC 7518 §3.2): 32 bytes for HS256, 48 for HS384, 64 for HS512",
            ),
            _ => diagnostic,
        }
    }
}

fn read_jwks(path: &Path, keys: &Spanned<KeySource>, making: &Making<'_>) -> Option<String> {
    match making.assets.text(path, KEY_SET_BYTES_MAX) {
        Ok(text) => Some(text),
        Err(why) => {
            let message = format!("cannot read `{}`: {why}", path.display());
            making.report.error(codes::ASSET_UNREADABLE, keys.span, message);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_from_this_machine_cannot_be_changed_on_the_way() {
        for near in
            ["http://127.0.0.1:8000/a", "http://[::1]/a", "http://localhost/a", "https://idp.test/"]
        {
            assert!(!is_open(near), "{near}");
        }
        for far in
            ["http://idp.test/a", "http://127.0.0.1.test/", "http://10.0.0.1/", "http://a@b/"]
        {
            assert!(is_open(far), "{far}");
        }
    }
}
