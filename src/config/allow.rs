//! `allow`: who may pass, once it is known who asks (claims, scopes) and from where (networks).
//!
//! A table is one rule of which everything must hold; a list of tables allows what any of them allows. A word
//! says it for all: `"anyone"`, `"authenticated"`, `"nobody"`. An open route must be visible, so `"none"` is
//! never taken here: it could be read as "no rule" and as "no client", and the two are each other's contrary.

use serde_json::Value;

use crate::config::client_cert::{self, CertRule};
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::{ALLOW_ALL, ALLOW_WORDS};
use crate::config::listener::PRIVATE;
use crate::config::reader::{Reader, choice_of, text_of, wrong_type};
use crate::config::span::{Span, Spanned, Text};
use crate::config::suggest;
use crate::config::tree::{Entry, Kind, Log, Node};
use crate::config::units::{self, Network};

/// Who may pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Allow {
    /// Whoever the route's other policies let through.
    Anyone,
    /// Whoever proved an identity; a route that asks for none is closed.
    Authenticated,
    /// No client at all.
    Nobody,
    /// Whom one of these rules describes.
    Rules(Vec<AllowRule>),
}

/// One rule: all of it must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct AllowRule {
    /// Networks, each allowed or, written with `!`, denied; the longest prefix decides. Empty: from anywhere.
    pub networks: Vec<Spanned<(Network, bool)>>,
    /// What claims must say.
    pub claims: Vec<ClaimRule>,
    /// What the client's certificate must say.
    pub certs: Vec<CertRule>,
}

/// What one claim must say.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRule {
    /// As written.
    pub claim: Text,
    /// Its way from the top of the claims.
    pub path: Vec<String>,
    /// Whether it is the scopes of the identity, wherever they stand.
    pub is_scope: bool,
    /// The values asked for: texts, numbers, booleans.
    pub values: Vec<Value>,
    /// Whether all of them are, or any one is enough.
    pub all: bool,
}

impl Allow {
    /// Every rule about a claim.
    pub fn claims(&self) -> impl Iterator<Item = &ClaimRule> {
        let rules = match self {
            Self::Rules(rules) => rules.as_slice(),
            _ => &[],
        };
        rules.iter().flat_map(|rule| &rule.claims)
    }
}

/// Reads the `allow` of a route or of `[default]`.
pub(super) fn read(reader: &Reader<'_>) -> Option<Spanned<Allow>> {
    let node = reader.node("allow")?;
    let log = reader.log;
    let allow = match &node.kind {
        Kind::Table(entries) => Allow::Rules(vec![rule(entries, node.span, log)?]),
        Kind::Array(list) if list.is_empty() => {
            let message = "this list allows nobody, and it may have been meant to";
            let diagnostic = Diagnostic::error(codes::BAD_CHOICE, node.span, message);
            log.push(diagnostic.help("write `allow = \"nobody\"`"));
            return None;
        }
        Kind::Array(list) => {
            let rules = list.iter().map(|item| match &item.kind {
                Kind::Table(entries) => rule(entries, item.span, log),
                _ => {
                    let advice = "each rule is a table: `allow = { networks = [\"10.0.0.0/8\"] }`, `allow = { scope = \"read\" }`";
                    wrong_type(log, item, "a table", advice);
                    None
                }
            });
            // A rule that cannot be read must not leave a list that allows more, or less, than was written.
            let rules: Vec<Option<AllowRule>> = rules.collect();
            Allow::Rules(rules.into_iter().collect::<Option<_>>()?)
        }
        Kind::Text(text) if text == "none" => {
            let message = "`none` can be read both ways here";
            let diagnostic = Diagnostic::error(codes::BAD_CHOICE, node.span, message);
            log.push(diagnostic.help("write \"anyone\" to open the route, or \"nobody\""));
            return None;
        }
        Kind::Text(text) if text == "private" || units::network(text).is_ok() => {
            let message = "a network alone is no rule";
            let diagnostic = Diagnostic::error(codes::BAD_CHOICE, node.span, message);
            log.push(diagnostic.help(format!("write `allow = {{ networks = \"{text}\" }}`")));
            return None;
        }
        Kind::Text(_) => match choice_of(node, ALLOW_WORDS, log)?.value {
            "authenticated" => Allow::Authenticated,
            "nobody" => Allow::Nobody,
            _ => Allow::Anyone,
        },
        _ => {
            wrong_type(log, node, "a word, a table or a list of tables", "");
            return None;
        }
    };
    Some(Spanned::new(allow, node.span))
}

fn rule(entries: &[Entry], place: Span, log: &Log) -> Option<AllowRule> {
    if entries.is_empty() {
        let message = "this rule asks for nothing: it would allow everybody";
        let diagnostic = Diagnostic::error(codes::BAD_CHOICE, place, message);
        log.push(diagnostic.help("write `allow = \"anyone\"`, or what is asked for"));
        return None;
    }
    let mut rule = AllowRule { networks: Vec::new(), claims: Vec::new(), certs: Vec::new() };
    let mut good = true;
    for entry in entries {
        if entry.key.value == "networks" {
            match networks(&entry.node, log) {
                Some(networks) => rule.networks = networks,
                None => good = false,
            }
            continue;
        }
        if entry.key.value == "client_cert" {
            match client_cert::read_rule(entry, log) {
                Some(certs) => rule.certs = certs,
                None => good = false,
            }
            continue;
        }
        warn_of_claim(&entry.key, log);
        match claim(entry, log) {
            Some(claim) => rule.claims.push(claim),
            None => good = false,
        }
    }
    good.then_some(rule)
}

