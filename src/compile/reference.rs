//! `{part.user.id}`: from names to slots; unknown parts and cycles are refused.
//!
//! A plan whose parts wait for each other would wait for ever, so that a cycle is never compiled: the error
//! spells it out and points at each reference of it.

use crate::aggregate::Part;
use crate::aggregate::each::{Batch, Each};
use crate::aggregate::embed::Embed;
use crate::aggregate::json::{Path, PathError};
use crate::aggregate::reference::Reference;
use crate::compile::report::Report;
use crate::compile::{codes, shaping};
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, Span, Text, suggest};
use crate::exchange::template::{Reference as Placeholder, Template};

/// Reports answers of two parts that would stand in the same place.
pub fn check_embedded(parts: &[config::Part], made: &[Option<Part>], report: &Report) {
    let places: Vec<(usize, &Each, &Embed)> = made
        .iter()
        .enumerate()
        .filter_map(|(index, part)| {
            let each = part.as_ref()?.each.as_ref()?;
            Some((index, each, each.into.as_ref()?))
        })
        .collect();
    let name_of = |index: usize| parts[index].each.as_ref().and_then(|each| each.into.as_ref());
    for (at, (index, each, place)) in places.iter().enumerate() {
        let same = places[..at].iter().find(|(_, other, others)| {
            other.of.part == each.of.part && others.is_same_place(place)
        });
        if let (Some((first, _, _)), Some(name)) = (same, name_of(*index)) {
            let message = format!("`{}` would stand there twice", place.shown());
            let diagnostic = Diagnostic::error(codes::BAD_EACH, name.span, message);
            let first = name_of(*first).map_or(name.span, |name| name.span);
            report.push(diagnostic.also(first, "first put in here"));
        }
        // Elements are taken from what the origin sent: an answer that is put there is never among them.
        let reads = |other: &usize| {
            let theirs = made[*other].as_ref().and_then(|part| part.each.as_ref());
            let path = theirs
                .filter(|theirs| theirs.of.part == each.of.part)
                .and_then(|theirs| theirs.of.path.as_ref());
            other != index && path.is_some_and(|path| place.is_touched_by(path))
        };
        if let (Some(reader), Some(name)) = ((0..made.len()).find(reads), name_of(*index)) {
            let message =
                format!("`{}` would stand where another part has its elements", place.shown());
            let diagnostic = Diagnostic::error(codes::BAD_EACH, name.span, message);
            let elements = parts[reader].each.as_ref().map_or(name.span, |each| each.of.span);
            let diagnostic = diagnostic.also(elements, "these are the elements");
            report.push(diagnostic.help("give it a name of its own"));
        }
    }
}

/// A reference as it was written: who refers to whom, and where.
pub struct Link {
    from: usize,
    to: usize,
    span: Span,
}

/// Resolves the references of one part.
pub struct Linker<'a> {
    parts: &'a [config::Part],
    from: usize,
    report: &'a Report,
    /// What was found, by slot.
    pub references: Vec<Reference>,
    /// The same with places.
    pub links: Vec<Link>,
    failed: bool,
}

impl<'a> Linker<'a> {
    /// For the part at `from`.
    pub fn of(parts: &'a [config::Part], from: usize, report: &'a Report) -> Self {
        Self { parts, from, report, references: Vec::new(), links: Vec::new(), failed: false }
    }

