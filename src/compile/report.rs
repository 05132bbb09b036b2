//! Where compilation collects what it has to say, and what it knows of names.
//!
//! One mistake is reported once: a value inherited from `[default]` is the same value in every route.
//! Names that were declared but could not be read are known, so that one mistake never becomes two.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use crate::compile::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::{Diagnostics, SourceMap, Span, Text, suggest};

/// The diagnostics of one compilation.
pub struct Report {
    all: RefCell<Diagnostics>,
    sources: SourceMap,
}

impl Report {
    /// Goes on where reading ended.
    pub fn after(read: Diagnostics) -> Self {
        let sources = read.sources.clone();
        Self { all: RefCell::new(read), sources }
    }

    /// Adds a diagnostic, unless it is there already.
    pub fn push(&self, diagnostic: Diagnostic) {
        let known = self.all.borrow().iter().any(|known| *known == diagnostic);
        if !known {
            self.all.borrow_mut().push(diagnostic);
        }
    }

    /// Adds a plain error.
    pub fn error(&self, code: &'static str, span: Span, message: impl Into<String>) {
        self.push(Diagnostic::error(code, span, message));
    }

    /// The place of `range` (bytes of the value) inside a text.
    pub fn inside(&self, text: &Text, range: std::ops::Range<usize>) -> Span {
        self.sources.inside(text, range)
    }

    /// Whether there are errors so far.
    pub fn has_errors(&self) -> bool {
        self.all.borrow().has_errors()
    }

    /// All of it.
    pub fn finish(self) -> Diagnostics {
        self.all.into_inner()
    }
}

/// The tables of one kind: their names, and which of them were named by somebody.
pub struct Names<'a> {
    kind: &'static str,
    declared: &'a [String],
    places: HashMap<&'a str, usize>,
    /// Places of those that somebody named.
    used: RefCell<HashSet<usize>>,
}

impl<'a> Names<'a> {
    /// The names of `[kind.NAME]`.
    pub fn of(kind: &'static str, declared: &'a [String]) -> Self {
        let places = declared.iter().enumerate().map(|(place, name)| (name.as_str(), place));
        Self { kind, declared, places: places.collect(), used: RefCell::default() }
    }

    /// Whether `name` is declared; reports it if not. It counts as used from now on.
    pub fn check(&self, name: &Text, report: &Report) -> bool {
        // "none" beside other names was told about when it was read.
        if name.value == "none" {
            return false;
        }
        if let Some(place) = self.places.get(name.value.as_str()) {
            self.used.borrow_mut().insert(*place);
        }
        self.is_known(name, report)
    }

    /// The same for a name that does not make the table used.
    pub fn is_known(&self, name: &Text, report: &Report) -> bool {
        if self.places.contains_key(name.value.as_str()) {
            return true;
        }
        let near = suggest::nearest(&name.value, self.declared.iter().map(String::as_str));
        let message = format!("there is no `[{}.{}]`", self.kind, name.value);
        let diagnostic = Diagnostic::error(codes::UNKNOWN_NAME, name.span, message);
        let diagnostic = diagnostic.suggest(near, "not declared anywhere");
        report.push(if self.declared.is_empty() {
            diagnostic
        } else {
            diagnostic.note(format!("declared: {}", self.declared.join(", ")))
        });
        false
    }

    /// Warns when nothing named this table.
    pub fn check_used(&self, name: &Text, report: &Report) {
        let place = self.places.get(name.value.as_str());
        if !place.is_some_and(|place| self.used.borrow().contains(place)) {
            let message = format!("nothing names `[{}.{}]`", self.kind, name.value);
            report.push(Diagnostic::warning(codes::UNUSED, name.span, message));
        }
    }
}
