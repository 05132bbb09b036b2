//! `cors`: which pages of other origins may read a route's answers (Fetch standard).
//!
//! An origin that no browser ever sends (with a path, with the default port, in capitals) is told, never kept:
//! it would look like a permission and be none. `*` together with credentials is an error, for browsers refuse
//! it, and reflecting every origin instead would open the route to every page there is.

use std::time::Duration;

use crate::base::limits::{CORS_NAMES_MAX, CORS_ORIGINS_MAX};
use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::fields;
use crate::config::language::CORS;
use crate::config::reader::{Reader, wrong_type};
use crate::config::span::Text;
use crate::config::tree::{Kind, Log, Node};

/// The rules of one route.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Origins; empty: all of them.
    pub origins: Vec<Origin>,
    /// Whether cookies and the like may go along. Default: no.
    pub credentials: bool,
    /// Methods; empty: those that the route takes.
    pub methods: Vec<String>,
    /// Request fields, in lower case; `None`: whatever is asked for. Default: `authorization`, `content-type`.
    pub headers: Option<Vec<String>>,
    /// Response fields that scripts see.
    pub exposed: Vec<String>,
    /// How long a preflight is remembered. Default: 10 min.
    pub max_age: Duration,
    /// Whether pages of public networks may ask this one.
    pub private_network: bool,
}

/// One origin, or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// As a browser writes it; `null`, too.
    Exact(String),
    /// `https://`, and `.example.com` with its port.
    Below(String, String),
    /// Without its port.
    AnyPort(String),
}

/// Reads `cors = …`.
pub(super) fn read(outer: &Reader<'_>, node: &Node) -> Option<Cors> {
    if matches!(node.kind, Kind::Boolean(_)) {
        let advice = "name those who may read answers: `cors = \"https://app.example.com\"`, or \"*\" for everybody";
        wrong_type(outer.log, node, "a text, a list or a table", advice);
        return None;
    }
    if !matches!(node.kind, Kind::Table(_)) {
        let origins = outer.texts("cors");
        return Some(Cors {
            origins: read_origins(&origins, node, outer.log)?,
            ..defaults::cors()
        });
    }
    let reader = Reader::open(&CORS, node, outer.log)?;
    let written = reader.texts("origins");
    let origins = match reader.node("origins") {
        Some(listed) => read_origins(&written, listed, reader.log),
        None => {
            let advice = "write `origins = [\"https://app.example.com\"]`, or \"*\" for all";
            reader.missing("origins", advice);
            None
        }
    };
    let credentials = reader.boolean("credentials").is_some_and(|word| word.value);
    if credentials {
        refuse_everybody(&reader, &written);
        warn_of_whole_registries(&reader, &written);
    }
    let base = defaults::cors();
    let (methods, exposed) = (read_methods(&reader), read_exposed(&reader, credentials));
    let headers = match reader.node("headers") {
        Some(_) => read_headers(&reader),
        None => base.headers,
    };
    let max_age = reader.duration_in("max_age", Duration::ZERO, defaults::CORS_MAX_AGE_CEILING);
    let private_network = reader.boolean("private_network").is_some_and(|word| word.value);
    Some(Cors {
        origins: origins?,
        credentials,
        methods,
        headers,
        exposed,
        max_age: max_age.map_or(base.max_age, |age| age.value),
        private_network,
    })
}

/// Everybody's pages with the cookies of this one's users: never.
fn refuse_everybody(reader: &Reader<'_>, origins: &[Text]) {
    for origin in origins.iter().filter(|origin| matches!(origin.value.as_str(), "*" | "null")) {
        let (message, help) = if origin.value == "*" {
            (
                "`*` and credentials exclude each other: browsers refuse such an answer",
                "name the origins that may send cookies, or leave `credentials` out",
            )
        } else {
            (
                "`null` with credentials lets every page in: a sandboxed frame of any site has this origin",
                "name the origins that may send cookies, or leave `credentials` out",
            )
        };
        let diagnostic = Diagnostic::error(codes::BAD_CORS, origin.span, message);
        let place = reader.entry("credentials").map_or(origin.span, |entry| entry.key.span);
        reader.log.push(diagnostic.also(place, "credentials are asked for here").help(help));
    }
}

