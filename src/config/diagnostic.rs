//! What an operator is told about a configuration: message, place, help.
//!
//! The plain rendering follows rustc's, which people can read already; the JSON rendering is for
//! editors and pipelines. A diagnostic must never carry the value of a secret: messages quote values as
//! they stand in the file, never after substitution, and source lines are shown masked (`span.rs`).

use std::fmt::Write;

use serde_json::{Value, json};

use crate::config::codes;
use crate::config::span::{SourceMap, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken, but probably does not do what its author means.
    Warning,
}

impl Severity {
    /// The word that is printed.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// A place and what is to be said about it; the text may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// A few words printed behind the marks.
    pub text: String,
}

/// One thing that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Stable code, `E0107`; `codes.rs` lists those of the language, `compile` has its own from E0200.
    pub code: &'static str,
    /// One line, without a full stop.
    pub message: String,
    /// Where it is.
    pub primary: Label,
    /// Further places that belong to it.
    pub secondary: Vec<Label>,
    /// Lines under the source: `help: …`, `valid here: …`.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::with(Severity::Error, code, span, message.into())
    }

    /// A warning at `span`.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::with(Severity::Warning, code, span, message.into())
    }

    fn with(severity: Severity, code: &'static str, span: Span, message: String) -> Self {
        let primary = Label { span, text: String::new() };
        Self { severity, code, message, primary, secondary: Vec::new(), notes: Vec::new() }
    }

    /// The words behind the marks.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.primary.text = text.into();
        self
    }

    /// A further place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push(Label { span, text: text.into() });
        self
    }

    /// A line of advice.
    #[must_use]
    pub fn help(self, text: impl AsRef<str>) -> Self {
        self.note(format!("help: {}", text.as_ref()))
    }

    /// A line under the source, as it is.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// "did you mean" behind the marks when there is a near word, else `otherwise`.
    #[must_use]
    pub fn suggest(self, near: Option<&str>, otherwise: &str) -> Self {
        match near {
            Some(near) => self.label(format!("did you mean `{near}`?")),
            None => self.label(otherwise),
        }
    }
}

/// What is true of a line whatever stands on the others.
const CERTAIN: [&str; 8] = [
    codes::UNSET,
    codes::SUBSTITUTION,
    codes::UNKNOWN_KEY,
    codes::NOT_SUPPORTED,
    codes::BAD_UNIT,
    codes::OUT_OF_RANGE,
    codes::BAD_CHOICE,
    codes::BAD_MATCH,
];

/// Everything there is to say about one configuration, with the text it points into.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The files, for places and for source lines.
    pub sources: SourceMap,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Nothing to say yet about these files.
    pub fn new(sources: SourceMap) -> Self {
        Self { sources, list: Vec::new() }
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Leaves out what a syntax error made up: the tree behind one is a guess, so only what the guess
    /// cannot have caused is said about that file.
    pub(super) fn drop_echoes(&mut self) {
        let broken: Vec<Span> = self
            .list
            .iter()
            .filter(|diagnostic| diagnostic.code == codes::SYNTAX)
            .map(|diagnostic| diagnostic.primary.span)
            .collect();
        let line = |span: Span| self.sources.position(span).map(|at| at.line);
        let keep = |diagnostic: &Diagnostic| {
            let span = diagnostic.primary.span;
            let same_file = |syntax: &&Span| syntax.file == span.file;
            let certain = CERTAIN.contains(&diagnostic.code);
            diagnostic.code == codes::SYNTAX
                || !broken
                    .iter()
                    .filter(same_file)
                    .any(|syntax| !certain || line(*syntax) == line(span))
        };
        let kept: Vec<Diagnostic> =
            self.list.iter().filter(|diagnostic| keep(diagnostic)).cloned().collect();
        self.list = kept;
    }

    /// All of them, in the order of their places.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut list: Vec<&Diagnostic> = self.list.iter().collect();
        list.sort_by_key(|diagnostic| diagnostic.primary.span);
        list
    }

    /// All of them, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the configuration must be refused.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// For people: each with its source line and marks, then the closing count. Empty when there is
    /// nothing to say.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (index, diagnostic) in self.sorted().into_iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            render_one(diagnostic, &self.sources, &mut text);
        }
        if !self.list.is_empty() {
            text.push_str(&self.summary());
            text.push('\n');
        }
        text
    }

    /// "2 errors, 1 warning".
    pub fn summary(&self) -> String {
        let counted = |count: usize, word: &str| match count {
            0 => None,
            1 => Some(format!("1 {word}")),
            many => Some(format!("{many} {word}s")),
        };
        let errors = counted(self.count(Severity::Error), "error");
        let warnings = counted(self.count(Severity::Warning), "warning");
        let both: Vec<String> = errors.into_iter().chain(warnings).collect();
        if both.is_empty() { "no errors".to_owned() } else { both.join(", ") }
    }

    /// For programs: one JSON object with all diagnostics and the counts.
    pub fn render_json(&self) -> String {
        let list: Vec<Value> =
            self.sorted().iter().map(|diagnostic| json_of(diagnostic, &self.sources)).collect();
        json!({
            "diagnostics": list,
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
        })
        .to_string()
    }
}

