//! Reads one table of the document against its [`Section`]: the hand-written walker.
//!
//! Opening a table reports every key that the language does not have or that this version cannot do;
//! each question then gives a typed, spanned value, or `None` after reporting what is wrong. A reader
//! never stops at a mistake and never quotes a secret.

use std::time::Duration;

use crate::config::codes;
use crate::config::defaults::DURATION_MAX;
use crate::config::diagnostic::Diagnostic;
use crate::config::hint;
use crate::config::language::ROOT;
use crate::config::schema::{Section, Shape};
use crate::config::span::{Span, Spanned, Text};
use crate::config::suggest::nearest;
use crate::config::tree::{Entry, Kind, Log, Node};
use crate::config::units::{self, Rate, shown_bytes, shown_duration};

/// One table, opened.
pub(super) struct Reader<'a> {
    pub(super) section: &'static Section,
    /// Where to point when something is missing.
    pub(super) place: Span,
    pub(super) log: &'a Log,
    entries: &'a [Entry],
}

impl<'a> Reader<'a> {
    /// Opens a table and reports its unknown keys; `None` if the node is no table.
    pub(super) fn open(section: &'static Section, node: &'a Node, log: &'a Log) -> Option<Self> {
        let Kind::Table(entries) = &node.kind else {
            wrong_type(log, node, "a table", &hint::for_table(section, node));
            return None;
        };
        Some(Self::over(section, entries, node.span, log))
    }

    /// The same for the entries of a table.
    pub(super) fn over(
        section: &'static Section,
        entries: &'a [Entry],
        place: Span,
        log: &'a Log,
    ) -> Self {
        let reader = Self { section, place, log, entries };
        for entry in entries {
            reader.check_key(&entry.key, &entry.node);
        }
        reader
    }

    fn check_key(&self, key: &Text, node: &Node) {
        let name = key.value.as_str();
        match self.section.key(name) {
            Some(key) if key.is_supported() => {}
            Some(_) if name == "tls" && self.section.title == ROOT.title => {
                let advice =
                    "certificates stand at each listener: `[listen.tls]` below `[[listen]]`";
                not_supported(self.log, key.span, "`tls` for all listeners", advice);
            }
            Some(_) => self.not_supported(key.span, &format!("`{name}`")),
            None => {
                let foreign = hint::foreign(self.section, name);
                let near = nearest(name, self.section.names()).filter(|_| foreign.is_none());
                let secret = matches!(near, Some("secret" | "pem" | "password"));
                let holds = |key: &str| self.section.key(key).is_some();
                if secret || holds("secret") || holds("password") {
                    self.log.mask(node.span);
                }
                let valid: Vec<&str> = self.section.names().collect();
                let message = format!("unknown key `{name}` in {}", self.section.here);
                let diagnostic = Diagnostic::error(codes::UNKNOWN_KEY, key.span, message)
                    .suggest(near, "not a key of this table");
                let home = match near {
                    None => foreign
                        .map(hint::foreign_advice)
                        .or_else(|| hint::never_there(self.section, name))
                        .or_else(|| misplaced(self.section, name)),
                    Some(_) => None,
                };
                self.log.push(
                    home.into_iter()
                        .fold(diagnostic, Diagnostic::help)
                        .note(format!("valid here: {}", valid.join(", "))),
                );
            }
        }
    }

    /// Says that something of the language is not in this version.
    pub(super) fn not_supported(&self, span: Span, what: &str) {
        not_supported(self.log, span, what, "");
    }

    pub(super) fn error(&self, code: &'static str, span: Span, message: impl Into<String>) {
        self.log.error(code, span, message);
    }

