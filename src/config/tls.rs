//! `tls` of a listener and of an upstream: files, versions, names, pins.
//!
//! Files are named here and never read; what is in them is `compile`'s to judge.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::base::limits::{TLS_CERTIFICATES_MAX, TLS_CLIENT_RULES_MAX};
use crate::config::acme;
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::{
    CERTIFICATE, CLIENT_CERTIFICATES, LISTEN, LISTEN_TLS, SERVED_CERTIFICATE, UPSTREAM_TLS,
};
use crate::config::reader::{Reader, choice_of};
use crate::config::span::{Span, Spanned, Text};
use crate::config::tree::{Kind, Log, Node};

/// The cipher suites of the language; those of TLS 1.3 first.
pub const SUITES: &[&str] = &[
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// TLS of a listener.
#[derive(Clone, Debug)]
pub struct ListenTls {
    /// At least one, unless an error was reported.
    pub certificates: Vec<Served>,
    /// Whether clients that ask for another name are refused. Default: no.
    pub refuses_unknown: bool,
    /// Whether TLS 1.2 is not spoken. Default: it is.
    pub only_13: bool,
    /// Suites by name; empty for all.
    pub suites: Vec<Spanned<&'static str>>,
    /// Client certificates by host; the one for all hosts is the last.
    pub clients: Vec<ClientCertificates>,
    /// The table.
    pub span: Span,
}

/// Where a certificate that clients are shown comes from.
#[derive(Clone, Debug)]
pub enum Served {
    /// From files.
    Files(Certificate),
    /// From the authority, for these hosts; the first of them names it.
    Acme(Vec<Text>),
}

/// A certificate with its key. Paths are joined to the folder of the file that names them.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The chain.
    pub cert: Spanned<PathBuf>,
    /// The private key.
    pub key: Spanned<PathBuf>,
    /// The OCSP answer.
    pub ocsp: Option<Spanned<PathBuf>>,
}

/// Client certificates.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// The hosts, in lower case; empty: all that are not named elsewhere.
    pub hosts: Vec<Text>,
    /// Whose signatures are believed.
    pub roots: Spanned<PathBuf>,
    /// Whether there must be one. Default: yes.
    pub required: bool,
}

/// TLS towards an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// The name to prove.
    pub name: Option<Text>,
    /// A file of roots; `None`: the system's.
    pub roots: Option<Spanned<PathBuf>>,
    /// What we prove.
    pub certificate: Option<Certificate>,
    /// SHA-256 of keys.
    pub pins: Vec<[u8; 32]>,
    /// Whether TLS 1.2 is not spoken. Default: it is.
    pub only_13: bool,
    /// The table, or the word that stands for it.
    pub span: Span,
}

/// `tls` of a listener.
pub(super) fn read_listen(reader: &Reader<'_>) -> Option<ListenTls> {
    debug_assert!(reader.section.title == LISTEN.title, "a key of listeners");
    let node = reader.node("tls")?;
    let table = reader.table("tls", &LISTEN_TLS)?;
    let log = table.log;
    let list = table.list("certificates", "a list of `{ cert, key }`");
    let written = table.node("certificates").is_some();
    if !written || (list.is_empty() && !log.has_errors()) {
        let advice = "write `certificates = [{ cert = \"api.pem\", key = \"api.key\" }]`";
        if written {
            let message = "a listener that speaks TLS needs a certificate";
            let diagnostic = Diagnostic::error(codes::MISSING_KEY, node.span, message);
            log.push(diagnostic.help(advice));
        } else {
            table.missing("certificates", advice);
        }
    }
    if list.len() > TLS_CERTIFICATES_MAX {
        let message = format!("at most {TLS_CERTIFICATES_MAX} certificates can be named");
        log.error(codes::OUT_OF_RANGE, node.span, message);
    }
    let suites = table.list("suites", "a list of cipher suites");
    Some(ListenTls {
        certificates: list.iter().filter_map(|node| served(node, log)).collect(),
        refuses_unknown: is(&table, "unknown_name", "refuse"),
        only_13: is(&table, "min_version", "1.3"),
        suites: suites.iter().filter_map(|node| choice_of(node, SUITES, log)).collect(),
        clients: clients(&table),
        span: node.span,
    })
}

/// `tls` of an upstream: `true`, or a table.
pub(super) fn read_upstream(reader: &Reader<'_>) -> Option<UpstreamTls> {
    let node = reader.node("tls")?;
    let plain = |span| UpstreamTls {
        name: None,
        roots: None,
        certificate: None,
        pins: Vec::new(),
        only_13: false,
        span,
    };
    if let Kind::Boolean(on) = node.kind {
        return on.then(|| plain(node.span));
    }
    let table = reader.table("tls", &UPSTREAM_TLS)?;
    let roots = table.text("roots").filter(|text| text.value != "system");
    let pins = table.texts("pin").into_iter().filter_map(|text| pin(&text, table.log));
    Some(UpstreamTls {
        name: table.text("name"),
        roots: roots.map(|text| text.map(|text| joined(&text, node, table.log))),
        certificate: table.node("certificate").and_then(|node| certificate(node, table.log)),
        pins: pins.collect(),
        only_13: is(&table, "min_version", "1.3"),
        ..plain(node.span)
    })
}