/// `https://*.com` is every site of a registry, and each may act for whoever is logged in.
fn warn_of_whole_registries(reader: &Reader<'_>, written: &[Text]) {
    for text in written {
        let Ok(Origin::Below(_, suffix)) = parse(&text.value) else { continue };
        let domain = suffix.trim_start_matches('.').split(':').next().unwrap_or_default();
        if domain == "localhost" || domain.contains('.') {
            continue;
        }
        let message = format!("every site below `.{domain}` may send cookies here");
        let diagnostic = Diagnostic::warning(codes::SLIP, text.span, message);
        reader.log.push(diagnostic.help("name your own domain: `https://*.example.com`"));
    }
}

fn read_origins(texts: &[Text], node: &Node, log: &Log) -> Option<Vec<Origin>> {
    if texts.is_empty() {
        if matches!(&node.kind, Kind::Array(list) if list.is_empty()) {
            let diagnostic = Diagnostic::error(codes::BAD_CORS, node.span, "no origin is named");
            log.push(diagnostic.help("name some, or write `cors = \"none\"`"));
        }
        return None;
    }
    if texts.len() > CORS_ORIGINS_MAX {
        let message = format!("`cors` names at most {CORS_ORIGINS_MAX} origins");
        log.error(codes::OUT_OF_RANGE, node.span, message);
    }
    if let Some(all) = texts.iter().find(|text| text.value == "*") {
        if texts.len() > 1 {
            let message = "`*` stands alone: it means every origin";
            log.error(codes::BAD_CORS, all.span, message);
        }
        return Some(Vec::new());
    }
    let origins: Vec<Option<Origin>> = texts.iter().map(|text| read_origin(text, log)).collect();
    origins.into_iter().collect()
}

fn read_origin(text: &Text, log: &Log) -> Option<Origin> {
    match parse(&text.value) {
        Ok(origin) => Some(origin),
        Err(help) => {
            let message = "this is no origin as a browser sends it";
            log.push(Diagnostic::error(codes::BAD_CORS, text.span, message).help(help));
            None
        }
    }
}

/// An origin, or what to write instead.
fn parse(text: &str) -> Result<Origin, String> {
    if text == "null" {
        return Ok(Origin::Exact(text.into()));
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return Err(format!("it begins with its scheme: `https://{text}`"));
    };
    let lower = text.to_ascii_lowercase();
    if lower != text {
        return Err(format!("browsers write it in lower case: `{lower}`"));
    }
    if let Some(end) = authority.find(['/', '?', '#']) {
        let short = &text[..scheme.len() + 3 + end];
        return Err(format!("it ends with the host or its port: `{short}`"));
    }
    let scheme_is_fine = !scheme.is_empty()
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let usual = |port| matches!((scheme, port), ("https", "443") | ("http", "80"));
    if port.is_some_and(usual) {
        return Err(format!("browsers leave the usual port out: `{scheme}://{host}`"));
    }
    let port_is_fine =
        port.is_none_or(|port| port == "*" || port.parse::<u16>().is_ok_and(|p| p > 0));
    let name = host.strip_prefix("*.").unwrap_or(host);
    let host_is_fine = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._[]:".contains(&b));
    if !scheme_is_fine || !port_is_fine || !host_is_fine {
        let form = "`https://app.example.com`, `https://*.example.com`, `http://localhost:*`, `\"*\"` alone or `\"null\"`";
        return Err(format!("write {form}"));
    }
    match (host.strip_prefix("*."), port) {
        (Some(_), Some("*")) => {
            Err("a wildcard stands for the host or for the port, not for both".into())
        }
        (Some(name), None) => Ok(Origin::Below(format!("{scheme}://"), format!(".{name}"))),
        (Some(name), Some(port)) => {
            Ok(Origin::Below(format!("{scheme}://"), format!(".{name}:{port}")))
        }
        (None, Some("*")) => Ok(Origin::AnyPort(format!("{scheme}://{host}"))),
        (None, _) => Ok(Origin::Exact(text.into())),
    }
}

