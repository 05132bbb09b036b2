//! Where a value was written: spans, and the map from spans to file, line and column.
//!
//! Several files make one configuration, so a span names its file. Columns count characters from one,
//! as editors do. This file never prints a source line without masking the secrets that it holds
//! (`shown_line`), and never panics on a span that lies outside of its text.

use std::ops::Range;

/// A file of the configuration, by its place in the [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A range of bytes in one file of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl Span {
    /// The span of a value that no file says: a default of the language.
    pub const BUILT_IN: Span = Span { file: FileId(u32::MAX), start: 0, end: 0 };

    /// From byte offsets; a file is bounded far below 4 GiB, larger offsets are cut to the bound.
    pub fn new(file: FileId, range: Range<usize>) -> Self {
        let cut = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { file, start: cut(range.start), end: cut(range.end.max(range.start)) }
    }

    /// A file as a whole, for what is wrong with all of it.
    pub fn whole(file: FileId) -> Self {
        Self { file, start: 0, end: 0 }
    }

    /// Whether the value is a default of the language rather than written in a file.
    pub fn is_built_in(self) -> bool {
        self.file.0 == u32::MAX
    }

    /// Whether the span stands for a whole file.
    pub fn is_whole(self) -> bool {
        self.end == 0
    }

    /// The byte range.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written; [`Span::BUILT_IN`] for a default.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value with its place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// A default of the language.
    pub fn built_in(value: T) -> Self {
        Self { value, span: Span::BUILT_IN }
    }

    /// Another value from the same place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span }
    }
}

/// A text and where it was written.
pub type Text = Spanned<String>;

/// A line and a column, both from one; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from one.
    pub line: usize,
    /// Column in characters, from one.
    pub column: usize,
}

/// One file of the configuration.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The name as errors print it.
    pub name: String,
    text: String,
    line_starts: Vec<usize>,
    masked: Vec<Range<usize>>,
}

/// The files of one configuration.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a file and returns its id.
    pub fn add(&mut self, name: &str, text: String) -> FileId {
        let id = FileId(self.files.len() as u32);
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at);
        let line_starts = std::iter::once(0).chain(breaks.map(|at| at + 1)).collect();
        self.files.push(SourceFile { name: name.into(), text, line_starts, masked: Vec::new() });
        id
    }

    /// The file with this id; `None` for built-in values.
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// The text of a file; empty for built-in values.
    pub fn text(&self, id: FileId) -> &str {
        self.file(id).map_or("", |file| &file.text)
    }

    /// The text that a span covers. The caller must not print it: it may be a secret.
    pub fn slice(&self, span: Span) -> &str {
        self.text(span.file).get(span.range()).unwrap_or("")
    }

    /// Hides a value: it is never shown in an error's source line.
    pub fn mask(&mut self, span: Span) {
        if let Some(file) = self.files.get_mut(span.file.0 as usize) {
            file.masked.push(span.range());
        }
    }

    /// Line and column of a span's start.
    pub fn position(&self, span: Span) -> Option<Position> {
        let file = self.file(span.file)?;
        let start = file.floor(span.start as usize);
        let line = file.line_of(start);
        let column = file.text[file.line_starts[line]..start].chars().count();
        Some(Position { line: line + 1, column: column + 1 })
    }

    /// `file:line:column` of a span's start, or the file's name alone for a whole file.
    pub fn place(&self, span: Span) -> String {
        let name = self.file(span.file).map_or("(default)", |file| &file.name);
        match self.position(span) {
            Some(at) if !span.is_whole() => format!("{name}:{}:{}", at.line, at.column),
            _ => name.to_owned(),
        }
    }

    /// The part `range` (bytes of the value) of a text, as a place in its file.
    ///
    /// Exact when the text stands in the file as it is; with escapes or `${…}` in it the place is the
    /// whole literal.
    pub fn inside(&self, text: &Text, range: Range<usize>) -> Span {
        let source = self.slice(text.span);
        let quotes = [0, 1, 3, 4, 5].into_iter().find(|quotes| {
            let behind = if *quotes > 3 { 3 } else { *quotes };
            let end = source.len().checked_sub(behind);
            end.and_then(|end| source.get(*quotes..end)) == Some(text.value.as_str())
        });
        let Some(quotes) = quotes else { return text.span };
        if range.start > range.end || range.end > text.value.len() {
            return text.span;
        }
        let start = text.span.start as usize + quotes;
        Span::new(text.span.file, start + range.start..start + range.end)
    }

    /// The part `range` of a text, with its own place.
    pub fn part(&self, text: &Text, range: Range<usize>) -> Text {
        let span = self.inside(text, range.clone());
        Spanned::new(text.value.get(range).unwrap_or("").to_owned(), span)
    }
}

/// A source line ready for printing: secrets masked, control characters replaced, long lines cut.
pub struct ShownLine {
    /// The text to print.
    pub text: String,
    /// Columns of the text before the marked range.
    pub before: usize,
    /// Columns of the marked range; at least one.
    pub width: usize,
}