    /// Gives the references of `template`, written as `text`, their slots. `None` after an error.
    pub fn bind(&mut self, mut template: Template, text: &Text) -> Option<Template> {
        self.failed = false;
        let asks = template.references().any(|reference| reference == Placeholder::Each);
        if asks && self.parts[self.from].each.is_none() {
            let message = "`{each}` has no value: this part is called once";
            let diagnostic = Diagnostic::error(codes::BAD_EACH, text.span, message);
            let help = "name elements: `each = \"{part.orders[*].user_id}\"`";
            self.report.push(diagnostic.help(help));
            return None;
        }
        let batch = self.parts[self.from].each.as_ref().and_then(|each| each.batch.as_ref());
        if let (Some(batch), Some(place)) = (batch, template.single_element()) {
            let span = self.report.inside(text, place.start as usize..place.end as usize);
            let message = "several elements cannot stand here";
            let diagnostic = Diagnostic::error(codes::BAD_EACH, span, message);
            let help = "in a target `{each}` joins them by commas and `?id={each*}` repeats a pair; \
                        in a body `\"{each*}\"` is an array";
            let diagnostic = diagnostic.also(batch.span, "one call is for so many");
            self.report.push(diagnostic.help(help));
            return None;
        }
        template.bind(|path, place| {
            let at = place.start as usize;
            self.slot(path, text, at..place.end as usize).unwrap_or_else(|| {
                self.failed = true;
                usize::MAX
            })
        });
        (!self.failed).then_some(template)
    }

    /// The elements that the part is called for.
    pub fn each(&mut self, each: &config::Each) -> Option<Each> {
        let text = &each.of;
        let inner = text.value.strip_prefix("{part.").and_then(|rest| rest.strip_suffix('}'));
        let Some(inner) = inner.filter(|inner| inner.contains("[*]")) else {
            let message = "this names no elements of another part";
            let diagnostic = Diagnostic::error(codes::BAD_EACH, text.span, message);
            self.report.push(diagnostic.help("write `each = \"{part.orders[*].user_id}\"`"));
            return None;
        };
        let place = 0..text.value.len();
        let of = self.reference(inner, text, place, Path::parse)?;
        let (elements_max, at_once) = (each.elements_max, each.at_once);
        let batch = match (&each.batch, &each.by) {
            (Some(batch), Some(by)) => {
                let by = shaping::read(by, Path::parse_one, self.report)?;
                Some(Batch { size: batch.value, by, shape: None })
            }
            (None, None) => None,
            // The reader has told that one needs the other.
            _ => return None,
        };
        let into = match &each.into {
            Some(name) => Some(self.embed(&of, name, text)?),
            None => None,
        };
        Some(Each { of, elements_max, at_once, batch, into })
    }

    /// Where the answers go, if not into the part itself.
    fn embed(&self, of: &Reference, name: &Text, elements: &Text) -> Option<Embed> {
        let embed = of.path.as_ref().and_then(|path| Embed::of(path, &name.value));
        let Some(embed) = embed else {
            let message =
                "there is no object that this could stand in: the elements are no members";
            let diagnostic = Diagnostic::error(codes::BAD_EACH, name.span, message);
            let help = "leave `into` out, or name members: `{part.orders[*].user_id}`";
            self.report.push(diagnostic.also(elements.span, "these are the elements").help(help));
            return None;
        };
        let holder = &self.parts[of.part];
        let kept =
            |text: &Text| Path::parse(&text.value).is_ok_and(|path| embed.is_touched_by(&path));
        if let Some(first) = holder.shaping.keep.first()
            && !holder.shaping.keep.iter().any(kept)
        {
            let message = format!("`{}` keeps nothing of what is put into it", holder.name.value);
            let diagnostic = Diagnostic::error(codes::BAD_EACH, name.span, message);
            let help = format!("name `{}` in its `keep`", embed.shown());
            self.report.push(diagnostic.also(first.span, "this is what it keeps").help(help));
            return None;
        }
        Some(embed)
    }

    fn slot(&mut self, path: &str, text: &Text, place: std::ops::Range<usize>) -> Option<usize> {
        let reference = self.reference(path, text, place, Path::parse_one)?;
        self.references.push(reference);
        Some(self.references.len() - 1)
    }

