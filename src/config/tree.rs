//! The document as it was written: one tree for TOML and for JSON, every node with its place.
//!
//! The tree is what merging, substitution and the readers work on; nothing outside of `config` sees it.
//! TOML 1.1 comes from the `toml` crate's spanned tables, which keep going after a syntax error, so that
//! one run reports all of them. Parsing must never stop at the first error and never recurse without a
//! bound: both parsers bound their depth themselves.

use std::cell::{Ref, RefCell};
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::config::codes;
use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::span::{FileId, SourceMap, Span, Text};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) kind: Kind,
    /// The text came, at least in part, from the environment or a file: it is never quoted in an error.
    pub(super) substituted: bool,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// JSON only.
    Null,
    /// A text whose substitution failed: the error is reported, and nothing more is said about it.
    Unset,
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// Kept as it was written; no key of the language takes one.
    Datetime(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// One key of a table with its value, in the order of the file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Text,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn new(span: Span, kind: Kind) -> Self {
        Self { span, kind, substituted: false }
    }

    /// The kind in words, for "expected …, found …".
    pub(super) fn found(&self) -> &'static str {
        match self.kind {
            Kind::Null => "null",
            Kind::Unset => "nothing",
            Kind::Text(_) => "a text",
            Kind::Integer(_) => "an integer",
            Kind::Float(_) => "a number with a fraction",
            Kind::Boolean(_) => "a boolean",
            Kind::Datetime(_) => "a date",
            Kind::Array(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }
}

/// Where the readers put what they find; shared by all of them while one configuration is read.
pub(super) struct Log {
    diagnostics: RefCell<Diagnostics>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { diagnostics: RefCell::new(Diagnostics::default()) }
    }

    pub(super) fn push(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    pub(super) fn error(&self, code: &'static str, span: Span, message: impl Into<String>) {
        self.push(Diagnostic::error(code, span, message));
    }

    pub(super) fn add(&self, name: &str, text: String) -> FileId {
        self.diagnostics.borrow_mut().sources.add(name, text)
    }

    pub(super) fn mask(&self, span: Span) {
        self.diagnostics.borrow_mut().sources.mask(span);
    }

    pub(super) fn sources(&self) -> Ref<'_, SourceMap> {
        Ref::map(self.diagnostics.borrow(), |diagnostics| &diagnostics.sources)
    }

    pub(super) fn has_errors(&self) -> bool {
        self.diagnostics.borrow().has_errors()
    }

    pub(super) fn finish(self) -> Diagnostics {
        self.diagnostics.into_inner()
    }
}

/// Reads a TOML file; syntax errors go to the log and what could be read is returned.
pub(super) fn from_toml(file: FileId, text: &str, log: &Log) -> Vec<Entry> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let tree = entries(file, table.into_inner());
    let count = errors.len();
    let mut advised = None;
    for error in errors.into_iter().take(SYNTAX_ERRORS_MAX) {
        let range = error.span().unwrap_or(text.len()..text.len());
        let line = line_start(text, range.start);
        // What else is wrong with a line that lacks its quotes is an echo of that.
        if advised == Some(line) {
            continue;
        }
        let advice = bare_value(&text[line..]);
        advised = advice.as_ref().map(|_| line);
        let diagnostic = syntax_error(file, text, range, error.message());
        let diagnostic = advice.into_iter().fold(diagnostic, Diagnostic::help);
        let again = diagnostic.primary.span;
        let first = before(&tree, log.sources().slice(again), again);
        match first {
            Some(first) if error.message() == "duplicate key" => {
                let diagnostic = Diagnostic { code: codes::DUPLICATE, ..diagnostic };
                log.push(diagnostic.label("here again").also(first, "first written here"));
            }
            _ => log.push(diagnostic),
        }
    }
    if count > SYNTAX_ERRORS_MAX {
        let message = format!("{} more errors of syntax in this file", count - SYNTAX_ERRORS_MAX);
        log.error(codes::SYNTAX, Span::new(file, text.len()..text.len()), message);
    }
    tree
}

/// Errors of syntax that are shown of one file; one slip can make thousands.
const SYNTAX_ERRORS_MAX: usize = 20;

/// The last place before `span` where the tree has the same key: for a duplicate, the first one.
fn before(entries: &[Entry], key: &str, span: Span) -> Option<Span> {
    let below = |node: &Node| match &node.kind {
        Kind::Table(entries) => before(entries, key, span),
        Kind::Array(list) => list
            .iter()
            .filter_map(|item| match &item.kind {
                Kind::Table(entries) => before(entries, key, span),
                _ => None,
            })
            .max(),
        _ => None,
    };
    let here = |entry: &Entry| {
        let same = entry.key.value == key.trim_matches(['"', '\'']) && entry.key.span < span;
        same.then_some(entry.key.span).max(below(&entry.node))
    };
    entries.iter().filter_map(here).max()
}

