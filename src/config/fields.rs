//! Header field names and values in a configuration (RFC 9110 §5.1, §5.5).
//!
//! A field that would change the framing of a message, or that belongs to one hop (§7.6.1), is never
//! taken from a configuration: that is the gateway's own business. Nor is one that some origins take for it:
//! CGI makes one name of `-` and `_` (RFC 3875 §4.1.18).

use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::span::Text;
use crate::config::tree::Log;

/// Fields of the connection and of the framing.
const OWN_FIELDS: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
];

/// Whether a text is a field name; reports it if not.
pub(super) fn check_name(name: &Text, log: &Log) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let good = !name.value.is_empty() && name.value.bytes().all(token);
    if !good {
        let diagnostic = Diagnostic::error(codes::BAD_FIELD, name.span, "this is not a field name");
        log.push(diagnostic.help("letters, digits and `-`: `x-client`"));
    }
    good
}

/// Field names in lower case, those that are none reported and left out.
pub(super) fn names(texts: Vec<Text>, log: &Log) -> Vec<Text> {
    let mut names = texts;
    names.retain(|name| check_name(name, log));
    names.iter_mut().for_each(|name| name.value.make_ascii_lowercase());
    names
}

/// Fields to be sent, names in lower case; those that may not be sent are reported and left out.
pub(super) fn to_send(fields: Vec<(Text, Text)>, log: &Log) -> Vec<(Text, Text)> {
    let mut fields = fields;
    fields.iter_mut().for_each(|(name, _)| name.value.make_ascii_lowercase());
    fields.retain(|(name, value)| {
        check_name(name, log)
            && check_own(name, log)
            && check_alike(name, log)
            && check_value(value, log)
    });
    fields
}

/// Whether a field may be written from a configuration; reports it if not.
pub(super) fn check_own(name: &Text, log: &Log) -> bool {
    let own = OWN_FIELDS.contains(&name.value.as_str());
    if own {
        let message = format!("`{}` is set by the gateway itself", name.value);
        log.error(codes::BAD_FIELD, name.span, message);
    }
    !own
}

/// A name as CGI origins and their kin read it.
pub(super) fn as_cgi(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// Whether no origin takes a field for one of the gateway's own; reports it if one does.
pub(super) fn check_alike(name: &Text, log: &Log) -> bool {
    let read = as_cgi(&name.value);
    let alike = OWN_FIELDS.contains(&read.as_str());
    if alike {
        let message = format!("some origins take `{}` for `{read}`", name.value);
        let diagnostic = Diagnostic::error(codes::BAD_FIELD, name.span, message);
        log.push(diagnostic.help(format!("`{read}` is set by the gateway itself")));
    }
    !alike
}

/// Whether a text can stand in a head: no line breaks and no other control characters but a tab.
pub(super) fn check_value(value: &Text, log: &Log) -> bool {
    let good = !value.value.chars().any(|c| c.is_control() && c != '\t');
    if !good {
        let message = "a field's value cannot hold line breaks or control characters";
        log.error(codes::BAD_FIELD, value.span, message);
    }
    good
}
