//! `[acme]`: the authority that certificates are obtained from, and how (RFC 8555).
//!
//! It only reads: nothing here ever speaks to an authority or looks into the storage. The secret of an external
//! account is masked wherever the file is shown.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::limits::{ACME_HOSTS_MAX, ACME_RENEW_BEFORE_RANGE};
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::{ACME, EXTERNAL_ACCOUNT};
use crate::config::reader::Reader;
use crate::config::span::{Span, Spanned, Text};
use crate::config::tls::{host, joined};
use crate::config::tree::{Entry, Log, Node};

/// The words for challenges (RFC 8555 §8.3, RFC 8737).
pub const CHALLENGES: &[&str] = &["tls-alpn-01", "http-01"];
/// The words for kinds of keys.
pub const KEY_TYPES: &[&str] = &["p256", "p384", "rsa2048"];
/// Let's Encrypt.
pub const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Where services keep what they would not like to lose (file-hierarchy(7)).
const STORAGE: &str = "/var/lib/ringway/acme";

/// How a host is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Challenge {
    /// By a certificate in a handshake that asks for it (RFC 8737). The default.
    TlsAlpn01,
    /// By a file that is asked for in plain HTTP (RFC 8555 §8.3).
    Http01,
}

impl Challenge {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        }
    }
}

/// The kind of a certificate's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// The default.
    P256,
    /// NIST P-384.
    P384,
    /// RSA of 2048 bits.
    Rsa2048,
}

impl KeyType {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa2048 => "rsa2048",
        }
    }
}

/// The authority and how it is asked.
#[derive(Clone, Debug)]
pub struct Acme {
    /// The table's name.
    pub span: Span,
    /// Its directory, at `https`.
    pub directory: String,
    /// Whom it may write to.
    pub email: Vec<Text>,
    /// The folder that replicas share.
    pub storage: PathBuf,
    /// How hosts are proven.
    pub challenge: Spanned<Challenge>,
    /// The kind of keys.
    pub key_type: KeyType,
    /// How long before its end a certificate is renewed; `None`: a third of its lifetime.
    pub renew_before: Option<Duration>,
    /// The account that the operator has with the authority already.
    pub external_account: Option<ExternalAccount>,
    /// The roots by which the authority's server is checked; `None`: the system's.
    pub ca: Option<Spanned<PathBuf>>,
}

/// An account with an authority from before.
#[derive(Clone)]
pub struct ExternalAccount {
    /// The name of its key.
    pub key_id: String,
    /// The key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalAccount").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Reads `[acme]`; `None` after an error that leaves nothing to go on with.
pub(super) fn read(entry: &Entry, log: &Log) -> Option<Acme> {
    let reader = Reader::open(&ACME, &entry.node, log)?;
    read_terms(&reader);
    let path = |text: Text| text.map(|text| joined(&text, &entry.node, log));
    let challenge = reader.choice("challenge").map(|word| {
        let http = word.value == Challenge::Http01.word();
        let challenge = if http { Challenge::Http01 } else { Challenge::TlsAlpn01 };
        Spanned::new(challenge, word.span)
    });
    let key_type = match reader.choice("key_type").map(|word| word.value) {
        Some("p384") => KeyType::P384,
        Some("rsa2048") => KeyType::Rsa2048,
        _ => KeyType::P256,
    };
    let (min, max) = ACME_RENEW_BEFORE_RANGE;
    let storage = reader.text("storage").map(|text| path(text).value);
    Some(Acme {
        span: entry.key.span,
        directory: read_directory(&reader),
        email: read_email(&reader),
        storage: storage.unwrap_or_else(|| PathBuf::from(STORAGE)),
        challenge: challenge.unwrap_or(Spanned::new(Challenge::TlsAlpn01, entry.key.span)),
        key_type,
        renew_before: reader.duration_in("renew_before", min, max).map(|time| time.value),
        external_account: reader.node("external_account").and_then(|node| read_external(node, log)),
        ca: reader.text("ca").map(path),
    })
}

/// Nothing is asked of an authority to whose terms nobody agreed.
fn read_terms(reader: &Reader<'_>) {
    let advice = "read the terms of the authority (Let's Encrypt: https://letsencrypt.org/repository/), then write `terms_agreed = true`";
    let Some(node) = reader.node("terms_agreed") else {
        return reader.missing("terms_agreed", advice);
    };
    if reader.boolean("terms_agreed").is_some_and(|agreed| !agreed.value) {
        let message = "no authority gives certificates to who does not agree to its terms";
        let diagnostic = Diagnostic::error(codes::BAD_ACME, node.span, message);
        reader.log.push(diagnostic.help(advice));
    }
}

fn read_directory(reader: &Reader<'_>) -> String {
    let Some(text) = reader.text("directory") else { return DIRECTORY.to_owned() };
    let is_url = text
        .value
        .strip_prefix("https://")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()));
    if !is_url {
        let message = "a directory is a URL that begins with `https://`";
        let diagnostic = Diagnostic::error(codes::BAD_ACME, text.span, message);
        reader.log.push(diagnostic.help(
            "Let's Encrypt for trying out: `https://acme-staging-v02.api.letsencrypt.org/directory`; a private authority: its URL, and its root in `ca`",
        ));
    }
    text.value
}

