//! The shaping of a part: paths taken apart, lists made into a selection, flattened names compared.
//!
//! A path that cannot be read is never left out in silence: its part does not compile. What can be known of a clash
//! of names in the answer is told here, before any origin answers.

use crate::aggregate::json::{Path, PathError};
use crate::aggregate::{Lists, Part, Selection};
use crate::compile::codes;
use crate::compile::report::Report;
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, Text};

/// The shaping of one part, compiled.
pub struct Shape {
    /// What is taken.
    pub pick: Option<Path>,
    /// What of that stays.
    pub selection: Option<Selection>,
    /// Whether its members stand in the answer itself.
    pub flatten: bool,
}

/// Compiles what a part says of its answer; all mistakes are told.
pub fn compile(shaping: &config::Shaping, report: &Report) -> Option<Shape> {
    let pick = shaping.pick.as_ref().map(|text| read(text, Path::parse_one, report));
    let mut lists = Lists::default();
    let mut good = true;
    for (texts, keeps) in [(&shaping.keep, true), (&shaping.drop, false)] {
        for text in texts {
            let Some(path) = read(text, Path::parse, report) else {
                good = false;
                continue;
            };
            let added = if keeps { lists.keep(&path) } else { lists.leave(&path) };
            if let Err(error) = added {
                report.error(codes::BAD_PATH, text.span, error.to_string());
                good = false;
            }
        }
    }
    for (old, new) in &shaping.rename {
        let added = read(old, Path::parse, report).map(|path| lists.rename(&path, &new.value));
        match added {
            None => good = false,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                report.error(codes::BAD_PATH, old.span, error.to_string());
                good = false;
            }
        }
    }
    let pick = match pick {
        Some(pick) => Some(pick?),
        None => None,
    };
    let flatten = shaping.flatten.as_ref().is_some_and(|flatten| flatten.value);
    good.then(|| Shape { pick, selection: lists.compile(), flatten })
}

/// A path, or a diagnostic that points at its mistake.
pub fn read(
    text: &Text,
    parse: impl Fn(&str) -> Result<Path, PathError>,
    report: &Report,
) -> Option<Path> {
    let error = match parse(&text.value) {
        Ok(path) => return Some(path),
        Err(error) => error,
    };
    let at = error.offset.min(text.value.len());
    let len = text.value[at..].chars().next().map_or(0, char::len_utf8);
    let span = report.inside(text, at..at + len);
    let diagnostic = Diagnostic::error(codes::BAD_PATH, span, error.to_string());
    report.push(diagnostic.help("write names separated by dots: `data.items`, `items[0].id`"));
    None
}

/// Reports names that two parts would put into the answer, as far as that can be known; and values that
/// cannot stand in for a flattened part.
pub fn check_flattened(parts: &[config::Part], made: &[Option<Part>], report: &Report) {
    let names: Vec<Vec<String>> =
        parts.iter().zip(made).map(|(part, made)| names(part, made.as_ref())).collect();
    for (index, part) in parts.iter().enumerate() {
        let Some(flatten) = part.shaping.flatten.as_ref().filter(|flatten| flatten.value) else {
            continue;
        };
        if let Some(each) = &part.each {
            let message = "an object of answers by element is not flattened: its names are data";
            let diagnostic = Diagnostic::error(codes::BAD_FLATTEN, flatten.span, message);
            report.push(diagnostic.also(each.of.span, "the part is called for each of these"));
        }
        if let Some(otherwise) = part.fallback.as_ref().filter(|value| !value.value.is_object()) {
            let message = "what stands in for a flattened part has members";
            let diagnostic = Diagnostic::error(codes::BAD_FLATTEN, otherwise.span, message);
            report.push(diagnostic.help("write a table: `else = {}`"));
        }
        for (other, others) in parts.iter().zip(&names).enumerate().map(|(at, (part, names))| {
            // Two flattened parts are told about once.
            let flattened = part.shaping.flatten.as_ref().is_some_and(|flatten| flatten.value);
            (part, if at == index || flattened && at > index { &[][..] } else { &names[..] })
        }) {
            for name in others.iter().filter(|name| names[index].contains(name)) {
                let message =
                    format!("`{name}` would stand in the answer twice: this part is flattened");
                let diagnostic = Diagnostic::error(codes::BAD_FLATTEN, flatten.span, message);
                let diagnostic = diagnostic.also(other.name.span, "and this one has it too");
                report.push(diagnostic.help("leave it out with `drop`, or `rename` it"));
            }
        }
    }
}

/// The names that a part is known to put into the answer.
fn names(part: &config::Part, made: Option<&Part>) -> Vec<String> {
    if !part.shaping.flatten.as_ref().is_some_and(|flatten| flatten.value) {
        return vec![part.name.value.clone()];
    }
    let mut names = Vec::new();
    if let Some(selection) = made.and_then(|made| made.shape.as_ref()) {
        names.extend(selection.known_names().map(str::to_owned));
    }
    let otherwise = part.fallback.as_ref().and_then(|value| value.value.as_object());
    for name in otherwise.into_iter().flat_map(|members| members.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}
