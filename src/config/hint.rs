//! What was probably meant: words of other gateways, and the short form of a table.
//!
//! A hint names only keys that the table has in this version, and never quotes a value that came by
//! substitution. Where nothing is surely meant there is no hint: a wrong one costs more than none.

use crate::config::reader::quoted_text;
use crate::config::schema::{Key, Section, Shape};
use crate::config::tree::{Kind, Node};

/// What other gateways call a key of this table.
const FOREIGN: [(&str, &str); 14] = [
    ("endpoint", "route"),
    ("location", "route"),
    ("servers", "endpoints"),
    ("server", "endpoints"),
    ("targets", "endpoints"),
    ("gzip", "compress"),
    ("brotli", "compress"),
    ("add_header", "response_headers"),
    ("proxy_set_header", "request_headers"),
    ("proxy_pass", "forward"),
    ("rate_limit", "limit"),
    ("limit_req", "limit"),
    ("path", "match"),
    ("return", "redirect"),
];

/// The same for words that mean something else in other tables: the table's title comes first.
const FOREIGN_THERE: [(&str, &str, &str); 16] = [
    ("[[listen]]", "alpn", "protocols"),
    ("listen.tls", "ssl_certificate_key", "certificates"),
    ("listen.tls", "ssl_protocols", "min_version"),
    ("listen.tls", "ssl_ciphers", "suites"),
    ("listen.tls", "ssl_client_certificate", "client"),
    ("listen.tls", "ssl_verify_client", "client"),
    ("listen.tls", "ciphers", "suites"),
    ("listen.tls", "cipher_suites", "suites"),
    ("listen.tls.client", "ca", "roots"),
    ("listen.tls.client", "ca_file", "roots"),
    ("upstream.tls", "ca", "roots"),
    ("upstream.tls", "ca_file", "roots"),
    ("upstream.tls", "sni", "name"),
    ("upstream.tls", "server_name", "name"),
    ("upstream.tls", "cert", "certificate"),
    ("route.cors", "allow_origins", "origins"),
];

/// Words that ask an upstream's TLS to believe anybody.
const BLIND: [&str; 6] = [
    "insecure",
    "insecure_skip_verify",
    "skip_verify",
    "verify",
    "ssl_verify",
    "insecureSkipVerify",
];

/// Tables of which one key says most, so that a plain text is probably that key's value.
const MAIN_KEY: [(&str, &str); 9] = [
    ("route.respond", "body"),
    ("route.cache.key", "headers"),
    ("[cache]", "memory"),
    ("[admin]", "address"),
    ("[redis]", "address"),
    ("observe.otlp", "endpoint"),
    ("observe.access_log.only", "status"),
    ("listen.tls.client", "roots"),
    ("upstream.tls", "name"),
];

/// The key of this table that is called otherwise elsewhere.
pub(super) fn foreign(section: &Section, name: &str) -> Option<&'static str> {
    let there =
        FOREIGN_THERE.iter().find(|(title, theirs, _)| *title == section.title && *theirs == name);
    let known = |(theirs, ours): &&(&str, &str)| *theirs == name && section.supports(ours);
    there.map(|(_, _, ours)| *ours).or_else(|| FOREIGN.iter().find(known).map(|(_, ours)| *ours))
}

/// What to say of it.
pub(super) fn foreign_advice(ours: &str) -> String {
    let shown = if ours == "route" { "[[route]]" } else { ours };
    format!("here it is `{shown}`")
}

/// Why a table has no such key, where that is meant.
pub(super) fn never_there(section: &Section, name: &str) -> Option<String> {
    // Routers elsewhere have keys of their own for what one line says here.
    if section.title == "[[route]]" && ["host", "hosts", "method", "methods"].contains(&name) {
        return Some(
            "methods and host stand before the path: `match = \"GET,POST api.example.com/orders\"`"
                .to_owned(),
        );
    }
    if section.title == "[[listen]]" && ["http2", "h2"].contains(&name) {
        return Some(
            "HTTP/2 is spoken already where nothing is said; `protocols = [\"http/1.1\"]` turns it off"
                .to_owned(),
        );
    }
    let blind = section.title == "upstream.tls" && BLIND.contains(&name);
    let why = "certificates are always checked: name what signs the origin's, `roots = \"ca.pem\"`";
    blind.then(|| why.to_owned())
}

/// What to write where a table should stand.
pub(super) fn for_table(section: &Section, node: &Node) -> String {
    let switched_on = matches!(node.kind, Kind::Boolean(true));
    match section.title {
        "listen.tls" if switched_on => {
            return "write `tls = { certificates = [{ cert = \"api.pem\", key = \"api.key\" }] }`"
                .to_owned();
        }
        "route.cache" if switched_on => {
            return "write `cache = \"origin\"`, or `cache = { ttl = \"1m\" }`".to_owned();
        }
        _ => {}
    }
    let Some((_, key)) = MAIN_KEY.iter().find(|(title, _)| *title == section.title) else {
        return String::new();
    };
    match &node.kind {
        Kind::Text(text) => format!("write `{{ {key} = {} }}`", quoted_text(node, text)),
        Kind::Array(_) => format!("write `{{ {key} = […] }}`"),
        _ => String::new(),
    }
}

/// What to write where a table of names should stand.
pub(super) fn for_names(key: &Key) -> String {
    let name = key.name;
    match names_in(key.shape) {
        Some(Shape::Fields | Shape::Conditions) => {
            format!("write `{name} = {{ NAME = \"text\" }}`")
        }
        Some(Shape::Named(Shape::Choice([first, ..]))) => {
            format!("write `{name} = {{ NAME = \"{first}\" }}`")
        }
        _ => format!("each has its name: `[{name}.NAME]`"),
    }
}

/// The shape of names among those that may stand there.
fn names_in(shape: Shape) -> Option<Shape> {
    match shape {
        Shape::Either(shapes) => shapes.iter().find_map(|shape| names_in(*shape)),
        Shape::Fields | Shape::Conditions | Shape::Named(_) => Some(shape),
        _ => None,
    }
}
