//! `ringway explain`: a request in, the walk that it would take out. Nothing is sent.
//!
//! The request is written as HTTP/1.1 and read by the same parser that reads clients, so that what is
//! explained is what would be served. The claims given are taken as verified; no token is ever asked for.

use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::base::buffer::BufferPool;
use crate::cli::{CONFIG, OK, Said, USAGE, check};
use crate::config::Surroundings;
use crate::control::load::{self, Machine};
use crate::exchange::Exchange;
use crate::exchange::identity::Identity;
use crate::gateway::explain::explain;
use crate::gateway::listener::Listener;
use crate::http::h1::parse::{self, Parsed};

/// What is asked besides the request itself.
#[derive(Clone, Copy, Default)]
pub struct Asked<'a> {
    /// Header lines of the request.
    pub headers: &'a [String],
    /// Claims of a token that is taken as verified.
    pub claims: &'a [String],
    /// The other end of the client's connection.
    pub from: Option<IpAddr>,
}

/// Explains `request` ("GET http://host/path").
pub fn run(path: Option<&Path>, request: &str, asked: Asked<'_>) -> Said {
    with(&load::path(path), request, asked, &Machine)
}

/// The same in the world `around`.
pub fn with(path: &Path, request: &str, asked: Asked<'_>, around: &dyn Surroundings) -> Said {
    let Asked { headers, claims, from } = asked;
    let (compiled, found) = check::compiled(path, around);
    let Some(compiled) = compiled else {
        return Said { out: String::new(), err: found.render(), code: CONFIG };
    };
    let gateway = &compiled.gateway;
    let head = match head_text(request, headers) {
        Ok(head) => head,
        Err(why) => return usage(&why),
    };
    let story = |listener: &Listener| {
        if listener.to_https {
            return Ok(TO_HTTPS.to_owned());
        }
        exchange(&head, claims, listener).map(|mut x| explain(gateway, listener, from, &mut x))
    };
    // Listeners share the routes and differ in which spellings they take, whom they trust and what they bound.
    let mut stories: Vec<(String, Result<String, String>)> = Vec::new();
    for listener in &gateway.listeners {
        let at = listener.address.to_string();
        let told =
            story(listener).map(|walk| walk.replace(&format!("  listener {at}\n"), LISTENER));
        match stories.iter_mut().find(|(_, known)| *known == told) {
            Some((places, _)) => *places += &format!(", {at}"),
            None => stories.push((at, told)),
        }
    }
    let walk = match &stories[..] {
        // A configuration without a listener does not compile.
        [] => return usage("there is no listener"),
        [(_, Err(why))] => return usage(why),
        [(places, Ok(walk))] => walk.replace(LISTENER, &format!("  listener {places}\n")),
        several => several.iter().map(at_listener).collect::<Vec<_>>().join("\n"),
    };
    let (host, token) = (host_note(request, headers), token_note(headers));
    let out = format!("{request}\n\n{host}{token}{walk}");
    Said { out, err: found.render(), code: OK }
}

/// What happens at some listeners, where others tell another story.
fn at_listener((places, told): &(String, Result<String, String>)) -> String {
    let told = match told {
        Ok(walk) => walk.replace(LISTENER, ""),
        Err(why) => format!("{why}\n"),
    };
    format!("at {places}\n\n{told}")
}

/// All that a listener with `redirect` does.
const TO_HTTPS: &str =
    "answers every request with 308 and the same address over https (`redirect` of the listener)\n";

/// Stands for the line that names the listener: walks that differ in nothing else are one.
const LISTENER: &str = "\0";

/// A token in a field proves nothing here: said, so that a 401 does not surprise.
fn token_note(headers: &[String]) -> &'static str {
    let token = |line: &String| {
        line.split_once(':')
            .is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("authorization"))
    };
    if headers.iter().any(token) {
        "tokens given with -H are not verified here; use --jwt claim=value\n\n"
    } else {
        ""
    }
}

/// What is said of a command line that cannot be meant.
pub fn usage(why: &str) -> Said {
    let example = "write: ringway explain 'GET http://api.example.com/dashboard?x=1'";
    Said { out: String::new(), err: format!("error: {why}\n{example}\n"), code: USAGE }
}

