//! `[jwt.NAME]`: an issuer of tokens (RFC 7519), its keys (RFC 7517), and what a token must say.
//!
//! A key must never be printed: [`Secret`] has no readable `Debug`, its source is masked in errors.
//! `none` is not an algorithm of the language, and the algorithm is never taken from a token (RFC 8725 §3.1).

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::{ALGORITHMS, JWT, REVOKED_STORE};
use crate::config::reader::{Reader, choice_of, wrong_type};
use crate::config::span::{Span, Spanned, Text};
use crate::config::tree::{Entry, Kind, Log, Node};

/// An issuer of tokens.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// The name that routes use.
    pub name: Text,
    /// Where its keys come from.
    pub keys: Spanned<KeySource>,
    /// `iss` must be one of these; empty: not asked for.
    pub issuers: Vec<Text>,
    /// `aud` must hold one of these; empty: not asked for.
    pub audiences: Vec<Text>,
    /// Algorithms that are taken (names of RFC 7518); empty: what the key can do.
    pub algorithms: Vec<Spanned<&'static str>>,
    /// How far clocks may differ. Range: 0–5 min. Default: 30 s.
    pub leeway: Duration,
    /// Claims that must be there, besides `exp`.
    pub required: Vec<Text>,
    /// How often a key set from a URL is fetched. At least 10 s. Default: 5 min.
    pub refresh: Duration,
    /// Where a token may stand besides `Authorization`, in the order in which they are looked at.
    pub places: Vec<(TokenPlace, Text)>,
    /// Whether tokens are sent on. Default: those in fields are, those in cookies and queries are not.
    pub forward: Option<bool>,
    /// Whether tokens must keep RFC 9068. Default: no.
    pub rfc9068: bool,
    /// A file of revoked tokens and subjects, joined to the folder of the file that names it.
    pub revoked: Option<Spanned<PathBuf>>,
    /// What a store is asked besides. Default: none is.
    pub revoked_store: Option<RevokedStore>,
}

/// How a store is asked about tokens.
#[derive(Clone, Debug)]
pub struct RevokedStore {
    /// Where it is said.
    pub span: Span,
    /// How long its word is remembered. Default: 5 s.
    pub ttl: Duration,
    /// Whether tokens pass while it is away. Default: no.
    pub passes_without: bool,
}

/// A place of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// A field other than `Authorization`.
    Header,
    /// A cookie.
    Cookie,
    /// A parameter of the query.
    Query,
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A key set in a file; relative paths are already joined to the folder of the file that names it.
    JwksFile(PathBuf),
    /// A key set at an `http://` or `https://` URL.
    JwksUrl(String),
    /// The key set that the issuer at this URL names (OpenID Connect Discovery 1.0).
    Discovery(String),
    /// A shared secret.
    Secret(Secret),
    /// A public key in PEM (not a secret, but kept like one: a private key may be there by mistake).
    Pem(Secret),
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A text that is not to be shown from now on.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one who checks signatures with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Reads one `[jwt.NAME]`; `None` if its keys cannot be told.
pub(super) fn read(entry: &Entry, log: &Log) -> Option<Jwt> {
    let reader = Reader::open(&JWT, &entry.node, log)?;
    for key in ["secret", "pem"] {
        if let Some(node) = reader.node(key) {
            log.mask(node.span);
        }
    }
    let algorithms = reader.list("algorithms", "a list of algorithms");
    let algorithms =
        algorithms.iter().filter_map(|node| choice_of(node, ALGORITHMS, log)).collect();
    let leeway = reader.duration_in("leeway", Duration::ZERO, defaults::JWT_LEEWAY_MAX);
    let refresh = reader.duration_in("refresh", defaults::JWKS_REFRESH_MIN, defaults::DURATION_MAX);
    let jwt = Jwt {
        name: entry.key.clone(),
        keys: Spanned::built_in(KeySource::JwksFile(PathBuf::new())),
        issuers: reader.texts("issuer"),
        audiences: reader.texts("audience"),
        algorithms,
        leeway: leeway.map_or(defaults::JWT_LEEWAY, |leeway| leeway.value),
        required: reader.texts("required"),
        refresh: refresh.map_or(defaults::JWKS_REFRESH, |refresh| refresh.value),
        places: read_places(&reader),
        forward: reader.boolean("forward").map(|forward| forward.value),
        rfc9068: reader.choice("profile").is_some_and(|word| word.value == "rfc9068"),
        revoked: reader.text("revoked").map(|text| {
            let path = beside(&text.value, text.span, log);
            text.map(|_| path)
        }),
        revoked_store: read_store(&reader),
    };
    let keys = read_keys(&reader, &jwt.issuers)?;
    Some(Jwt { keys, ..jwt })
}

fn read_store(reader: &Reader<'_>) -> Option<RevokedStore> {
    let span = reader.node("revoked_store")?.span;
    let table = reader.table("revoked_store", &REVOKED_STORE)?;
    let ttl = table.duration_in("ttl", Duration::from_millis(1), defaults::REVOKED_TTL_MAX);
    let away = table.choice("away");
    Some(RevokedStore {
        span,
        ttl: ttl.map_or(defaults::REVOKED_TTL, |ttl| ttl.value),
        passes_without: away.is_some_and(|away| away.value == "allow"),
    })
}