    fn reference(
        &mut self,
        path: &str,
        text: &Text,
        place: std::ops::Range<usize>,
        parse: impl Fn(&str) -> Result<Path, PathError>,
    ) -> Option<Reference> {
        let span = self.report.inside(text, place);
        let (name, inner) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
        let to = self.parts.iter().position(|part| part.name.value == name);
        let Some(to) = to else {
            unknown_part(name, span, self.parts, self.report);
            return None;
        };
        let path = match inner.strip_prefix('.').unwrap_or(inner) {
            "" if inner.is_empty() => None,
            inner => match parse(inner) {
                Ok(path) => Some(path),
                Err(error) => {
                    let message = format!("this is not a path in JSON: {error}");
                    let diagnostic = Diagnostic::error(codes::BAD_PATH, span, message);
                    let help =
                        "write names separated by dots and indices: `{part.user.items[0].id}`";
                    self.report.push(diagnostic.help(help));
                    return None;
                }
            },
        };
        if let Some(each) = self.parts[to].each.as_ref().filter(|_| to != self.from) {
            let message = format!("the part `{name}` has many answers: none of them is meant");
            let diagnostic = Diagnostic::error(codes::BAD_EACH, span, message);
            self.report.push(diagnostic.also(each.of.span, "it is called for each of these"));
            return None;
        }
        self.links.push(Link { from: self.from, to, span });
        Some(Reference { part: to, path })
    }
}

/// Says that a merge has no part of this name.
pub fn unknown_part(name: &str, span: Span, parts: &[config::Part], report: &Report) {
    let names: Vec<&str> = parts.iter().map(|part| part.name.value.as_str()).collect();
    let near = suggest::nearest(name, names.iter().copied());
    let message = format!("this merge has no part `{name}`");
    let diagnostic = Diagnostic::error(codes::UNKNOWN_NAME, span, message).suggest(near, "");
    report.push(diagnostic.note(format!("it has: {}", names.join(", "))));
}

/// Refuses parts that wait for each other. `false` after an error.
pub fn check_cycles(parts: &[config::Part], links: &[Link], report: &Report) -> bool {
    let mut told: Vec<usize> = Vec::new();
    for start in 0..parts.len() {
        let Some(cycle) = way_back(start, links) else { continue };
        if cycle.iter().any(|link| told.contains(&link.from)) {
            continue;
        }
        told.extend(cycle.iter().map(|link| link.from));
        report.push(describe(parts, &cycle));
    }
    told.is_empty()
}

/// The shortest way from a part back to itself.
fn way_back(start: usize, links: &[Link]) -> Option<Vec<&Link>> {
    let mut ways: Vec<Vec<&Link>> =
        links.iter().filter(|link| link.from == start).map(|link| vec![link]).collect();
    let mut seen = Vec::new();
    let mut at = 0;
    while let Some(way) = ways.get(at).cloned() {
        at += 1;
        let Some(last) = way.last() else { continue };
        if last.to == start {
            return Some(way);
        }
        if seen.contains(&last.to) {
            continue;
        }
        seen.push(last.to);
        ways.extend(links.iter().filter(|link| link.from == last.to).map(|link| {
            let mut further = way.clone();
            further.push(link);
            further
        }));
    }
    None
}

fn describe(parts: &[config::Part], cycle: &[&Link]) -> Diagnostic {
    let name = |index: usize| parts[index].name.value.as_str();
    let first = cycle[0];
    if let [only] = cycle {
        let message = format!("the part `{}` refers to itself", name(only.from));
        return Diagnostic::error(codes::CYCLE, only.span, message)
            .help("it would wait for its own answer: take the value from the request");
    }
    let mut spelt = format!("`{}`", name(first.from));
    for link in cycle {
        spelt.push_str(&format!(" needs `{}`", name(link.to)));
        if link.to != first.from {
            spelt.push_str(", which");
        }
    }
    let message = format!("these parts wait for each other: {spelt}");
    let diagnostic = Diagnostic::error(codes::CYCLE, first.span, message);
    cycle[1..].iter().fold(diagnostic, |all, link| {
        all.also(link.span, format!("`{}` needs `{}`", name(link.from), name(link.to)))
    })
}
