//! `[observe]`: what is written down about requests, and where.
//!
//! A log line never holds a token, a cookie or a query value unless a key here names it; what is to be
//! recognised without being known is hashed, with a key, and a hash without a key is refused: it could be
//! looked up.

use std::path::PathBuf;

use crate::base::limits::{LOG_HEADERS_MAX, LOG_RULES_MAX};
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::fields;
use crate::config::jwt::Secret;
use crate::config::language::{ACCESS_LOG, LOG_FIELDS, LOG_ONLY, OBSERVE};
use crate::config::mirror::{read_share, share_text};
use crate::config::otlp::{self, Otlp};
use crate::config::reader::{Reader, choice_of, text_of, wrong_type};
use crate::config::span::{Spanned, Text};
use crate::config::suggest::{nearest, slip};
use crate::config::tree::{Entry, Kind, Log, Node};

/// What is written down.
#[derive(Clone, Debug)]
pub struct Observe {
    /// Where the access log goes. Default: standard output.
    pub access_log: Spanned<LogTarget>,
    /// What stands in it; `None`: the whole JSON line of every request.
    pub log_rules: Option<LogRules>,
    /// Where spans go. Default: nowhere.
    pub otlp: Option<Otlp>,
}

impl Default for Observe {
    fn default() -> Self {
        let access_log = Spanned::built_in(LogTarget::Stdout);
        Self { access_log, log_rules: None, otlp: None }
    }
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
    /// A syslog socket.
    Syslog(PathBuf),
    /// The journal's socket.
    Journald(PathBuf),
}

