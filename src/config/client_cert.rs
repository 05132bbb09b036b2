//! `client_cert` of a route or of `[default]`, and of a rule of `allow`: who is proven by a certificate, and what it
//! must say.
//!
//! Whose certificates are believed is a listener's to say (`tls.client`), and never a route's: what a route does not
//! ask for proves nothing to it.

use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::{ALLOW_CERT, CLIENT_CERT_WORDS};
use crate::config::reader::{Reader, choice_of};
use crate::config::span::{Span, Spanned, Text};
use crate::config::tree::{Entry, Log};

/// What a route asks of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// There must be a certificate.
    Required,
    /// There may be one.
    Optional,
}

/// What a certificate must say about one thing: any of these.
#[derive(Clone, Debug, PartialEq)]
pub struct CertRule {
    /// What it is about, as written.
    pub field: Text,
    /// The values.
    pub values: Vec<Text>,
}

/// Reads the word; `Some(None)` where it is `"none"`, and then where that stands.
pub(super) fn read(reader: &Reader<'_>) -> (Option<Option<Spanned<Asked>>>, Option<Span>) {
    let Some(word) =
        reader.node("client_cert").and_then(|node| choice_of(node, CLIENT_CERT_WORDS, reader.log))
    else {
        return (None, None);
    };
    match word.value {
        "required" => (Some(Some(Spanned::new(Asked::Required, word.span))), None),
        "optional" => (Some(Some(Spanned::new(Asked::Optional, word.span))), None),
        _ => (Some(None), Some(word.span)),
    }
}

/// Reads what a rule of `allow` asks of a certificate; `None` after an error.
pub(super) fn read_rule(entry: &Entry, log: &Log) -> Option<Vec<CertRule>> {
    let table = Reader::open(&ALLOW_CERT, &entry.node, log)?;
    let mut rules = Vec::new();
    for key in table.section.keys {
        let Some(entry) = table.entry(key.name) else { continue };
        let values = table.texts(key.name);
        if values.is_empty() {
            log.error(codes::BAD_CHOICE, entry.node.span, "this names no value: nobody would pass");
            return None;
        }
        rules.push(CertRule { field: entry.key.clone(), values });
    }
    if rules.is_empty() {
        let message = "this asks nothing of a certificate";
        let diagnostic = Diagnostic::error(codes::BAD_CHOICE, entry.node.span, message);
        log.push(
            diagnostic
                .help("write what it must say: `client_cert = { dns = \"billing.internal\" }`"),
        );
        return None;
    }
    Some(rules)
}