/// Whether a word that stands where a file may stand is the method of a request without its quotes.
pub fn is_method(word: &str) -> bool {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"].contains(&word)
        && !Path::new(word).exists()
}

/// The request as a client would send it.
fn head_text(request: &str, headers: &[String]) -> Result<String, String> {
    let mut words = request.split_ascii_whitespace();
    let (method, url) = match (words.next(), words.next(), words.next()) {
        (Some(method), Some(url), None) => (method, url),
        (Some(url), None, None) => ("GET", url),
        _ => return Err("a request is a method and a URL".into()),
    };
    let (host, target) = host_and_target(url);
    if method == "CONNECT" && (!target.is_empty() || !host.contains(':')) {
        let form = "`CONNECT db.example.com:5432`";
        return Err(format!("CONNECT asks for a host and its port, without a path: {form}"));
    }
    // As `[[test]]` takes it.
    let host = if host.is_empty() { "localhost" } else { host };
    let lead = if target.starts_with('/') { "" } else { "/" };
    // CONNECT asks for an authority and has no path (RFC 9112 §3.2.3).
    let line = if method == "CONNECT" { host.to_owned() } else { format!("{lead}{target}") };
    let mut text = format!("{method} {line} HTTP/1.1\r\n");
    let own_host = headers.iter().any(|line| names_host(line));
    if !own_host {
        text.push_str(&format!("host: {host}\r\n"));
    }
    for line in headers {
        let Some((name, value)) = line.split_once(':') else {
            return Err(format!("`{line}` is not a header field: write `-H 'name: value'`"));
        };
        text.push_str(&format!("{}: {}\r\n", name.trim(), value.trim()));
    }
    Ok(text + "\r\n")
}

fn host_and_target(url: &str) -> (&str, &str) {
    let bare = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or(url);
    bare.split_at(bare.find(['/', '?']).unwrap_or(bare.len()))
}

/// A request without a host is one for `localhost`: said, since another host may have another route.
fn host_note(request: &str, headers: &[String]) -> &'static str {
    let url = request.split_ascii_whitespace().last().unwrap_or_default();
    let given = !host_and_target(url).0.is_empty() || headers.iter().any(|line| names_host(line));
    if given { "" } else { "no host is given: `localhost` is taken\n\n" }
}

fn names_host(line: &str) -> bool {
    line.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("host"))
}

/// The exchange as it stands when its head has been read.
fn exchange(head: &str, claims: &[String], listener: &Listener) -> Result<Exchange, String> {
    let mut x = Exchange::default();
    let mut bytes = BufferPool::new(1).take().ok_or("no memory")?;
    if !bytes.put(head.as_bytes()) {
        return Err("the request is too long".into());
    }
    match parse::request(bytes.data(), 0, &listener.head_limits, &mut x.head) {
        Ok(Parsed::Done) => {}
        Ok(Parsed::Partial) => return Err("this request is not whole".into()),
        Err(error) => {
            return Err(format!("a client would be refused for this request: {}", error.text()));
        }
    }
    x.bytes = Some(bytes);
    if !claims.is_empty() {
        x.identity = Some(Identity::from_verified(Rc::new(claims_of(claims)?)));
    }
    Ok(x)
}

/// `sub=42`, `realm.roles=["a"]`: a value that reads as a JSON list, object or boolean is one; everything
/// else is text, since a subject is.
fn claims_of(claims: &[String]) -> Result<Value, String> {
    let mut all = Map::new();
    for claim in claims {
        let Some((path, value)) = claim.split_once('=') else {
            return Err(format!("`{claim}` is not a claim: write `--jwt sub=42`"));
        };
        let value = match serde_json::from_str::<Value>(value) {
            Ok(json @ (Value::Array(_) | Value::Object(_) | Value::Bool(_))) => json,
            _ => Value::from(value),
        };
        insert(&mut all, path, value);
    }
    Ok(Value::Object(all))
}

/// Puts a value at a path with dots.
fn insert(all: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        all.insert(path.to_owned(), value);
        return;
    };
    let inner = all.entry(first).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Value::Object(inner) = inner {
        insert(inner, rest, value);
    }
}
