//! `match` and `when`: which requests a route is for.
//!
//! `match = "[METHOD[,METHOD…]] [host]/path"`. Methods are RFC 9110 §9.1 tokens, hosts are compared
//! without case (§4.2.3), paths are split into segments before anything is decoded (RFC 3986 §3.3).
//! A match never has a query: that is a condition of its own.

use crate::base::limits::{PARAMS_MAX, PATH_SEGMENTS_MAX};
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::WHEN;
use crate::config::reader::{Reader, wrong_type};
use crate::config::span::{Span, Text};
use crate::config::suggest;
use crate::config::tree::{Entry, Kind, Log, Node};

/// A `match`, taken apart.
#[derive(Clone, Debug)]
pub struct Match {
    /// As it was written.
    pub text: Text,
    /// Methods, in upper case; empty: any.
    pub methods: Vec<Text>,
    /// The host; `None`: any.
    pub host: Option<Host>,
    /// The path's segments, at least one: `/` has one empty segment, `/a/` has `a` and an empty one.
    pub segments: Vec<Segment>,
}

/// The host of a match, in lower case, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `api.example.com`
    Exact(Text),
    /// `*.example.com`: the text is `example.com`; it matches any name below, not the name itself.
    Wildcard(Text),
}

/// One segment of a match's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// As written, possibly percent-encoded (well-formed); empty only as the last one.
    Literal(Text),
    /// `{name}`: one segment that is not empty.
    Param(Text),
    /// `{*name}`: the rest of the path; only as the last one.
    Rest(Text),
}

/// Further conditions; all must hold.
#[derive(Clone, Debug, Default)]
pub struct When {
    /// Header fields, names in lower case.
    pub headers: Vec<Condition>,
    /// Query parameters.
    pub query: Vec<Condition>,
}

/// A name and the value it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The name.
    pub name: Text,
    /// The value, compared whole and with case; `None`: it must be there.
    pub value: Option<Text>,
}

/// Takes a `match` apart; `None` after an error.
pub(super) fn read(text: Text, log: &Log) -> Option<Match> {
    let words: Vec<&str> = text.value.split_ascii_whitespace().collect();
    if words.first().is_some_and(|word| word.starts_with('~')) {
        let message = "there are no regular expressions in a match";
        return refuse(log, text.span, message, "write a path with parameters: `/users/{id}`");
    }
    let (methods, target) = match words.as_slice() {
        [target] => ("", *target),
        [methods @ .., target] if methods.len() > 1 && methods.iter().any(|m| m.ends_with(',')) => {
            let message = "methods are separated by commas without blanks";
            let advice = format!("write `{} {target}`", methods.concat());
            return refuse(log, text.span, message, &advice);
        }
        [methods, target] => (*methods, *target),
        _ => return refuse(log, text.span, "a match is `[METHOD[,METHOD…]] [host]/path`", ""),
    };
    let at = |part: &str| part.as_ptr() as usize - text.value.as_ptr() as usize;
    let place = |part: &str| log.sources().part(&text, at(part)..at(part) + part.len());
    let Some(slash) = target.find('/') else {
        let method = target.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b',');
        let advice = if method {
            format!("write `{target} /path`, or `{target} /{{*rest}}` for every path")
        } else {
            format!("write `{target}/{{*rest}}` for every path")
        };
        let message = "this match has no path: it begins with `/` or with `host/`";
        return refuse(log, place(target).span, message, &advice);
    };
    let (host, path) = target.split_at(slash);
    let methods = read_methods(methods, &place, log)?;
    let host = if host.is_empty() { None } else { Some(read_host(place(host), log)?) };
    let segments = read_path(path, &place, log)?;
    Some(Match { methods, host, segments, text })
}

fn refuse<T>(log: &Log, span: Span, message: &str, advice: &str) -> Option<T> {
    let diagnostic = Diagnostic::error(codes::BAD_MATCH, span, message);
    log.push(if advice.is_empty() { diagnostic } else { diagnostic.help(advice) });
    None
}

/// The methods of RFC 9110 §9.3 and RFC 5789. Any other word is a method, too (§9.1), so one that is nearly
/// one of these is warned about.
const USUAL_METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
/// Registered methods, and those of caches and of service discovery.
const KNOWN: &[&str] = &[
    "ACL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LIST",
    "LOCK",
    "MERGE",
    "MKCOL",
    "MOVE",
    "NOTIFY",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUSH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "VIEW",
];