/// Where a token may stand.
fn read_places(reader: &Reader<'_>) -> Vec<(TokenPlace, Text)> {
    let mut places = Vec::new();
    for (key, place) in [
        ("header", TokenPlace::Header),
        ("cookie", TokenPlace::Cookie),
        ("query", TokenPlace::Query),
    ] {
        let Some(name) = reader.text(key) else { continue };
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.value.is_empty() || !name.value.bytes().all(token) {
            let message = format!("this cannot be the name of a {key} that holds a token");
            reader.error(codes::BAD_NAME, name.span, message);
            continue;
        }
        if place == TokenPlace::Header && name.value.eq_ignore_ascii_case("authorization") {
            let message = "`Authorization` is always looked at; this names a further field";
            reader.error(codes::BAD_NAME, name.span, message);
            continue;
        }
        let lower = place == TokenPlace::Header;
        places.push((place, name.map(|name| if lower { name.to_ascii_lowercase() } else { name })));
    }
    places
}

/// A path of the configuration: relative ones are meant from the folder of the file that names them.
pub(super) fn beside(path: &str, span: Span, log: &Log) -> PathBuf {
    let sources = log.sources();
    let file = sources.file(span.file).map_or("", |file| file.name.as_str());
    Path::new(file).parent().unwrap_or(Path::new("")).join(path)
}

/// The one key source of an issuer.
fn read_keys(reader: &Reader<'_>, issuers: &[Text]) -> Option<Spanned<KeySource>> {
    let given: Vec<&Entry> =
        ["jwks", "secret", "pem"].into_iter().filter_map(|key| reader.entry(key)).collect();
    let [only] = given.as_slice() else {
        if given.is_empty() && reader.is_misspelt(&["jwks", "secret", "pem"]) {
            return None;
        }
        if let ([], [issuer]) = (given.as_slice(), issuers)
            && is_url(&issuer.value)
        {
            return Some(issuer.clone().map(KeySource::Discovery));
        }
        reader.log.push(not_one(reader.place, &given));
        return None;
    };
    let node = &only.node;
    let Kind::Text(text) = &node.kind else {
        wrong_type(reader.log, node, "a text", "");
        return None;
    };
    let source = match only.key.value.as_str() {
        "jwks" => jwks(text, node, reader.log)?,
        "pem" => pem(text, node, reader.log)?,
        _ => secret(text, node, reader.log)?,
    };
    Some(Spanned::new(source, node.span))
}

fn not_one(place: Span, given: &[&Entry]) -> Diagnostic {
    let Some((first, others)) = given.split_first() else {
        let message =
            "this issuer has no keys: exactly one of `jwks`, `secret`, `pem` must be there";
        return Diagnostic::error(codes::NOT_ONE_OF, place, message)
            .help("write `jwks = \"https://idp.internal/jwks.json\"`, or one `issuer` that is a URL and tells where its keys are (OpenID Connect)");
    };
    let message =
        "this issuer has several key sources: exactly one of `jwks`, `secret`, `pem` may be there";
    let diagnostic = Diagnostic::error(codes::NOT_ONE_OF, first.key.span, message);
    others.iter().fold(diagnostic, |all, other| all.also(other.key.span, "and another"))
}

fn jwks(text: &str, node: &Node, log: &Log) -> Option<KeySource> {
    if text.starts_with("http://") || text.starts_with("https://") {
        if !is_url(text) {
            log.error(codes::BAD_ADDRESS, node.span, "this is not a URL");
            return None;
        }
        return Some(KeySource::JwksUrl(text.to_owned()));
    }
    if text.is_empty() || text.contains("://") {
        let message = "a key set is a file or an `http://` or `https://` URL";
        log.error(codes::BAD_ADDRESS, node.span, message);
        return None;
    }
    Some(KeySource::JwksFile(beside(text, node.span, log)))
}

/// Whether a text is an `http://` or `https://` URL with a host.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.unwrap_or("");
    !host.is_empty() && !host.starts_with('/') && !text.contains(char::is_whitespace)
}

fn pem(text: &str, node: &Node, log: &Log) -> Option<KeySource> {
    if !text.contains("-----BEGIN ") {
        let diagnostic =
            Diagnostic::error(codes::BAD_CHOICE, node.span, "this is not a key in PEM");
        log.push(diagnostic.help(
            "it begins with `-----BEGIN PUBLIC KEY-----`; a file is read with `\"${file:/path}\"`",
        ));
        return None;
    }
    if text.contains("PRIVATE KEY-----") {
        let message = "this is a private key: checking signatures takes the public one";
        log.error(codes::BAD_CHOICE, node.span, message);
        return None;
    }
    Some(KeySource::Pem(Secret(text.to_owned())))
}

fn secret(text: &str, node: &Node, log: &Log) -> Option<KeySource> {
    if text.len() < defaults::SECRET_BYTES_MIN {
        let message = format!(
            "this secret is too short: HS256 needs at least {} bytes (RFC 7518 §3.2)",
            defaults::SECRET_BYTES_MIN
        );
        let diagnostic = Diagnostic::error(codes::OUT_OF_RANGE, node.span, message);
        log.push(diagnostic.help("make one with `openssl rand -base64 48`"));
        return None;
    }
    Some(KeySource::Secret(Secret(text.to_owned())))
}