/// Any name may be a claim's, and these are nearly what is no claim.
fn warn_of_claim(name: &Text, log: &Log) {
    let meant = match name.value.as_str() {
        "network" | "net" | "cidr" => Some("networks"),
        "scopes" => Some("scope"),
        other => suggest::slip(other, &["networks"]),
    };
    if meant.is_some() {
        let message = format!("`{}` is taken as the name of a claim", name.value);
        log.push(Diagnostic::warning(codes::SLIP, name.span, message).suggest(meant, ""));
    }
}

fn networks(node: &Node, log: &Log) -> Option<Vec<Spanned<(Network, bool)>>> {
    let texts: Vec<Text> = match &node.kind {
        Kind::Array(list) => list.iter().filter_map(|item| text_of(item, log, "a text")).collect(),
        _ => text_of(node, log, "a network or a list of networks").into_iter().collect(),
    };
    let mut networks = Vec::new();
    let mut good = !texts.is_empty();
    if let (Kind::Array(list), true) = (&node.kind, texts.is_empty())
        && list.is_empty()
    {
        log.error(codes::BAD_ADDRESS, node.span, "this list names no network");
    }
    for text in &texts {
        let (word, says) = match text.value.strip_prefix('!') {
            Some(word) => (word, false),
            None => (text.value.as_str(), true),
        };
        let one = [word];
        for word in if word == "private" { &PRIVATE[..] } else { &one } {
            match units::network(word) {
                Ok(network) => networks.push(Spanned::new((network, says), text.span)),
                Err(advice) => {
                    let message = "this is not a network";
                    let diagnostic = Diagnostic::error(codes::BAD_ADDRESS, text.span, message);
                    log.push(
                        diagnostic.help(format!(
                            "{advice}, or the word `private`; `!` in front denies it"
                        )),
                    );
                    good = false;
                }
            }
        }
    }
    good.then_some(networks)
}

fn claim(entry: &Entry, log: &Log) -> Option<ClaimRule> {
    let name = &entry.key;
    let Some(path) = path(&name.value) else {
        let message = "this is not a way to a claim";
        let diagnostic = Diagnostic::error(codes::BAD_CHOICE, name.span, message);
        log.push(diagnostic.help(
            "write names separated by dots (`\"realm.roles\"`), or a JSON Pointer (RFC 6901) where names have dots: `\"/https:~1~1example.com~1roles\"`",
        ));
        return None;
    };
    let (node, all) = match &entry.node.kind {
        Kind::Table(_) => {
            let reader = Reader::open(&ALLOW_ALL, &entry.node, log)?;
            let Some(node) = reader.node("all") else {
                reader.missing("all", "write `{ all = [\"a\", \"b\"] }`");
                return None;
            };
            (node, true)
        }
        _ => (&entry.node, false),
    };
    let values = match &node.kind {
        Kind::Array(list) => list.iter().map(|item| scalar(item, log)).collect::<Option<_>>()?,
        _ => vec![scalar(node, log)?],
    };
    let is_scope = name.value == "scope";
    if values.is_empty() {
        log.error(codes::BAD_CHOICE, node.span, "this list names no value: nobody would pass");
        return None;
    }
    if is_scope && values.iter().any(|value| !is_scope_token(value)) {
        let message = "a scope is a word without blanks, quotes or backslashes (RFC 6749 §3.3)";
        let diagnostic = Diagnostic::error(codes::BAD_CHOICE, node.span, message);
        log.push(diagnostic.help("several are a list: `[\"a\", \"b\"]` asks for any, `{ all = [\"a\", \"b\"] }` for both"));
        return None;
    }
    Some(ClaimRule { claim: name.clone(), path, is_scope, values, all })
}

/// A value that a claim can be compared with.
fn scalar(node: &Node, log: &Log) -> Option<Value> {
    match &node.kind {
        Kind::Text(text) => Some(text.as_str().into()),
        Kind::Integer(number) => Some((*number).into()),
        Kind::Boolean(value) => Some((*value).into()),
        _ => {
            wrong_type(log, node, "a text, a whole number, `true` or `false`", "");
            None
        }
    }
}

/// `scope-token` of RFC 6749 §3.3.
fn is_scope_token(value: &Value) -> bool {
    let fine = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    value.as_str().is_some_and(|text| !text.is_empty() && text.bytes().all(fine))
}

/// The names on the way to a claim: a JSON Pointer if it begins with `/`, else names separated by dots.
pub(super) fn path(text: &str) -> Option<Vec<String>> {
    if let Some(pointer) = text.strip_prefix('/') {
        return pointer.split('/').map(unescaped).collect();
    }
    let names: Vec<String> = text.split('.').map(str::to_owned).collect();
    (!names.iter().any(String::is_empty)).then_some(names)
}

/// A reference token of RFC 6901 §4; `~` stands before `0` or `1` only.
fn unescaped(token: &str) -> Option<String> {
    let mut pieces = token.split('~');
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        let rest = if let Some(rest) = piece.strip_prefix('0') {
            name.push('~');
            rest
        } else {
            name.push('/');
            piece.strip_prefix('1')?
        };
        name.push_str(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_claims_are_dotted_or_pointers() {
        let names = |text: &str| path(text).map(|names| names.join("|"));
        assert_eq!(names("realm.roles").as_deref(), Some("realm|roles"));
        assert_eq!(names("/https:~1~1a.test~1roles/0").as_deref(), Some("https://a.test/roles|0"));
        assert_eq!(names("/a~01").as_deref(), Some("a~1"));
        for bad in ["", "a..b", ".a", "/a~2", "/a~"] {
            assert_eq!(names(bad), None, "{bad}");
        }
    }
}