fn entries(file: FileId, table: DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| {
            let span = Span::new(file, key.span());
            let node_span = Span::new(file, value.span());
            let node = Node::new(node_span, kind(file, value.into_inner()));
            Entry { key: Text::new(key.into_inner().into_owned(), span), node }
        })
        .collect();
    // The crate sorts by key; the order of the file is the order of a merge's answer.
    entries.sort_by_key(|entry| entry.key.span.start);
    entries
}

fn kind(file: FileId, value: DeValue<'_>) -> Kind {
    match value {
        DeValue::String(text) => Kind::Text(text.into_owned()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            // A number past 64 bits is past every range of the language; it is reported as such.
            parsed.map_or_else(|_| Kind::Float(f64::INFINITY), Kind::Integer)
        }
        DeValue::Float(number) => Kind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => Kind::Boolean(boolean),
        DeValue::Datetime(date) => Kind::Datetime(date.to_string()),
        DeValue::Array(list) => {
            let node = |value: toml::Spanned<DeValue<'_>>| {
                let span = Span::new(file, value.span());
                Node::new(span, kind(file, value.into_inner()))
            };
            Kind::Array(list.into_iter().map(node).collect())
        }
        DeValue::Table(table) => Kind::Table(entries(file, table)),
    }
}

/// A syntax error in the words of the parser, with the place.
pub(super) fn syntax_error(
    file: FileId,
    text: &str,
    range: Range<usize>,
    message: &str,
) -> Diagnostic {
    let range = if range.start == 0 && range.end == 0 { 0..text.len().min(1) } else { range };
    Diagnostic::error(codes::SYNTAX, Span::new(file, range), message)
}

/// Where the line of a place begins.
fn line_start(text: &str, at: usize) -> usize {
    let bytes = &text.as_bytes()[..at.min(text.len())];
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// Longest line that is looked at for a value without quotes. Unit: bytes.
const LINE_BYTES_MAX: usize = 200;

/// Advice about a line that is probably `key = value` without quotes, or that of another gateway's file.
fn bare_value(text: &str) -> Option<String> {
    let line = text.lines().next()?.trim();
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    if line.ends_with(';') && !line.contains(['=', '"']) {
        return Some("this is TOML: `key = value`, and tables in brackets".to_owned());
    }
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    // The value may be a secret: it is never repeated.
    let word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/*{}%".contains(c);
    let bare = !key.is_empty() && key.chars().all(word) && value.chars().all(plain);
    let quotes = bare && !value.is_empty() && !value.starts_with('{') && !is_keyword(value);
    quotes.then(|| format!("texts stand in quotes: `{key} = \"…\"`"))
}

/// Words of TOML that other languages begin with a capital.
fn is_keyword(value: &str) -> bool {
    ["true", "false", "inf", "nan"].iter().any(|word| word.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keep_the_order_of_the_file_and_all_places() {
        let text = "[route.merge]\nz = { a = 1 }\nb = [2, \"x\"]\n[upstream.user]\nq = 1";
        let log = Log::new();
        let file = log.add("f", text.to_owned());
        let tree = from_toml(file, text, &log);
        let Kind::Table(route) = &tree[0].node.kind else { panic!("a table") };
        let Kind::Table(merge) = &route[0].node.kind else { panic!("a table") };
        assert_eq!(merge.iter().map(|e| e.key.value.as_str()).collect::<Vec<_>>(), ["z", "b"]);
        assert_eq!(log.sources().slice(merge[1].node.span), "[2, \"x\"]");
        let Kind::Table(upstream) = &tree[1].node.kind else { panic!("a table") };
        assert_eq!(log.sources().slice(upstream[0].key.span), "user");
        assert_eq!(log.sources().slice(upstream[0].node.span), "[upstream.user]");
    }

    #[test]
    fn every_syntax_error_is_reported() {
        let text = "a = \nb = 1\nc = [1, \n[d\ne = 1";
        let log = Log::new();
        let file = log.add("f", text.to_owned());
        let _ = from_toml(file, text, &log);
        println!("{}", log.diagnostics.borrow().render());
        assert!(log.diagnostics.borrow().iter().count() >= 2);
    }

    #[test]
    fn inline_tables_may_span_lines_as_toml_1_1_has_it() {
        let text = "a = {\n  b = 1,\n  c = 2,\n}\n";
        let log = Log::new();
        let file = log.add("f", text.to_owned());
        let tree = from_toml(file, text, &log);
        assert!(!log.has_errors());
        let Kind::Table(a) = &tree[0].node.kind else { panic!("a table") };
        assert_eq!(a.len(), 2);
    }
}
