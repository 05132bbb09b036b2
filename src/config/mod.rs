//! What the user writes: from the text of `ringway.toml` to a typed [`Config`] and its [`Diagnostics`].
//!
//! Nothing here runs and nothing here touches the disk: files and variables come in through
//! [`Surroundings`]. Reading never stops at the first mistake. Names are not resolved here (`compile`
//! does that), but everything that can be told from one table is. The language is CONFIG.md's; its keys
//! stand once, in `language.rs`.

use std::path::Path;
use std::time::Duration;

use crate::config::diagnostic::Diagnostic;
use crate::config::language::{DEFAULT, ROOT};
use crate::config::policy::Stated;
use crate::config::reader::Reader;
use crate::config::tree::{Entry, Kind, Log, Node};

pub mod acme;
pub mod admin;
pub mod aggregate;
pub mod allow;
pub mod answering;
pub mod api_key;
pub mod auth_request;
pub mod bandwidth;
pub mod basic;
pub mod cache;
pub mod client_cert;
pub mod codes;
pub mod compress;
pub mod concurrency;
mod connect;
pub mod cors;
pub mod defaults;
pub mod diagnostic;
mod fields;
pub mod header_edit;
mod hedge;
mod hint;
pub mod include;
mod json;
pub mod jwt;
pub mod language;
pub mod limit;
pub mod listener;
pub mod maintenance;
pub mod matching;
pub mod mirror;
pub mod observe;
pub mod otlp;
pub mod policy;
pub mod protocol;
mod reader;
pub mod redis;
pub mod route;
pub mod schema;
mod secret;
pub mod shaping;
pub mod span;
mod stream;
mod substitute;
pub mod suggest;
pub mod test;
#[cfg(test)]
mod testing;
pub mod tls;
mod tree;
pub mod units;
mod upgrade;
pub mod upstream;
pub mod view;
mod workers;

pub use crate::config::acme::Acme;
pub use crate::config::admin::Admin;
pub use crate::config::aggregate::{Call, Each, Part, PartCache, PartMethod};
pub use crate::config::allow::{Allow, AllowRule, ClaimRule};
pub use crate::config::answering::Answering;
pub use crate::config::api_key::ApiKey;
pub use crate::config::auth_request::AuthRequest;
pub use crate::config::bandwidth::Bandwidth;
pub use crate::config::basic::Basic;
pub use crate::config::cache::Cache;
pub use crate::config::compress::Compress;
pub use crate::config::concurrency::Concurrency;
pub use crate::config::cors::{Cors, Origin};
pub use crate::config::diagnostic::Diagnostics;
pub use crate::config::header_edit::HeaderEdits;
pub use crate::config::include::{Surroundings, unreadable};
pub use crate::config::jwt::{Jwt, KeySource, Secret, TokenPlace};
pub use crate::config::limit::Limit;
pub use crate::config::listener::{Listener, Spelling};
pub use crate::config::maintenance::Maintenance;
pub use crate::config::matching::{Condition, Host, Match, Segment, When};
pub use crate::config::mirror::Mirror;
pub use crate::config::observe::{LogRules, LogTarget, Observe};
pub use crate::config::otlp::Otlp;
pub use crate::config::policy::Policies;
pub use crate::config::redis::Redis;
pub use crate::config::route::{Pass, Redirect, Respond, Route, Target};
pub use crate::config::shaping::Shaping;
pub use crate::config::span::{FileId, SourceMap, Span, Spanned, Text};
pub use crate::config::test::Test;
pub use crate::config::units::{Address, Network, Rate};
pub use crate::config::upstream::{Balance, Endpoint, Upstream};
pub use crate::config::view::{View, ViewWhen};
pub use crate::config::workers::Workers;

/// Everything the user wrote, typed; defaults are filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads. Default: one per core.
    pub workers: Spanned<Workers>,
    /// How long a stopping process waits for requests in flight. Default: 30 s.
    pub drain_timeout: Duration,
    /// Addresses that clients connect to, in the order of the file.
    pub listeners: Vec<Listener>,
    /// Groups of endpoints.
    pub upstreams: Vec<Upstream>,
    /// Issuers of tokens.
    pub jwts: Vec<Jwt>,
    /// Tables of API keys.
    pub api_keys: Vec<ApiKey>,
    /// Tables of users.
    pub basics: Vec<Basic>,
    /// Services that are asked who may pass.
    pub auth_requests: Vec<AuthRequest>,
    /// Rate limits.
    pub limits: Vec<Limit>,
    /// The authority that certificates are obtained from.
    pub acme: Option<Acme>,
    /// Where limits of the whole fleet are counted.
    pub redis: Option<Redis>,
    /// What all stored responses may weigh. Unit: bytes. Default: 64 MiB.
    pub cache_bytes_max: u64,
    /// The policies of `[default]` over those of the language; routes have them merged in already.
    pub default: Policies,
    /// Routes, in the order of the files.
    pub routes: Vec<Route>,
    /// Policies of routes that could not be read: what they name is looked up all the same.
    pub loose: Vec<Policies>,
    /// The listener for operators.
    pub admin: Admin,
    /// What is written down.
    pub observe: Observe,
    /// Tests, if they were asked for: `run` never does.
    pub tests: Vec<Test>,
    /// Every name that a table was given, those that could not be read included.
    pub declared: Declared,
}

