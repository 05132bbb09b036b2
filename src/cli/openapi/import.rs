//! `ringway import openapi FILE`: upstream and routes from a service's OpenAPI document, as TOML to read,
//! change and keep.
//!
//! One route a path, with the methods that the document has there; the target goes on as it came, with
//! the path of the document's server in front of it. What the document says and a route cannot is a
//! comment at that route, never silence. It never fetches what a document refers to: references to other
//! files are refused.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::{CONFIG, FAILED, OK, Said, USAGE};
use crate::compile::compile;
use crate::config::{self, Surroundings, units};
use crate::control::load::Machine;
use crate::observe::plan::LabelBook;

/// What the routes are to look like.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The upstream's name; the document's title by default.
    pub upstream: Option<String>,
    /// The address of the service; the document's first server by default.
    pub endpoint: Option<String>,
    /// The path that clients put in front; by default none.
    pub prefix: Option<String>,
    /// The host of the routes; by default any.
    pub host: Option<String>,
    /// The `[jwt.NAME]` of operations that ask for a token.
    pub jwt: Option<String>,
}

/// Largest document that is read. Unit: bytes. The largest public ones (Kubernetes, GitHub) are 10 MiB.
const DOCUMENT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Written when the document does not say where the service is: an address of documentation (RFC 5737 §3), at
/// which nothing answers by accident.
const NOWHERE: &str = "192.0.2.1:80";
/// The methods of a path item (OpenAPI 3.1 §4.8.9), in the order in which a match names them.
const METHODS: [&str; 8] = ["get", "head", "post", "put", "patch", "delete", "options", "trace"];

/// Reads `file` and writes the configuration.
pub fn run(file: &Path, wishes: &Wishes) -> Said {
    let large = std::fs::metadata(file).is_ok_and(|about| about.len() > DOCUMENT_BYTES_MAX);
    if large {
        let limit = DOCUMENT_BYTES_MAX / (1024 * 1024);
        return failed(FAILED, &format!("{}: larger than {limit} MiB", file.display()));
    }
    match std::fs::read_to_string(file) {
        Ok(text) => with(&file.display().to_string(), &text, wishes, &Machine),
        Err(error) => failed(FAILED, &format!("cannot read {}: {error}", file.display())),
    }
}

/// The same for a text at hand.
pub fn with(name: &str, text: &str, wishes: &Wishes, around: &dyn Surroundings) -> Said {
    let document = match parse(text) {
        Ok(document) => document,
        Err(why) => return failed(FAILED, &format!("{name}: {why}")),
    };
    let written = match write(name, &document, wishes) {
        Ok(written) => written,
        Err(Refusal::Document(why)) => return failed(FAILED, &format!("{name}: {why}")),
        Err(Refusal::Wish(why)) => return failed(USAGE, &why),
    };
    // A listener, so that the rest is a whole configuration, and an issuer where one was wished for.
    let mut whole = format!("[[listen]]\naddress = \"127.0.0.1:0\"\n\n{}", written.text);
    if let Some(jwt) = &wishes.jwt {
        let _ = write!(whole, "\n[jwt.{jwt}]\nsecret = \"{}\"\naudience = \"x\"\n", "x".repeat(64));
    }
    let (config, found) = config::parse(&[("ringway.toml", &whole)], around);
    let (compiled, found) = compile(&config, found, around, 0, &mut LabelBook::default(), None);
    if compiled.is_none() {
        let why = "the routes of this document do not fit together:";
        let err = format!("error: {name}: {why}\n{}", found.render());
        return Said { out: String::new(), err, code: CONFIG };
    }
    Said { out: written.text, err: written.notes, code: OK }
}

fn failed(code: u8, why: &str) -> Said {
    Said { out: String::new(), err: format!("error: {why}\n"), code }
}

/// Why nothing was written.
enum Refusal {
    Document(String),
    Wish(String),
}

/// JSON, or YAML, of which JSON is nearly a part.
fn parse(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"));
    }
    serde_saphyr::from_str(text).map_err(|error| format!("not YAML: {error}"))
}

/// What was written, and what is to be said about it.
struct Written {
    text: String,
    notes: String,
}