fn read_email(reader: &Reader<'_>) -> Vec<Text> {
    let texts = reader.texts("email");
    for text in &texts {
        let bare = text.value.bytes().all(|byte| byte.is_ascii_graphic());
        let address = text.value.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        });
        if !bare || !address || text.value.contains(':') {
            let message = "this is not the address of a mailbox";
            let diagnostic = Diagnostic::error(codes::BAD_ACME, text.span, message);
            reader.log.push(diagnostic.help("write `email = \"ops@example.com\"`"));
        }
    }
    texts
}

fn read_external(node: &Node, log: &Log) -> Option<ExternalAccount> {
    let table = Reader::open(&EXTERNAL_ACCOUNT, node, log)?;
    if let Some(secret) = table.node("secret") {
        log.mask(secret.span);
    }
    let advice = "write `external_account = { key_id = \"…\", secret = \"${file:/run/secrets/acme}\" }`, both as the authority shows them";
    for key in ["key_id", "secret"] {
        if table.node(key).is_none() {
            table.missing(key, advice);
        }
    }
    let (key_id, secret) = (table.text("key_id"), table.text("secret"));
    let (key_id, secret) = (key_id?, secret?);
    let digits = secret.value.trim().trim_end_matches('=');
    let Some(key) = URL_SAFE_NO_PAD.decode(digits).ok().filter(|key| !key.is_empty()) else {
        let message = "this secret is no key in base64url";
        let diagnostic = Diagnostic::error(codes::BAD_ACME, secret.span, message);
        log.push(
            diagnostic.help("copy it as the authority shows it: letters, digits, `-` and `_`"),
        );
        return None;
    };
    Some(ExternalAccount { key_id: key_id.value, key })
}

/// The hosts of one certificate, in lower case.
pub(super) fn read_hosts(table: &Reader<'_>) -> Option<Vec<Text>> {
    let node = table.node("acme")?;
    let log = table.log;
    let written = table.texts("acme");
    let mut hosts: Vec<Text> = Vec::new();
    for text in &written {
        let Some(host) = obtainable(text, log) else { continue };
        match hosts.iter().find(|first| first.value == host.value) {
            Some(first) => {
                let message = format!("`{}` is here twice", host.value);
                let diagnostic = Diagnostic::error(codes::DUPLICATE, host.span, message);
                log.push(diagnostic.also(first.span, "first written here"));
            }
            None => hosts.push(host),
        }
    }
    if written.is_empty() {
        let message = "this list names no host";
        let diagnostic = Diagnostic::error(codes::BAD_ACME, node.span, message);
        log.push(diagnostic.help("write `{ acme = [\"api.example.com\"] }`"));
    }
    if written.len() > ACME_HOSTS_MAX {
        let message = format!("at most {ACME_HOSTS_MAX} hosts can share a certificate");
        let diagnostic = Diagnostic::error(codes::OUT_OF_RANGE, node.span, message);
        log.push(
            diagnostic
                .help("make several certificates of it: `{ acme = [\"a\"] }, { acme = [\"b\"] }`"),
        );
    }
    Some(hosts)
}

/// A host that can be proven by the challenges that there are.
fn obtainable(text: &Text, log: &Log) -> Option<Text> {
    if text.value.starts_with("*.") {
        let message = "no certificate for a wildcard can be obtained: authorities ask for `dns-01` then, which is not spoken here";
        let diagnostic = Diagnostic::error(codes::BAD_ACME, text.span, message);
        log.push(diagnostic.help(
            "name the hosts one by one, or obtain it with another program (certbot, lego) and name its files by `cert` and `key`: they are read again when they change",
        ));
        return None;
    }
    if text.value.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() {
        let message = "this is an address; certificates are obtained for names only";
        log.error(codes::BAD_ACME, text.span, message);
        return None;
    }
    if !text.value.is_ascii() {
        let message = "this is not the name of a host as DNS has it";
        let diagnostic = Diagnostic::error(codes::BAD_ACME, text.span, message);
        log.push(diagnostic.help("write it in its ASCII form, which begins with `xn--`"));
        return None;
    }
    let host = host(text, log)?;
    Some(host.map(|name| name.trim_end_matches('.').to_owned()))
}