/// Characters of a source line that are shown at most; a generated one-line JSON file is cut.
const SHOWN_CHARS_MAX: usize = 150;
/// What stands for a secret in a shown line.
const MASK: &str = "***";

impl SourceFile {
    /// The line that holds `start`, with the columns that `start..end` takes in it.
    pub fn shown_line(&self, span: Span) -> ShownLine {
        let start = self.floor(span.start as usize);
        let line = self.line_of(start);
        let from = self.line_starts[line];
        let to = self.line_starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let end = self.floor(span.end as usize).clamp(start, to.max(start));
        let mut text = String::new();
        let (mut columns, mut before, mut behind) = (0, None, None);
        let mut hidden_until = 0;
        for (at, character) in self.text[from..to].char_indices() {
            let at = from + at;
            if at >= start {
                before.get_or_insert(columns);
            }
            if at >= end {
                behind.get_or_insert(columns);
            }
            if at < hidden_until {
                continue;
            }
            if let Some(range) = self.masked.iter().find(|range| range.contains(&at)) {
                hidden_until = range.end;
                // A place inside of a secret is shown as the whole of it.
                if range.contains(&start) {
                    before = Some(columns);
                    behind = Some(columns + MASK.len());
                }
                text.push_str(MASK);
                columns += MASK.len();
                continue;
            }
            columns += push_shown(&mut text, character);
        }
        let before = before.unwrap_or(columns);
        let width = behind.unwrap_or(columns).saturating_sub(before).max(1);
        cut(ShownLine { text, before, width })
    }

    /// The last character boundary at or before `offset`.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }

    /// Index of the line that holds `offset`.
    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }
}

/// Appends a character as terminals may see it, and returns its columns.
fn push_shown(text: &mut String, character: char) -> usize {
    match character {
        '\t' => {
            text.push_str("    ");
            4
        }
        '\r' => 0,
        control if control.is_control() => {
            text.push('\u{FFFD}');
            1
        }
        other => {
            text.push(other);
            1
        }
    }
}

/// Cuts a long line to a window around its marked range.
fn cut(line: ShownLine) -> ShownLine {
    let chars: Vec<char> = line.text.chars().collect();
    if chars.len() <= SHOWN_CHARS_MAX {
        return ShownLine { text: line.text.trim_end().to_owned(), ..line };
    }
    let first = line.before.saturating_sub(SHOWN_CHARS_MAX / 2);
    let last = (first + SHOWN_CHARS_MAX).min(chars.len());
    let lead = if first > 0 { "…" } else { "" };
    let tail = if last < chars.len() { "…" } else { "" };
    let window: String = chars[first..last].iter().collect();
    let before = line.before - first + lead.chars().count();
    let width = line.width.min(SHOWN_CHARS_MAX.saturating_sub(line.before - first)).max(1);
    ShownLine { text: format!("{lead}{window}{tail}"), before, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_file(text: &str) -> (SourceMap, FileId) {
        let mut sources = SourceMap::default();
        let file = sources.add("ringway.toml", text.to_owned());
        (sources, file)
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        let (sources, file) = one_file("a = 1\nä = 'ü' # b\n");
        let at = sources.position(Span::new(file, 18..19)).expect("in the file");
        assert_eq!(at, Position { line: 2, column: 11 });
        assert_eq!(sources.place(Span::new(file, 18..19)), "ringway.toml:2:11");
    }

    #[test]
    fn a_place_inside_a_plain_literal_is_exact_and_with_escapes_it_is_the_literal() {
        let (sources, file) = one_file(r#"a = "GET /x" b = "G\u0045T /x""#);
        let plain = Text::new("GET /x".into(), Span::new(file, 4..12));
        assert_eq!(sources.slice(sources.inside(&plain, 4..6)), "/x");
        let path = sources.part(&plain, 4..6);
        assert_eq!(sources.slice(sources.inside(&path, 1..2)), "x");
        let escaped = Text::new("GET /x".into(), Span::new(file, 17..30));
        assert_eq!(sources.inside(&escaped, 4..6), escaped.span);
    }

    #[test]
    fn a_masked_value_is_not_shown_and_the_marks_move_with_it() {
        let (mut sources, file) = one_file("j = { secret = \"hunter2\", x = 1 }");
        sources.mask(Span::new(file, 15..24));
        let shown = sources.file(file).expect("just added").shown_line(Span::new(file, 26..27));
        assert_eq!(shown.text, "j = { secret = ***, x = 1 }");
        assert_eq!(&shown.text[shown.before..shown.before + shown.width], "x");
    }

    #[test]
    fn odd_spans_never_panic() {
        let (sources, file) = one_file("ä\n");
        for start in 0..6 {
            for end in 0..6 {
                let span = Span::new(file, start..end);
                let _ = (sources.place(span), sources.slice(span));
                let _ = sources.file(file).expect("just added").shown_line(span);
            }
        }
    }
}