/// `client`: a table for all hosts, or a list of them for some each.
fn clients(tls: &Reader<'_>) -> Vec<ClientCertificates> {
    let (Some(node), log) = (tls.node("client"), tls.log) else { return Vec::new() };
    let one = |node| {
        let table = Reader::open(&CLIENT_CERTIFICATES, node, log)?;
        let required = !is(&table, "mode", "optional");
        let roots = path(&table, "roots", "write `roots = \"clients-ca.pem\"`");
        let written = table.texts("hosts");
        if let (Some(node), true) = (table.node("hosts"), written.is_empty()) {
            log.error(codes::BAD_CHOICE, node.span, "this list names no host");
        }
        // One that names a wrong host must not come to be one for all.
        let hosts = written.iter().map(|text| host(text, log)).collect::<Option<_>>();
        Some(ClientCertificates { hosts: hosts?, roots: roots?, required })
    };
    let mut clients: Vec<_> = match &node.kind {
        Kind::Array(list) => list.iter().filter_map(one).collect(),
        _ => one(node).into_iter().collect(),
    };
    if clients.len() > TLS_CLIENT_RULES_MAX {
        let message = format!("at most {TLS_CLIENT_RULES_MAX} kinds of clients can be told apart");
        log.error(codes::OUT_OF_RANGE, node.span, message);
    }
    // The file's order means nothing: a host is named once, and what names none is for the others.
    clients.sort_by_key(|client| client.hosts.is_empty());
    let mut named: Vec<&Text> = Vec::new();
    for client in &clients {
        for host in &client.hosts {
            if let Some(first) = named.iter().find(|first| first.value == host.value) {
                let message = format!("`{}` is here twice", host.value);
                let diagnostic = Diagnostic::error(codes::DUPLICATE, host.span, message);
                log.push(diagnostic.also(first.span, "first written here"));
            }
            named.push(host);
        }
    }
    let mut for_all = clients.iter().filter(|client| client.hosts.is_empty());
    if let (Some(first), Some(second)) = (for_all.next(), for_all.next()) {
        let message = "two kinds of clients are for all hosts";
        let diagnostic = Diagnostic::error(codes::DUPLICATE, second.roots.span, message);
        let diagnostic = diagnostic.also(first.roots.span, "the other one");
        log.push(diagnostic.help("say by `hosts` whom each is for"));
    }
    clients
}

/// A host name, or `*.` and one.
pub(super) fn host(text: &Text, log: &Log) -> Option<Text> {
    let name = text.value.strip_prefix("*.").unwrap_or(&text.value);
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(fine) {
        let message = "this is not the name of a host";
        let diagnostic = Diagnostic::error(codes::BAD_CHOICE, text.span, message);
        log.push(
            diagnostic.help("write `\"admin.example.com\"` or `\"*.example.com\"`, without a port"),
        );
        return None;
    }
    Some(Text::new(text.value.to_ascii_lowercase(), text.span))
}

fn is(reader: &Reader<'_>, key: &str, word: &str) -> bool {
    reader.choice(key).is_some_and(|written| written.value == word)
}

/// A certificate of a listener.
fn served(node: &Node, log: &Log) -> Option<Served> {
    let table = Reader::open(&SERVED_CERTIFICATE, node, log)?;
    if table.node("acme").is_none() {
        return files(&table).map(Served::Files);
    }
    if let Some(entry) = ["cert", "key", "ocsp"].iter().find_map(|key| table.entry(key)) {
        let message = "a certificate is obtained, or it comes from files: not both";
        let diagnostic = Diagnostic::error(codes::NOT_ONE_OF, entry.key.span, message);
        log.push(diagnostic.help("leave out `acme`, or all of `cert`, `key` and `ocsp`"));
    }
    acme::read_hosts(&table).filter(|hosts| !hosts.is_empty()).map(Served::Acme)
}

fn certificate(node: &Node, log: &Log) -> Option<Certificate> {
    files(&Reader::open(&CERTIFICATE, node, log)?)
}

/// The files of a certificate.
fn files(table: &Reader<'_>) -> Option<Certificate> {
    let cert = path(table, "cert", "write `{ cert = \"api.pem\", key = \"api.key\" }`");
    let key = path(table, "key", "write `{ cert = \"api.pem\", key = \"api.key\" }`");
    let ocsp = table.node("ocsp").and_then(|_| path(table, "ocsp", ""));
    Some(Certificate { cert: cert?, key: key?, ocsp })
}

/// The path of a file that must be named.
fn path(reader: &Reader<'_>, key: &str, advice: &str) -> Option<Spanned<PathBuf>> {
    let Some(node) = reader.node(key) else {
        reader.missing(key, advice);
        return None;
    };
    let text = reader.text(key)?;
    if text.value.contains("-----BEGIN ") {
        reader.log.mask(node.span);
        let message = format!("`{key}` is the path of a file, not what is in it");
        reader.log.error(codes::BAD_CHOICE, node.span, message);
        return None;
    }
    Some(text.map(|text| joined(&text, node, reader.log)))
}

pub(super) fn joined(text: &str, node: &Node, log: &Log) -> PathBuf {
    let sources = log.sources();
    let file = sources.file(node.span.file).map_or("", |file| file.name.as_str());
    Path::new(file).parent().unwrap_or(Path::new("")).join(text)
}

fn pin(text: &Text, log: &Log) -> Option<[u8; 32]> {
    let digits = text.value.strip_prefix("sha256/").unwrap_or(&text.value);
    let sum = STANDARD.decode(digits).ok().and_then(|sum| <[u8; 32]>::try_from(sum).ok());
    if sum.is_none() {
        let message = "this is not the SHA-256 of a key in base64";
        let diagnostic = Diagnostic::error(codes::BAD_CHOICE, text.span, message);
        log.push(diagnostic.help("`openssl x509 -in origin.pem -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64` prints it"));
    }
    sum
}