    /// The value of a key, untouched.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// A key with its value.
    pub(super) fn entry(&self, key: &str) -> Option<&'a Entry> {
        debug_assert!(self.section.key(key).is_some(), "`{key}` is not in the language");
        self.entries.iter().find(|entry| entry.key.value == key)
    }

    /// Reports a key that must be there.
    pub(super) fn missing(&self, key: &str, advice: &str) {
        if self.is_misspelt(&[key]) {
            return;
        }
        let message = format!("`{key}` is missing in {}", self.section.here);
        let diagnostic = Diagnostic::error(codes::MISSING_KEY, self.place, message);
        self.log.push(diagnostic.help(advice));
    }

    /// Whether an unknown key, reported already, was probably meant to be one of these.
    pub(super) fn is_misspelt(&self, keys: &[&str]) -> bool {
        let names = || self.section.keys.iter().map(|key| key.name);
        let unknown = self.entries.iter().filter(|e| self.section.key(&e.key.value).is_none());
        let meant =
            |name: &str| hint::foreign(self.section, name).or_else(|| nearest(name, names()));
        unknown.filter_map(|e| meant(&e.key.value)).any(|near| keys.contains(&near))
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Option<Text> {
        text_of(self.node(key)?, self.log, "a text")
    }

    /// A text, or a list of texts; empty if absent.
    pub(super) fn texts(&self, key: &str) -> Vec<Text> {
        match self.node(key) {
            None => Vec::new(),
            Some(Node { kind: Kind::Array(list), .. }) => {
                list.iter().filter_map(|item| text_of(item, self.log, "a text")).collect()
            }
            Some(node) => {
                text_of(node, self.log, "a text or a list of texts").into_iter().collect()
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &str) -> Option<Spanned<bool>> {
        let node = self.node(key)?;
        if let Kind::Boolean(value) = node.kind {
            return Some(Spanned::new(value, node.span));
        }
        wrong_type(self.log, node, "`true` or `false`", "");
        None
    }

    /// A whole number within the range of the language.
    pub(super) fn integer(&self, key: &str) -> Option<Spanned<i64>> {
        let (min, max) = self.range(key);
        integer_of(self.node(key)?, min, max, self.log)
    }

    fn range(&self, key: &str) -> (i64, i64) {
        let shape = self.section.key(key).map_or(Shape::Json, |key| key.shape);
        let ranges: &[Shape] = match &shape {
            Shape::Either(shapes) => shapes,
            other => std::slice::from_ref(other),
        };
        let range = ranges.iter().find_map(|shape| match shape {
            Shape::Integer(min, max) => Some((*min, *max)),
            _ => None,
        });
        range.unwrap_or((0, i64::MAX))
    }

    /// A duration greater than nothing.
    pub(super) fn duration(&self, key: &str) -> Option<Spanned<Duration>> {
        duration_of(self.node(key)?, Duration::from_millis(1), DURATION_MAX, self.log)
    }

    /// A duration within a range.
    pub(super) fn duration_in(
        &self,
        key: &str,
        min: Duration,
        max: Duration,
    ) -> Option<Spanned<Duration>> {
        duration_of(self.node(key)?, min, max, self.log)
    }

    /// A size within a range.
    pub(super) fn bytes(&self, key: &str, min: u64, max: u64) -> Option<Spanned<u64>> {
        let node = self.node(key)?;
        let text = unit_text(node, "a size with its unit, like \"16KiB\"", "KiB", self.log)?;
        match units::bytes(&text.value) {
            Err(advice) => self.bad_unit(node, &text, "a size", &advice),
            Ok(bytes) if bytes < min || bytes > max => {
                let (min, max) = (shown_bytes(min), shown_bytes(max));
                let message = format!("`{key}` must be between {min} and {max}");
                self.error(codes::OUT_OF_RANGE, text.span, message);
                None
            }
            Ok(bytes) => Some(text.map(|_| bytes)),
        }
    }

    /// A rate.
    pub(super) fn rate(&self, key: &str) -> Option<Spanned<Rate>> {
        let node = self.node(key)?;
        let text = unit_text(node, "a rate, like \"100/s\"", "/s", self.log)?;
        match units::rate(&text.value) {
            Err(advice) => self.bad_unit(node, &text, "a rate", &advice),
            Ok(rate) => Some(text.map(|_| rate)),
        }
    }

    /// A share, in percent.
    pub(super) fn percent(&self, key: &str) -> Option<Spanned<u32>> {
        let node = self.node(key)?;
        let text = unit_text(node, "a share, like \"5%\"", "%", self.log)?;
        match units::percent(&text.value) {
            Err(advice) => self.bad_unit(node, &text, "a share", &advice),
            Ok(percent) => Some(text.map(|_| percent)),
        }
    }

    fn bad_unit<T>(&self, node: &Node, text: &Text, what: &str, advice: &str) -> Option<T> {
        bad_unit(self.log, node, text, what, advice);
        None
    }

    /// One of the words of the key's [`Shape::Choice`].
    pub(super) fn choice(&self, key: &str) -> Option<Spanned<&'static str>> {
        let Some(Shape::Choice(words)) = self.section.key(key).map(|key| key.shape) else {
            return None;
        };
        choice_of(self.node(key)?, words, self.log)
    }

    /// The table of a key, opened.
    pub(super) fn table(&self, key: &str, section: &'static Section) -> Option<Reader<'a>> {
        Reader::open(section, self.node(key)?, self.log)
    }

    /// The entries of a table of names; `None` if absent or no table.
    pub(super) fn named(&self, key: &str) -> Option<&'a [Entry]> {
        let node = self.node(key)?;
        if let Kind::Table(entries) = &node.kind {
            return Some(entries);
        }
        let advice = self.section.key(key).map_or_else(String::new, hint::for_names);
        wrong_type(self.log, node, "a table", &advice);
        None
    }

    /// The items of a list; empty if absent.
    pub(super) fn list(&self, key: &str, what: &str) -> &'a [Node] {
        match self.node(key) {
            None => &[],
            Some(Node { kind: Kind::Array(list), .. }) => list,
            Some(node) => {
                let advice = match &node.kind {
                    Kind::Table(_) if what.contains("[[") => {
                        format!("write two brackets: `[[{key}]]`")
                    }
                    Kind::Table(_) => format!("put brackets around it: `{key} = [{{ … }}]`"),
                    Kind::Text(text) if !what.contains(['[', '{']) => {
                        format!("put brackets around it: `{key} = [{}]`", quoted_text(node, text))
                    }
                    _ => String::new(),
                };
                wrong_type(self.log, node, what, &advice);
                &[]
            }
        }
    }

    /// A table of names and texts.
    pub(super) fn fields(&self, key: &str) -> Vec<(Text, Text)> {
        let field =
            |entry: &Entry| Some((entry.key.clone(), text_of(&entry.node, self.log, "a text")?));
        self.named(key).unwrap_or_default().iter().filter_map(field).collect()
    }
}