/// Writes one diagnostic in full.
fn render_one(diagnostic: &Diagnostic, sources: &SourceMap, text: &mut String) {
    let labels = std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary);
    let lines = labels.filter(|label| has_line(label.span, sources));
    let deepest = lines.filter_map(|label| sources.position(label.span)).map(|at| at.line).max();
    let gutter = deepest.map_or(1, |line| line.to_string().len());
    let head = diagnostic.severity.word();
    put(text, format_args!("{head}[{}]: {}\n", diagnostic.code, one_line(&diagnostic.message)));
    render_label(&diagnostic.primary, "-->", '^', gutter, sources, text);
    for label in &diagnostic.secondary {
        render_label(label, ":::", '-', gutter, sources, text);
    }
    for note in &diagnostic.notes {
        put(text, format_args!("{:gutter$} = {}\n", "", one_line(note)));
    }
}

/// Writes a place, its source line and the marks under it.
fn render_label(
    label: &Label,
    arrow: &str,
    mark: char,
    gutter: usize,
    sources: &SourceMap,
    text: &mut String,
) {
    if label.span.is_built_in() {
        return;
    }
    put(text, format_args!("{:gutter$}{arrow} {}\n", "", sources.place(label.span)));
    let file = sources.file(label.span.file).filter(|_| has_line(label.span, sources));
    let (Some(file), Some(at)) = (file, sources.position(label.span)) else {
        if !label.text.is_empty() {
            put(text, format_args!("{:gutter$} = {}\n", "", one_line(&label.text)));
        }
        return;
    };
    let shown = file.shown_line(label.span);
    let marks: String = std::iter::repeat_n(mark, shown.width).collect();
    let words = format!("{marks} {}", one_line(&label.text));
    put(text, format_args!("{:gutter$} |\n", ""));
    put(text, format_args!("{:>gutter$} | {}\n", at.line, shown.text));
    put(text, format_args!("{:gutter$} | {:2$}{3}\n", "", "", shown.before, words.trim_end()));
}

/// Whether a source line is shown for the span: not for built-in values nor for whole files.
fn has_line(span: Span, sources: &SourceMap) -> bool {
    !span.is_whole() && sources.file(span.file).is_some()
}

/// A text that keeps to its line and that terminals take as text: no line breaks, no control bytes.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

/// Writing into a `String` never fails.
fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _infallible = text.write_fmt(arguments);
}

/// One diagnostic for programs.
fn json_of(diagnostic: &Diagnostic, sources: &SourceMap) -> Value {
    let place = |label: &Label| {
        let at = sources.position(label.span);
        json!({
            "file": sources.file(label.span.file).map(|file| file.name.as_str()),
            "line": at.map(|at| at.line),
            "column": at.map(|at| at.column),
            "start": label.span.start,
            "end": label.span.end,
            "label": label.text,
        })
    };
    json!({
        "severity": diagnostic.severity.word(),
        "code": diagnostic.code,
        "message": diagnostic.message,
        "primary": place(&diagnostic.primary),
        "secondary": diagnostic.secondary.iter().map(place).collect::<Vec<_>>(),
        "notes": diagnostic.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Diagnostics {
        let mut sources = SourceMap::default();
        let line = "orders = { get = \"order /orders\", timout = \"300ms\" }\n";
        let file = sources.add("ringway.toml", format!("{}{line}", "\n".repeat(30)));
        let span = Span::new(file, 30 + 34..30 + 40);
        let mut diagnostics = Diagnostics::new(sources);
        diagnostics.push(
            Diagnostic::error("E0107", span, "unknown key `timout` in this part")
                .suggest(Some("timeout"), "")
                .note("valid here: get, timeout"),
        );
        diagnostics
    }

    #[test]
    fn the_plain_rendering_is_the_one_of_the_reference() {
        let expected = "\
error[E0107]: unknown key `timout` in this part
  --> ringway.toml:31:35
   |
31 | orders = { get = \"order /orders\", timout = \"300ms\" }
   |                                   ^^^^^^ did you mean `timeout`?
   = valid here: get, timeout
1 error
";
        assert_eq!(sample().render(), expected);
    }

    #[test]
    fn the_json_rendering_says_the_same() {
        let value: Value = serde_json::from_str(&sample().render_json()).expect("is JSON");
        assert_eq!(value["errors"], 1);
        assert_eq!(value["diagnostics"][0]["primary"]["line"], 31);
        assert_eq!(value["diagnostics"][0]["primary"]["column"], 35);
    }

    #[test]
    fn the_count_speaks_of_one_and_of_many() {
        let mut diagnostics = sample();
        diagnostics.push(Diagnostic::warning("W0101", Span::BUILT_IN, "a"));
        diagnostics.push(Diagnostic::error("E0101", Span::BUILT_IN, "b"));
        assert_eq!(diagnostics.summary(), "2 errors, 1 warning");
    }
}
