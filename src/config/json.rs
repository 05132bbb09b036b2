//! JSON with the shape of `ringway.toml`, for generated configurations, and values of the tree as JSON.
//!
//! Places in JSON are exact for values and for keys without escapes; a key with an escape has the place
//! of its value. The reader never builds a tree deeper than [`DEPTH_MAX`].

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::span::{FileId, Span, Text};
use crate::config::tree::{Entry, Kind, Log, Node, syntax_error};

/// Levels of a JSON configuration. The language needs eight; the rest is room for `else` values.
const DEPTH_MAX: usize = 64;

/// Reads a JSON file; an error of syntax goes to the log.
pub(super) fn from_json(file: FileId, text: &str, log: &Log) -> Vec<Entry> {
    let reader = Reader { file, text, log };
    let raw: &RawValue = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let at = offset(text, error.line(), error.column());
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or("not JSON");
            log.push(syntax_error(file, text, at..text.len().min(at + 1), message));
            return Vec::new();
        }
    };
    match reader.node(raw, 0) {
        Node { kind: Kind::Table(entries), .. } => entries,
        other => {
            log.error(codes::WRONG_TYPE, other.span, "a configuration in JSON is one object");
            Vec::new()
        }
    }
}

struct Reader<'a> {
    file: FileId,
    text: &'a str,
    log: &'a Log,
}

impl<'a> Reader<'a> {
    /// The place of a slice of the text.
    fn span(&self, slice: &str) -> Span {
        let start = (slice.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let start = if start <= self.text.len() { start } else { 0 };
        Span::new(self.file, start..start + slice.len())
    }

    fn node(&self, raw: &'a RawValue, depth: usize) -> Node {
        let text = raw.get();
        let span = self.span(text);
        if depth > DEPTH_MAX {
            self.log.error(codes::SYNTAX, span, format!("nested deeper than {DEPTH_MAX} levels"));
            return Node::new(span, Kind::Null);
        }
        let kind = match text.as_bytes().first() {
            Some(b'{') => Kind::Table(self.table(text, depth)),
            Some(b'[') => {
                let list = serde_json::Deserializer::from_str(text).deserialize_seq(List);
                let list = list.unwrap_or_default();
                Kind::Array(list.into_iter().map(|item| self.node(item, depth + 1)).collect())
            }
            Some(b'"') => Kind::Text(serde_json::from_str(text).unwrap_or_default()),
            Some(b't') => Kind::Boolean(true),
            Some(b'f') => Kind::Boolean(false),
            Some(b'n') | None => Kind::Null,
            Some(_) => match text.parse() {
                Ok(integer) => Kind::Integer(integer),
                Err(_) => Kind::Float(text.parse().unwrap_or(f64::NAN)),
            },
        };
        Node::new(span, kind)
    }

    fn table(&self, text: &'a str, depth: usize) -> Vec<Entry> {
        let fields = serde_json::Deserializer::from_str(text).deserialize_map(Fields);
        let mut entries: Vec<Entry> = Vec::new();
        for (raw_key, raw) in fields.unwrap_or_default() {
            let node = self.node(raw, depth + 1);
            let literal = raw_key.get();
            let key: String = serde_json::from_str(literal).unwrap_or_default();
            let span = self.span(literal);
            let exact = literal.len() == key.len() + 2;
            let inner = Span { start: span.start + 1, end: span.end.saturating_sub(1), ..span };
            let key = Text::new(key, if exact { inner } else { span });
            if let Some(first) = entries.iter().find(|entry| entry.key.value == key.value) {
                let diagnostic = Diagnostic::error(codes::DUPLICATE, key.span, "duplicate key");
                self.log.push(diagnostic.also(first.key.span, "first written here"));
                continue;
            }
            entries.push(Entry { key, node });
        }
        entries
    }
}

/// Byte offset of serde_json's line and column (both from one; the column counts bytes).
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(&'de RawValue, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = sequence.next_element()? {
            list.push(item);
        }
        Ok(list)
    }
}

/// A value of the tree as JSON; `None`, and an error in the log, for what JSON does not have.
pub(super) fn to_json(node: &Node, log: &Log) -> Option<Value> {
    match &node.kind {
        Kind::Null => Some(Value::Null),
        Kind::Unset => None,
        Kind::Text(text) => Some(Value::String(text.clone())),
        Kind::Integer(number) => Some(Value::from(*number)),
        Kind::Float(number) => {
            let value = serde_json::Number::from_f64(*number).map(Value::Number);
            if value.is_none() {
                log.error(codes::WRONG_TYPE, node.span, "JSON has no such number");
            }
            value
        }
        Kind::Boolean(boolean) => Some(Value::Bool(*boolean)),
        Kind::Datetime(date) => Some(Value::String(date.clone())),
        Kind::Array(list) => {
            list.iter().map(|item| to_json(item, log)).collect::<Option<_>>().map(Value::Array)
        }
        Kind::Table(entries) => {
            let field = |entry: &Entry| Some((entry.key.value.clone(), to_json(&entry.node, log)?));
            entries.iter().map(field).collect::<Option<_>>().map(Value::Object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_exact_places() {
        let text = "{ \"route\": [\n  { \"match\": \"/x\", \"n\": -3 } ] }";
        let log = Log::new();
        let file = log.add("f.json", text.to_owned());
        let tree = from_json(file, text, &log);
        assert!(!log.has_errors());
        assert_eq!(log.sources().slice(tree[0].key.span), "route");
        let Kind::Array(routes) = &tree[0].node.kind else { panic!("a list") };
        let Kind::Table(route) = &routes[0].kind else { panic!("a table") };
        assert_eq!(log.sources().slice(route[0].node.span), "\"/x\"");
        assert_eq!(log.sources().place(route[1].key.span), "f.json:2:21");
        assert!(matches!(route[1].node.kind, Kind::Integer(-3)));
    }

    #[test]
    fn a_syntax_error_and_a_duplicate_key_have_places() {
        for text in ["{ \"a\": 1,\n  \"b\": }", "{ \"a\": 1,\n  \"a\": 2 }"] {
            let log = Log::new();
            let file = log.add("f.json", text.to_owned());
            let _ = from_json(file, text, &log);
            assert!(log.finish().render().contains("f.json:2:"), "{text}");
        }
    }
}