fn write(name: &str, document: &Value, wishes: &Wishes) -> Result<Written, Refusal> {
    check_version(document).map_err(Refusal::Document)?;
    let title = document["info"]["title"].as_str().unwrap_or("service");
    let upstream = match &wishes.upstream {
        Some(upstream) => upstream.clone(),
        None => word(title, "service"),
    };
    let server = Server::of(document);
    let prefix = wishes.prefix.as_deref().unwrap_or("").trim_end_matches('/');
    if !prefix.is_empty() && !prefix.starts_with('/') {
        return Err(Refusal::Wish(format!("--prefix begins with `/`: `/{prefix}`")));
    }
    if let Some(Err(advice)) = wishes.endpoint.as_deref().map(units::address) {
        return Err(Refusal::Wish(format!("--endpoint is not an address: {advice}")));
    }
    let mut text = format!("# {}, from {}\n\n", line(title), line(name));
    let _ = writeln!(text, "[upstream.{upstream}]");
    let endpoint = wishes.endpoint.clone().or_else(|| server.endpoint.clone());
    match endpoint {
        Some(endpoint) => {
            let _ = writeln!(text, "endpoints = [{}]", quoted(&endpoint));
        }
        None => {
            let said = server.url.as_deref().unwrap_or("nothing");
            let _ = writeln!(
                text,
                "endpoints = [\"{NOWHERE}\"]   # replace it by the service's address: the document says {}",
                line(said)
            );
        }
    }
    let Some(Value::Object(paths)) = document.get("paths") else {
        return Err(Refusal::Document("the document has no `paths`".into()));
    };
    let mut notes = String::new();
    let mut known: Vec<String> = Vec::new();
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with('/')) {
        let place = Place { document, wishes, upstream: &upstream, prefix, base: &server.path };
        let route = place.route(path, item).map_err(Refusal::Document)?;
        let Some(route) = route else { continue };
        if known.contains(&route.matched) {
            // Two paths that differ in a parameter's name only are one to every router.
            let _ = writeln!(
                notes,
                "note: `{path}` is left out: an earlier path is the same to a router"
            );
            continue;
        }
        known.push(route.matched);
        text.push_str(&route.text);
    }
    if known.is_empty() {
        return Err(Refusal::Document("the document has no operation".into()));
    }
    Ok(Written { text, notes })
}

fn check_version(document: &Value) -> Result<(), String> {
    match (document["openapi"].as_str(), document.get("swagger")) {
        (Some(version), _) if version.starts_with("3.") => Ok(()),
        (Some(version), _) => Err(format!("OpenAPI {} is not known here: 3.x is", line(version))),
        (None, Some(_)) => Err("this is Swagger 2.0: convert it to OpenAPI 3 first".into()),
        (None, None) => Err("this is no OpenAPI document: it has no `openapi: 3.…`".into()),
    }
}

/// The first server of a document.
#[derive(Default)]
struct Server {
    url: Option<String>,
    /// `IP:port`, if it has one.
    endpoint: Option<String>,
    /// Its path, without a slash at the end.
    path: String,
}

impl Server {
    fn of(document: &Value) -> Self {
        let Some(url) = document["servers"][0]["url"].as_str() else { return Self::default() };
        let (rest, port) = match url.split_once("://") {
            Some(("http", rest)) => (rest, 80),
            Some((_, rest)) => (rest, 443),
            None => (url.strip_prefix("//").unwrap_or(url), 80),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let bare = authority.parse().map(|ip| std::net::SocketAddr::new(ip, port));
        let address = authority.parse().or(bare).ok();
        Self {
            url: Some(url.to_owned()),
            endpoint: address.map(|address| address.to_string()),
            path: if path.contains('{') {
                String::new()
            } else {
                path.trim_end_matches('/').into()
            },
        }
    }
}

/// What all routes of one document share.
struct Place<'a> {
    document: &'a Value,
    wishes: &'a Wishes,
    upstream: &'a str,
    prefix: &'a str,
    base: &'a str,
}

/// One route as text, and its match without names of parameters.
struct RouteText {
    text: String,
    matched: String,
}