/// Names of tables: what is declared is known, even if it is wrong.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// `[upstream.NAME]`
    pub upstreams: Vec<String>,
    /// `[jwt.NAME]`
    pub jwts: Vec<String>,
    /// `[api_key.NAME]`
    pub api_keys: Vec<String>,
    /// `[basic.NAME]`
    pub basics: Vec<String>,
    /// `[auth_request.NAME]`
    pub auth_requests: Vec<String>,
    /// `[limit.NAME]`
    pub limits: Vec<String>,
    /// `[acme]`
    pub acme: bool,
}

/// Reads a file, or a folder of files, with all that they include.
///
/// The configuration is complete only if the diagnostics have no errors: what could not be read is left out.
pub fn load(path: &Path, around: &dyn Surroundings) -> (Config, Diagnostics) {
    let log = Log::new();
    let root = include::load(path, around, &log);
    read(&root, Tests::Ignored, log)
}

/// The same with its tests, whose mistakes are then mistakes of the configuration.
pub fn load_with_tests(path: &Path, around: &dyn Surroundings) -> (Config, Diagnostics) {
    let log = Log::new();
    let root = include::load(path, around, &log);
    read(&root, Tests::Read, log)
}

/// The same for texts that are at hand: pairs of name and text; a name that ends in `.json` is JSON.
pub fn parse(files: &[(&str, &str)], around: &dyn Surroundings) -> (Config, Diagnostics) {
    let log = Log::new();
    let root = include::read(files, around, &log);
    read(&root, Tests::Read, log)
}

/// Whether `[[test]]` is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    Read,
    Ignored,
}

/// The JSON Schema of the language, for editors.
pub fn json_schema() -> String {
    schema::json_schema(&ROOT)
}

/// The reference page of the language, in Markdown.
pub fn reference() -> String {
    schema::reference(&ROOT, INTRODUCTION)
}

/// The head of the reference page.
const INTRODUCTION: &str = "# Configuration

Generated from `src/config/language.rs` (`UPDATE_GOLDEN=1 cargo test --test golden`); do not edit.

One file, `ringway.toml` (TOML 1.1, or JSON of the same shape), or a folder of files merged by table.
Texts may hold `${VAR}`, `${VAR:-default}` and `${file:/path}`, replaced after parsing; `$${` is a literal `${`.
Durations are `\"250ms\"`, `\"15s\"`, `\"1m30s\"`; sizes `\"16KiB\"` (1024) or `\"16KB\"` (1000); rates `\"100/s\"`.
Unknown keys are errors.";