/// Says that something of the language is not in this version.
pub(super) fn not_supported(log: &Log, span: Span, what: &str, advice: &str) {
    let message = format!("{what} is not supported by this version of Ringway");
    let diagnostic = Diagnostic::error(codes::NOT_SUPPORTED, span, message);
    let diagnostic = diagnostic.label("not in this version");
    log.push(if advice.is_empty() { diagnostic } else { diagnostic.help(advice) });
}

/// Most tables that are named as a key's home: of a key of more tables, none was surely meant.
const HOMES_MAX: usize = 3;

/// Where a key belongs that `section` does not have, if other tables have it.
fn misplaced(section: &'static Section, name: &str) -> Option<String> {
    if let Some(outer) = section.inner_home(name) {
        let list = section.key(outer).is_some_and(|key| matches!(key.shape, Shape::List(_)));
        let (open, close) = if list { ("[{", "}]") } else { ("{", "}") };
        return Some(format!(
            "`{name}` belongs in `{outer}` here: `{outer} = {open} {name} = … {close}`"
        ));
    }
    let homes: Vec<String> = ROOT.homes(name).iter().map(|home| format!("`{home}`")).collect();
    let few = !homes.is_empty() && homes.len() <= HOMES_MAX;
    few.then(|| format!("`{name}` belongs in {}", homes.join(" or ")))
}

/// Reports "expected …, found …".
pub(super) fn wrong_type(log: &Log, node: &Node, expected: &str, advice: &str) {
    if matches!(node.kind, Kind::Unset) {
        return;
    }
    let message = format!("expected {expected}, found {}", node.found());
    let diagnostic = Diagnostic::error(codes::WRONG_TYPE, node.span, message);
    let label = format!("not {expected}");
    let diagnostic = diagnostic.label(label);
    log.push(if advice.is_empty() { diagnostic } else { diagnostic.help(advice) });
}

/// A text with its place.
pub(super) fn text_of(node: &Node, log: &Log, expected: &str) -> Option<Text> {
    match &node.kind {
        Kind::Text(text) => Some(Text::new(text.clone(), node.span)),
        _ => {
            wrong_type(log, node, expected, "");
            None
        }
    }
}