fn read_methods(words: &str, place: &dyn Fn(&str) -> Text, log: &Log) -> Option<Vec<Text>> {
    let mut methods: Vec<Text> = Vec::new();
    if words.is_empty() {
        return Some(methods);
    }
    for word in words.split(',') {
        let method = if word.is_empty() { place(words) } else { place(word) };
        let upper = word.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        if word.is_empty() || !upper {
            let message = "methods are upper-case words, separated by commas without blanks";
            let advice = format!("write `{}`", words.to_ascii_uppercase());
            let plain = word.bytes().all(|b| b.is_ascii_alphabetic()) && !word.is_empty();
            return refuse(log, method.span, message, if plain { &advice } else { "`GET,POST`" });
        }
        if methods.iter().any(|known| known.value == word) {
            return refuse(log, method.span, "this method is here twice", "");
        }
        if let Some(near) = suggest::slip(word, USUAL_METHODS).filter(|_| !KNOWN.contains(&word)) {
            let message = "this method is none of HTTP's own";
            let diagnostic = Diagnostic::warning(codes::SLIP, method.span, message);
            log.push(diagnostic.suggest(Some(near), ""));
        }
        methods.push(method);
    }
    Some(methods)
}

/// Reads a host: `api.example.com` or `*.example.com`.
pub(super) fn read_host(host: Text, log: &Log) -> Option<Host> {
    let lower = host.value.to_ascii_lowercase();
    if host.value.starts_with('{') {
        let message = "a host cannot be a parameter";
        return refuse(
            log,
            host.span,
            message,
            "any host: begin with `/`; any name below one: `*.example.com`",
        );
    }
    if host.value.contains("://") || lower == "http:" || lower == "https:" {
        return refuse(log, host.span, "a match has no scheme", "write `host/path`");
    }
    let (wildcard, name) = match lower.strip_prefix("*.") {
        Some(name) => (true, name.to_owned()),
        None => (false, lower.clone()),
    };
    let bracketed = name.starts_with('[') && name.ends_with(']') && !wildcard;
    if !bracketed && name.contains(':') {
        let message = "a match has no port: the listener's address decides it";
        let bare = host.value.split(':').next().unwrap_or("");
        return refuse(log, host.span, message, &format!("write `{bare}/…`"));
    }
    if !name.is_ascii() {
        let message = "a host is written in ASCII: internationalised names as `xn--…`";
        return refuse(log, host.span, message, "");
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !bracketed && !name.split('.').all(label) {
        let message = "this is not a host: `api.example.com` or `*.example.com`";
        return refuse(log, host.span, message, "");
    }
    let text = Text::new(name, host.span);
    Some(if wildcard { Host::Wildcard(text) } else { Host::Exact(text) })
}

fn read_path(path: &str, place: &dyn Fn(&str) -> Text, log: &Log) -> Option<Vec<Segment>> {
    let pieces: Vec<&str> = path.split('/').skip(1).collect();
    if pieces.len() > PATH_SEGMENTS_MAX {
        let message = format!("a path has at most {PATH_SEGMENTS_MAX} segments");
        return refuse(log, place(path).span, &message, "");
    }
    let mut segments: Vec<Segment> = Vec::with_capacity(pieces.len());
    for (index, piece) in pieces.iter().enumerate() {
        let last = index + 1 == pieces.len();
        if piece.is_empty() && !last {
            let message = "an empty segment in a match: write one `/`";
            return refuse(log, place(path).span, message, "");
        }
        let segment = read_segment(piece, last, path, place, log)?;
        if let Segment::Param(name) | Segment::Rest(name) = &segment {
            let same = segments.iter().any(|known| match known {
                Segment::Param(known) | Segment::Rest(known) => known.value == name.value,
                Segment::Literal(_) => false,
            });
            if same {
                let message = format!("the parameter `{}` is here twice", name.value);
                return refuse(log, name.span, &message, "");
            }
        }
        segments.push(segment);
    }
    let params = segments.iter().filter(|segment| !matches!(segment, Segment::Literal(_))).count();
    if params > PARAMS_MAX {
        let message = format!("a match has at most {PARAMS_MAX} parameters");
        return refuse(log, place(path).span, &message, "");
    }
    Some(segments)
}

fn read_segment(
    piece: &str,
    last: bool,
    path: &str,
    place: &dyn Fn(&str) -> Text,
    log: &Log,
) -> Option<Segment> {
    // An empty piece has no place of its own in the text.
    let at = if piece.is_empty() { place(path) } else { place(piece) };
    let span = at.span;
    if let Some(inner) = piece.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let (rest, name) = match inner.strip_prefix('*') {
            Some(name) => (true, name),
            None => (false, inner),
        };
        let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !word {
            let message =
                "a parameter's name is made of letters, digits and `_`: `{id}`, `{*rest}`";
            return refuse(log, span, message, "");
        }
        if rest && !last {
            let message =
                format!("`{{*{name}}}` takes the rest of the path: nothing can follow it");
            return refuse(log, span, &message, &format!("for one segment write `{{{name}}}`"));
        }
        let name = place(name);
        return Some(if rest { Segment::Rest(name) } else { Segment::Param(name) });
    }
    if piece.contains(['{', '}']) {
        let message = "a parameter takes a whole segment: `/users/{id}`";
        return refuse(log, span, message, "");
    }
    if piece.contains(['?', '#']) {
        let message = "a match has no query";
        return refuse(log, span, message, "write `when = { query = { name = \"value\" } }`");
    }
    if matches!(piece, "." | "..") {
        return refuse(log, span, "a dot segment never matches", "");
    }
    if let Some((message, advice)) = wildcard_of_others(piece) {
        return refuse(log, span, &message, &advice);
    }
    if piece.bytes().any(|b| !b.is_ascii_graphic() || b"\"<>\\^`|".contains(&b)) {
        let message = "characters outside of RFC 3986 are percent-encoded in a path";
        return refuse(log, span, message, "");
    }
    if !well_encoded(piece) {
        return refuse(log, span, "`%` stands before two hexadecimal digits", "");
    }
    Some(Segment::Literal(Text::new(piece.to_owned(), span)))
}