/// From the tree to the types.
fn read(root: &[Entry], tests: Tests, log: Log) -> (Config, Diagnostics) {
    let broken = log.has_errors();
    let reader = Reader::over(&ROOT, root, Span::whole(FileId(0)), &log);
    let stated = reader.table("default", &DEFAULT).map(|table| Stated::read(&table));
    let stated = stated.unwrap_or_default();
    let tables = |key: &str, what: &str| -> &[Node] { reader.list(key, what) };
    let listeners: Vec<Listener> = tables("listen", "a list of tables, `[[listen]]`")
        .iter()
        .filter_map(|node| listener::read(node, &log))
        .collect();
    let mut loose = Vec::new();
    let tables_of_routes = tables("route", "a list of tables, `[[route]]`");
    // They are large and may be ten thousand: room for all at once, or half of the time goes into moving them.
    let mut routes: Vec<Route> = Vec::with_capacity(tables_of_routes.len());
    let read_routes = tables_of_routes.iter();
    routes.extend(read_routes.filter_map(|node| route::read(node, &stated, &mut loose, &log)));
    let tests = match tests {
        Tests::Read => tables("test", "a list of tables, `[[test]]`"),
        Tests::Ignored => &[],
    };
    let tests = tests.iter().filter_map(|node| test::read(node, &log)).collect();
    let config = Config {
        workers: workers::read(&reader),
        drain_timeout: reader
            .duration("drain_timeout")
            .map_or(defaults::DRAIN_TIMEOUT, |timeout| timeout.value),
        listeners,
        upstreams: named(&reader, "upstream", upstream::read),
        jwts: named(&reader, "jwt", jwt::read),
        api_keys: named(&reader, "api_key", api_key::read),
        basics: named(&reader, "basic", basic::read),
        auth_requests: named(&reader, "auth_request", auth_request::read),
        limits: named(&reader, "limit", limit::read),
        acme: reader.entry("acme").and_then(|entry| acme::read(entry, &log)),
        redis: reader.entry("redis").and_then(|entry| redis::read(entry, &log)),
        cache_bytes_max: cache::read_memory(&reader),
        default: Stated::default().over(&stated),
        routes,
        loose,
        tests,
        admin: reader.node("admin").and_then(|n| admin::read(n, &log)).unwrap_or_default(),
        observe: reader.node("observe").and_then(|n| observe::read(n, &log)).unwrap_or_default(),
        declared: Declared {
            upstreams: names(&reader, "upstream"),
            jwts: names(&reader, "jwt"),
            api_keys: names(&reader, "api_key"),
            basics: names(&reader, "basic"),
            auth_requests: names(&reader, "auth_request"),
            limits: names(&reader, "limit"),
            acme: reader.node("acme").is_some(),
        },
    };
    if !broken {
        check_presence(&reader);
    }
    check_names(&config, &log);
    let mut diagnostics = log.finish();
    diagnostics.drop_echoes();
    (config, diagnostics)
}

fn names(reader: &Reader<'_>, key: &str) -> Vec<String> {
    match reader.node(key).map(|node| &node.kind) {
        Some(Kind::Table(entries)) => entries.iter().map(|entry| entry.key.value.clone()).collect(),
        _ => Vec::new(),
    }
}

/// The tables of a name each, as `[upstream.user]`.
fn named<T>(reader: &Reader<'_>, key: &str, read: impl Fn(&Entry, &Log) -> Option<T>) -> Vec<T> {
    let entries = reader.named(key).unwrap_or_default();
    let mut list = Vec::with_capacity(entries.len());
    for entry in entries {
        check_name(&entry.key, reader.log);
        list.extend(read(entry, reader.log));
    }
    list
}

/// Names are words, so that they can stand in calls and labels; "none" means something else.
fn check_name(name: &Text, log: &Log) {
    let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let problem = if name.value.is_empty() || !name.value.chars().all(character) {
        "a name is made of letters, digits, `_`, `-` and `.`"
    } else if name.value == "none" {
        "`none` cannot be a name: it means that none holds"
    } else {
        return;
    };
    log.error(codes::BAD_NAME, name.span, problem);
}

/// What every configuration needs.
fn check_presence(reader: &Reader<'_>) {
    if reader
        .node("listen")
        .is_none_or(|node| matches!(&node.kind, Kind::Array(list) if list.is_empty()))
    {
        reader.missing("[[listen]]", "write `[[listen]]` and `address = \"0.0.0.0:8080\"`");
    }
    if reader.node("route").is_none() {
        let message = "there is no `[[route]]`: every request is answered with 404";
        reader.log.push(Diagnostic::warning(codes::NO_ROUTES, reader.place, message));
    }
}

/// Names of routes and addresses of listeners are there once.
fn check_names(config: &Config, log: &Log) {
    let mut names: Vec<(&str, Span)> = Vec::new();
    for route in config.routes.iter().filter(|route| route.name != route.matches.text) {
        names.push((&route.name.value, route.name.span));
    }
    report_twice(names, "the name", log);
    let tests = config.tests.iter().map(|test| (test.name.value.as_str(), test.name.span));
    report_twice(tests.collect(), "the test", log);
    let addresses: Vec<(String, Span)> = config
        .listeners
        .iter()
        .filter(|listener| !matches!(&listener.address.value, Address::Tcp(tcp) if tcp.port() == 0))
        .map(|listener| (listener.address.value.to_string(), listener.address.span))
        .collect();
    let addresses = addresses.iter().map(|(text, span)| (text.as_str(), *span)).collect();
    report_twice(addresses, "the address", log);
}

fn report_twice(mut list: Vec<(&str, Span)>, what: &str, log: &Log) {
    list.sort();
    for pair in list.windows(2) {
        let [(first, at), (again, span)] = pair else { continue };
        if first == again {
            let message = format!("{what} `{again}` is written twice");
            let diagnostic = Diagnostic::error(codes::DUPLICATE, *span, message);
            log.push(diagnostic.label("here again").also(*at, "first written here"));
        }
    }
}

#[cfg(test)]
mod tests;