/// A text as it may be quoted in a message: as it stands in the file, never after substitution.
pub(super) fn quoted(node: &Node, value: &str) -> String {
    if node.substituted { "the value".to_owned() } else { format!("`{value}`") }
}

/// A text as it may stand in advice, in its quotes; an ellipsis for what is long or came by substitution.
pub(super) fn quoted_text(node: &Node, value: &str) -> String {
    let plain = !node.substituted
        && value.chars().count() <= ADVICE_CHARS_MAX
        && !value.contains(|c: char| c.is_control() || matches!(c, '"' | '\\'));
    if plain { format!("\"{value}\"") } else { "\"…\"".to_owned() }
}

/// Longest value that advice repeats. Unit: characters.
const ADVICE_CHARS_MAX: usize = 60;

/// A whole number within a range; a number in digits also when it came by substitution.
pub(super) fn integer_of(node: &Node, min: i64, max: i64, log: &Log) -> Option<Spanned<i64>> {
    let number = match &node.kind {
        Kind::Integer(number) => Some(*number),
        Kind::Text(text) if node.substituted => text.trim().parse().ok(),
        Kind::Float(huge) if huge.is_infinite() => Some(i64::MAX),
        _ => None,
    };
    let Some(number) = number else {
        wrong_type(log, node, "a whole number", "");
        return None;
    };
    if (min..=max).contains(&number) {
        return Some(Spanned::new(number, node.span));
    }
    let message = format!("the number must be between {min} and {max}");
    log.push(Diagnostic::error(codes::OUT_OF_RANGE, node.span, message).label("out of range"));
    None
}

/// A duration within a range.
pub(super) fn duration_of(
    node: &Node,
    min: Duration,
    max: Duration,
    log: &Log,
) -> Option<Spanned<Duration>> {
    let text = unit_text(node, "a duration with its unit, like \"15s\"", "s", log)?;
    match units::duration(&text.value) {
        Err(advice) => {
            bad_unit(log, node, &text, "a duration", &advice);
            None
        }
        Ok(duration) if duration < min || duration > max => {
            let (min, max) = (shown_duration(min), shown_duration(max));
            let message = format!("the duration must be between {min} and {max}");
            log.push(
                Diagnostic::error(codes::OUT_OF_RANGE, node.span, message).label("out of range"),
            );
            None
        }
        Ok(duration) => Some(text.map(|_| duration)),
    }
}

/// The text of a value with a unit; a bare number is told to have one.
fn unit_text(node: &Node, expected: &str, usual: &str, log: &Log) -> Option<Text> {
    if let Kind::Integer(number) = node.kind {
        let advice = match usual {
            "KiB" => format!(
                "a number alone has no unit: \"{number}B\", \"{number}KiB\", \"{number}MiB\"?"
            ),
            _ => format!("a number alone has no unit: \"{number}{usual}\"?"),
        };
        wrong_type(log, node, expected, &advice);
        return None;
    }
    text_of(node, log, expected)
}

fn bad_unit(log: &Log, node: &Node, text: &Text, what: &str, advice: &str) {
    let message = format!("{} is not {what}", quoted(node, &text.value));
    log.push(Diagnostic::error(codes::BAD_UNIT, text.span, message).help(advice));
}

/// One of some words.
pub(super) fn choice_of(
    node: &Node,
    words: &'static [&'static str],
    log: &Log,
) -> Option<Spanned<&'static str>> {
    if !matches!(node.kind, Kind::Text(_)) {
        let listed: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let advice = match listed.as_slice() {
            [only] => format!("write {only}"),
            _ => format!("write one of {}", listed.join(", ")),
        };
        wrong_type(log, node, "a text", &advice);
        return None;
    }
    let text = text_of(node, log, "a text")?;
    if let Some(word) = words.iter().find(|word| **word == text.value) {
        return Some(text.map(|_| *word));
    }
    let message = format!("{} is not one of the words allowed here", quoted(node, &text.value));
    let near = if node.substituted { None } else { nearest(&text.value, words.iter().copied()) };
    log.push(
        Diagnostic::error(codes::BAD_CHOICE, text.span, message)
            .suggest(near, "")
            .note(format!("valid here: {}", words.join(", "))),
    );
    None
}