/// What other gateways and frameworks write for a parameter: a literal here, and hardly ever meant as one.
fn wildcard_of_others(piece: &str) -> Option<(String, String)> {
    let name = piece.trim_start_matches([':', '*']);
    let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match piece {
        "*" => Some(("`*` alone matches only itself".into(), "write `{*rest}` or `{name}`".into())),
        "**" => {
            let advice = "for the rest of the path write `{*rest}`".into();
            Some(("`**` alone matches only itself".into(), advice))
        }
        _ if piece.starts_with(':') && word => {
            let advice = format!(
                "for a parameter write `{{{name}}}`; for this very text `%3A{}`",
                &piece[1..]
            );
            Some((format!("`{piece}` matches only itself"), advice))
        }
        _ => None,
    }
}

fn well_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|behind| {
        behind.len() >= 2 && behind.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Reads `when`.
pub(super) fn read_when(node: &Node, log: &Log) -> Option<When> {
    let reader = Reader::open(&WHEN, node, log)?;
    Some(conditions(&reader))
}

/// The header fields and query parameters of an opened `when`.
pub(super) fn conditions(reader: &Reader<'_>) -> When {
    let mut headers = read_conditions(reader, "header");
    for condition in &mut headers {
        condition.name.value.make_ascii_lowercase();
    }
    headers.retain(|condition| super::fields::check_name(&condition.name, reader.log));
    When { headers, query: read_conditions(reader, "query") }
}

/// The conditions of one kind.
pub(super) fn read_conditions(reader: &Reader<'_>, key: &str) -> Vec<Condition> {
    let entries = reader.named(key).unwrap_or_default();
    entries.iter().filter_map(|entry| read_condition(entry, reader.log)).collect()
}

fn read_condition(entry: &Entry, log: &Log) -> Option<Condition> {
    let value = match &entry.node.kind {
        Kind::Text(text) => Some(Text::new(text.clone(), entry.node.span)),
        Kind::Boolean(true) => None,
        _ => {
            wrong_type(log, &entry.node, "a text, or `true` for \"is there\"", "");
            return None;
        }
    };
    Some(Condition { name: entry.key.clone(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Match, String> {
        let log = Log::new();
        let file = log.add("f", format!("\"{text}\""));
        let text = Text::new(text.to_owned(), Span::new(file, 0..text.len() + 2));
        read(text, &log).ok_or_else(|| log.finish().render())
    }

    #[test]
    fn a_match_is_taken_apart() {
        let all = parsed("GET,POST *.Example.com/orders/{id}/{*rest}").expect("good");
        let methods: Vec<&str> = all.methods.iter().map(|text| text.value.as_str()).collect();
        assert_eq!(methods, ["GET", "POST"]);
        assert!(matches!(&all.host, Some(Host::Wildcard(name)) if name.value == "example.com"));
        assert!(matches!(&all.segments[0], Segment::Literal(text) if text.value == "orders"));
        assert!(matches!(&all.segments[1], Segment::Param(text) if text.value == "id"));
        assert!(matches!(&all.segments[2], Segment::Rest(text) if text.value == "rest"));
    }

    #[test]
    fn the_root_and_a_trailing_slash_have_an_empty_last_segment() {
        assert_eq!(parsed("/").expect("good").segments.len(), 1);
        assert_eq!(parsed("/a/").expect("good").segments.len(), 2);
        assert!(parsed("//").is_err());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            "",
            "GET",
            "GET POST /",
            "get /",
            "GET, /",
            "GET,GET /",
            "a:80/x",
            "http://a/x",
            "/{*rest}/a",
            "/a{b}",
            "/{a}/{a}",
            "/{}",
            "/a?b=1",
            "/..",
            "/%2",
            "/*",
            "/b/**",
            "/c/:id",
            "{h}/x",
            "a..b/x",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mistake_is_pointed_at_inside_of_the_text() {
        let errors = parsed("GET api.example.com/a/{*rest}/b").expect_err("bad");
        assert!(errors.contains("f:1:24"), "{errors}");
    }
}