fn read_methods(reader: &Reader<'_>) -> Vec<String> {
    let methods = reader.texts("methods");
    bound(reader, "methods", methods.len());
    for method in &methods {
        let upper = method.value.to_ascii_uppercase();
        let token = !upper.is_empty()
            && upper.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if method.value == "*" {
            let message = "`*` is no method";
            let diagnostic = Diagnostic::error(codes::BAD_CORS, method.span, message);
            reader
                .log
                .push(diagnostic.help(
                    "leave `methods` out: then every method that the route takes is allowed",
                ));
        } else if !token || upper != method.value {
            let message = format!("`{}` is not a method", method.value);
            let diagnostic = Diagnostic::error(codes::BAD_CORS, method.span, message);
            reader.log.push(diagnostic.help(format!("methods are words in capitals: `{upper}`")));
        }
    }
    methods.into_iter().map(|method| method.value).collect()
}

fn read_headers(reader: &Reader<'_>) -> Option<Vec<String>> {
    let written = reader.texts("headers");
    bound(reader, "headers", written.len());
    if let [only] = written.as_slice()
        && only.value == "*"
    {
        return None;
    }
    refuse_stars(reader, &written);
    let named =
        fields::names(written.into_iter().filter(|name| name.value != "*").collect(), reader.log);
    Some(named.into_iter().map(|name| name.value).collect())
}

fn read_exposed(reader: &Reader<'_>, credentials: bool) -> Vec<String> {
    let written = reader.texts("expose");
    bound(reader, "expose", written.len());
    if let [only] = written.as_slice()
        && only.value == "*"
    {
        if credentials {
            let message = "`*` and credentials exclude each other: browsers take it for a name";
            let diagnostic = Diagnostic::error(codes::BAD_CORS, only.span, message);
            reader.log.push(diagnostic.help("name the fields that scripts may read"));
        }
        return vec!["*".into()];
    }
    refuse_stars(reader, &written);
    let named =
        fields::names(written.into_iter().filter(|name| name.value != "*").collect(), reader.log);
    named.into_iter().map(|name| name.value).collect()
}

fn refuse_stars(reader: &Reader<'_>, names: &[Text]) {
    for star in names.iter().filter(|name| name.value == "*") {
        reader.error(codes::BAD_CORS, star.span, "`*` stands alone: it means every field");
    }
}

fn bound(reader: &Reader<'_>, key: &str, count: usize) {
    if count > CORS_NAMES_MAX {
        let place = reader.entry(key).map_or(reader.place, |entry| entry.key.span);
        reader.error(
            codes::OUT_OF_RANGE,
            place,
            format!("`{key}` has at most {CORS_NAMES_MAX} names"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        assert_eq!(parse("https://a.com"), Ok(Origin::Exact("https://a.com".into())));
        assert_eq!(
            parse("https://*.a.com:8443"),
            Ok(Origin::Below("https://".into(), ".a.com:8443".into()))
        );
        assert_eq!(parse("http://localhost:*"), Ok(Origin::AnyPort("http://localhost".into())));
        assert_eq!(
            parse("http://[::1]:80"),
            Err("browsers leave the usual port out: `http://[::1]`".into())
        );
        assert!(parse("http://[::1]").is_ok());
        for bad in [
            "a.com",
            "https://a.com/",
            "https://A.com",
            "https://a.com:443",
            "https://*",
            "https://*.a.com:*",
            "https://a.*.com",
            "https://",
            "://a",
            "https://a.com:0",
            "https://a.com:x",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