impl Place<'_> {
    /// The route of one path; `None` if nothing can be asked there.
    fn route(&self, path: &str, item: &Value) -> Result<Option<RouteText>, String> {
        let item = self.resolve(item)?;
        let operations: Vec<(&str, &Value)> =
            METHODS.into_iter().filter_map(|name| Some((name, item.get(name)?))).collect();
        if operations.is_empty() {
            return Ok(None);
        }
        // A route for GET answers HEAD, too (RFC 9110 §9.3.2).
        let has_get = operations.iter().any(|(name, _)| *name == "get");
        let methods: Vec<String> = operations
            .iter()
            .filter(|(name, _)| !(has_get && *name == "head"))
            .map(|(name, _)| name.to_ascii_uppercase())
            .collect();
        let Shape { matched, sent, plain, whole } = shape(path);
        let host = self.wishes.host.as_deref().unwrap_or("");
        let methods = methods.join(",");
        let mut text = String::from("\n");
        for (name, operation) in &operations {
            let about = operation["summary"].as_str().or(operation["operationId"].as_str());
            if let Some(about) = about.filter(|about| !about.is_empty()) {
                let _ = writeln!(text, "# {}: {}", name.to_ascii_uppercase(), line(about));
            }
        }
        if !whole {
            let _ = writeln!(text, "# {}: a parameter is a whole segment here", line(path));
        }
        let asked = format!("{methods} {host}{}{matched}", self.prefix);
        let _ = writeln!(text, "[[route]]\nmatch   = {}", quoted(&asked));
        let moved = self.prefix != self.base;
        let target = if moved { format!(" {}{sent}", self.base) } else { String::new() };
        let _ = writeln!(text, "forward = {}", quoted(&format!("{}{target}", self.upstream)));
        self.write_security(&operations, &mut text);
        Ok(Some(RouteText { text, matched: format!("{methods} {plain}") }))
    }

    /// `jwt`, or a comment that says what the document asks for.
    fn write_security(&self, operations: &[(&str, &Value)], text: &mut String) {
        let asked: Vec<String> =
            operations.iter().flat_map(|(_, operation)| self.schemes(operation)).collect();
        let open = operations.iter().any(|(_, operation)| self.schemes(operation).is_empty());
        match (&self.wishes.jwt, asked.first()) {
            (_, None) => {}
            (Some(jwt), Some(_)) if !open => {
                let _ = writeln!(text, "jwt     = {}", quoted(jwt));
            }
            (_, Some(scheme)) => {
                let some = if open { " for some of these methods" } else { "" };
                let _ = writeln!(text, "# the document asks for {}{some}", line(scheme));
            }
        }
    }

    /// The security schemes that an operation asks for; empty if it may be had without.
    fn schemes(&self, operation: &Value) -> Vec<String> {
        let own = operation.get("security").or_else(|| self.document.get("security"));
        let Some(Value::Array(choices)) = own else { return Vec::new() };
        let names = |choice: &Value| choice.as_object().map(Map::len).unwrap_or_default();
        if choices.iter().any(|choice| names(choice) == 0) {
            return Vec::new();
        }
        let first = choices.first().and_then(Value::as_object);
        first.into_iter().flat_map(|choice| choice.keys().cloned()).collect()
    }

    /// What a reference inside of the document leads to (RFC 6901).
    fn resolve<'v>(&'v self, item: &'v Value) -> Result<&'v Value, String> {
        let Some(reference) = item.get("$ref").and_then(Value::as_str) else { return Ok(item) };
        let inside = reference.strip_prefix('#').and_then(|at| self.document.pointer(at));
        inside.ok_or_else(|| {
            format!("the reference {} does not lead anywhere in this file", line(reference))
        })
    }
}

/// A path of a document as a match and as a target.
struct Shape {
    matched: String,
    sent: String,
    /// The match with every parameter named alike.
    plain: String,
    /// Whether each parameter was a whole segment.
    whole: bool,
}

fn shape(path: &str) -> Shape {
    let mut shape =
        Shape { matched: String::new(), sent: String::new(), plain: String::new(), whole: true };
    let mut names: Vec<String> = Vec::new();
    for segment in path.split('/').skip(1) {
        if !segment.contains('{') {
            let literal = escaped(segment);
            for text in [&mut shape.matched, &mut shape.sent, &mut shape.plain] {
                text.push('/');
                text.push_str(&literal);
            }
            continue;
        }
        let inner = segment.split('{').nth(1).and_then(|rest| rest.split('}').next());
        shape.whole &= segment.starts_with('{') && segment.find('}') == Some(segment.len() - 1);
        let mut name = word(inner.unwrap_or(""), "value").replace(['-', '.'], "_");
        while names.contains(&name) {
            name.push('_');
        }
        let _ = write!(shape.matched, "/{{{name}}}");
        let _ = write!(shape.sent, "/{{path.{name}}}");
        shape.plain.push_str("/{}");
        names.push(name);
    }
    shape
}

/// A literal segment as a match may have it: anything unusual percent-encoded.
fn escaped(segment: &str) -> String {
    let mut text = String::with_capacity(segment.len());
    for (index, byte) in segment.bytes().enumerate() {
        match byte {
            // `:id` and `*` are what other languages write for a parameter: refused where they are bare.
            b':' | b'*' if index == 0 => {
                let _ = write!(text, "%{byte:02X}");
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(byte)),
            b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'%' | b'+' | b',' | b'=' | b'!' | b'$'
            | b'&' | b'(' | b')' | b'*' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// A name made of the words of a text: letters, digits and `-`.
fn word(text: &str, otherwise: &str) -> String {
    let mut name = String::new();
    for character in text.chars() {
        match character {
            'a'..='z' | '0'..='9' | '_' => name.push(character),
            'A'..='Z' => name.push(character.to_ascii_lowercase()),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() || name == "none" { otherwise.to_owned() } else { name.to_owned() }
}

/// A text of the document in a comment: one line, of bounded length.
fn line(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(CHARS_MAX).map(plain).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