/// What of a request is written, in which form, and of which requests.
#[derive(Clone, Debug)]
pub struct LogRules {
    /// `json`, `combined`, or a template.
    pub format: Text,
    /// Request fields, in lower case, and what becomes of them.
    pub headers: Vec<(Text, &'static str)>,
    /// Query keys, and what becomes of them; `*` for all others.
    pub query: Vec<(Text, &'static str)>,
    /// What becomes of the names of users, subjects and owners. Default: `keep`.
    pub identity: &'static str,
    /// The key of hashes.
    pub hash_key: Option<Secret>,
    /// How many of a million requests.
    pub millionths: u32,
    /// Ranges of statuses; empty: all.
    pub statuses: Vec<(u16, u16)>,
    /// Names of routes; empty: all.
    pub routes: Vec<Text>,
    /// Only requests that took as long. Unit: microseconds.
    pub slower_than_micros: u64,
}

/// What may become of a value.
pub const KEEP: &[&str] = &["keep", "drop", "hash"];

/// Reads `[observe]`.
pub(super) fn read(node: &Node, log: &Log) -> Option<Observe> {
    let reader = Reader::open(&OBSERVE, node, log)?;
    let mut observe = Observe::default();
    if let Some(node) = reader.node("access_log") {
        let (target, rules) = read_access_log(node, log);
        if let Some(target) = target {
            observe.access_log = target;
        }
        observe.log_rules = rules;
    }
    observe.otlp = reader.node("otlp").and_then(|node| otlp::read(node, log));
    Some(observe)
}

fn read_access_log(node: &Node, log: &Log) -> (Option<Spanned<LogTarget>>, Option<LogRules>) {
    match &node.kind {
        Kind::Text(_) => (read_target(node, log), None),
        Kind::Table(_) => {
            let Some(reader) = Reader::open(&ACCESS_LOG, node, log) else { return (None, None) };
            let target = reader.node("to").and_then(|to| read_target(to, log));
            (target, read_rules(&reader))
        }
        _ => {
            wrong_type(log, node, "a text or a table", "write `access_log = \"stdout\"`");
            (None, None)
        }
    }
}

fn read_target(node: &Node, log: &Log) -> Option<Spanned<LogTarget>> {
    let text = text_of(node, log, "a text")?;
    let words = ["off", "stdout", "stderr", "syslog", "journald"];
    if let Some(near) = slip(&text.value, &words) {
        let message = format!("`{}` is taken as the name of a file", text.value);
        log.push(Diagnostic::warning(codes::SLIP, text.span, message).suggest(Some(near), ""));
    }
    if let Some((word, socket)) = text.value.split_once(':')
        && ["syslog", "journald"].contains(&word)
        && !socket.starts_with('/')
    {
        let message = format!("`{word}:` is followed by the path of a socket");
        let diagnostic = Diagnostic::error(codes::BAD_LOG, text.span, message);
        log.push(diagnostic.help(format!(
            "write `{word}:/path`, or `{word}` for the system's; a daemon there sends to other hosts"
        )));
        return None;
    }
    Some(text.map(|text| match text.as_str() {
        "off" => LogTarget::Off,
        "stdout" => LogTarget::Stdout,
        "stderr" => LogTarget::Stderr,
        "syslog" => LogTarget::Syslog(PathBuf::from("/dev/log")),
        "journald" => LogTarget::Journald(PathBuf::from("/run/systemd/journal/socket")),
        path => match (path.strip_prefix("syslog:"), path.strip_prefix("journald:")) {
            (Some(socket), _) => LogTarget::Syslog(PathBuf::from(socket)),
            (_, Some(socket)) => LogTarget::Journald(PathBuf::from(socket)),
            (None, None) => LogTarget::File(PathBuf::from(path)),
        },
    }))
}

/// The rules, where there are others than the usual ones.
fn read_rules(reader: &Reader<'_>) -> Option<LogRules> {
    let format = reader.text("format");
    let keys = ["fields", "sample", "only"];
    let plain = format.as_ref().is_none_or(|format| format.value == "json");
    if plain && keys.iter().all(|key| reader.node(key).is_none()) {
        return None;
    }
    let format = format.unwrap_or_else(|| Spanned::built_in("json".to_owned()));
    if !["json", "combined"].contains(&format.value.as_str()) && !format.value.contains('{') {
        let near = nearest(&format.value, ["json", "combined"]);
        let message = format!("`{}` is not a format", format.value);
        let diagnostic = Diagnostic::error(codes::BAD_LOG, format.span, message).suggest(near, "");
        reader.log.push(diagnostic.note(
            "valid here: \"json\", \"combined\", or a template: \"{client} {method} {path} {status}\"",
        ));
    }
    let mut rules = LogRules {
        format,
        headers: Vec::new(),
        query: Vec::new(),
        identity: "keep",
        hash_key: None,
        millionths: 1_000_000,
        statuses: Vec::new(),
        routes: Vec::new(),
        slower_than_micros: 0,
    };
    if let Some(sample) = share_text(reader, "sample") {
        rules.millionths = read_share(reader, &sample).unwrap_or(rules.millionths);
    }
    if let Some(fields) = reader.table("fields", &LOG_FIELDS) {
        read_fields(&fields, &mut rules);
    }
    if let Some(only) = reader.table("only", &LOG_ONLY) {
        read_only(&only, &mut rules);
    }
    Some(rules)
}

fn read_fields(reader: &Reader<'_>, rules: &mut LogRules) {
    rules.headers = read_keeps(reader, "headers");
    rules.headers.retain(|(name, _)| fields::check_name(name, reader.log));
    rules.headers.iter_mut().for_each(|(name, _)| name.value.make_ascii_lowercase());
    rules.query = read_keeps(reader, "query");
    if rules.headers.len() > LOG_HEADERS_MAX {
        let message = format!("a line has at most {LOG_HEADERS_MAX} request fields");
        reader.error(codes::OUT_OF_RANGE, reader.place, message);
    }
    if rules.query.len() > LOG_RULES_MAX {
        let message = format!("at most {LOG_RULES_MAX} query keys have rules");
        reader.error(codes::OUT_OF_RANGE, reader.place, message);
    }
    if let Some(node) = reader.node("hash_key") {
        reader.log.mask(node.span);
        rules.hash_key = read_key(reader, node);
    }
    let identity = reader.choice("identity");
    rules.identity = identity.as_ref().map_or("keep", |keep| keep.value);
    let hashes = rules.headers.iter().chain(&rules.query).find(|(_, keep)| *keep == "hash");
    let hashes = hashes.map(|(name, _)| (name.value.as_str(), name.span));
    let identity = identity.filter(|keep| keep.value == "hash").map(|keep| ("identity", keep.span));
    if let Some((name, span)) = hashes.or(identity)
        && reader.node("hash_key").is_none()
    {
        let message = format!("`{name}` is hashed, and there is no key");
        let diagnostic = Diagnostic::error(codes::BAD_LOG, span, message);
        reader.log.push(diagnostic.help(
            "give one: `hash_key = \"${file:/run/secrets/log-key}\"`; without a key anybody could try values",
        ));
    }
}

/// Shortest key of hashes. Unit: bytes. Half of the hash is enough against guessing.
const HASH_KEY_BYTES_MIN: usize = 16;

fn read_key(reader: &Reader<'_>, node: &Node) -> Option<Secret> {
    let text = text_of(node, reader.log, "a text")?;
    if text.value.len() < HASH_KEY_BYTES_MIN {
        let message = format!("the key has fewer than {HASH_KEY_BYTES_MIN} bytes");
        reader.error(codes::BAD_LOG, text.span, message);
        return None;
    }
    Some(Secret::new(text.value))
}

fn read_keeps(reader: &Reader<'_>, key: &str) -> Vec<(Text, &'static str)> {
    let one = |entry: &Entry| {
        let keep = choice_of(&entry.node, KEEP, reader.log)?;
        Some((entry.key.clone(), keep.value))
    };
    reader.named(key).unwrap_or_default().iter().filter_map(one).collect()
}

fn read_only(reader: &Reader<'_>, rules: &mut LogRules) {
    if let Some(node @ Node { kind: Kind::Integer(status), .. }) = reader.node("status") {
        wrong_type(
            reader.log,
            node,
            "a text or a list of texts",
            &format!("write \"{status}\"; \"5xx\" and \"400-403\" are ranges"),
        );
        return;
    }
    for text in reader.texts("status") {
        match statuses(&text.value) {
            Some(range) => rules.statuses.push(range),
            None => {
                let message = format!("`{}` is not a status", text.value);
                let diagnostic = Diagnostic::error(codes::BAD_LOG, text.span, message);
                reader.log.push(diagnostic.help("write \"5xx\", \"404\" or \"400-403\""));
            }
        }
    }
    rules.routes = reader.texts("route");
    if rules.statuses.len() > LOG_RULES_MAX || rules.routes.len() > LOG_RULES_MAX {
        let message = format!("at most {LOG_RULES_MAX} statuses and as many routes are named");
        reader.error(codes::OUT_OF_RANGE, reader.place, message);
    }
    let slower = reader.duration("slower_than");
    rules.slower_than_micros = slower.map_or(0, |slower| slower.value.as_micros() as u64);
}

/// `5xx`, `404`, `400-403`.
fn statuses(text: &str) -> Option<(u16, u16)> {
    let one = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status));
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    match text.split_once('-') {
        Some((low, high)) => Some((one(low)?, one(high)?)).filter(|(low, high)| low <= high),
        None => one(text).map(|status| (status, status)),
    }
}
