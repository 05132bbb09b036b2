//! Paths into JSON: `data.items[0].id`, `items[*].id`, and the values that they name.
//!
//! A path is compiled once and followed over the index of a checked document; it never looks at bytes that
//! were not found well-formed, never recurses and never allocates. Where a name is repeated the last one counts, as
//! in every JSON reader that keeps a map (ECMA-262 §25.5.1, serde_json, Python, Go): a client that
//! parsed the whole part itself would have seen that one (RFC 8259 §4 leaves it open). JSONPath (RFC 9535)
//! was refused: its filters and descents have no bound on what they visit, and no gateway's users know it.

use std::fmt;

use crate::aggregate::json::index::{Document, Elements};
use crate::aggregate::json::key;
use crate::base::limits::PATH_STEPS_MAX;

/// A path to values inside of a JSON value, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    steps: Box<[Step]>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `name`: a member of an object.
    Member(Box<str>),
    /// `[n]`: one element of an array, counted from 0.
    Element(u32),
    /// `[*]`: every element of an array.
    Every,
}

/// Why a text is not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathError {
    /// Where in the text the mistake is. Unit: bytes.
    pub offset: usize,
    /// What it is.
    pub kind: PathErrorKind,
}

/// The mistakes that one can make in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathErrorKind {
    /// A name is missing: the path is empty, begins or ends with a dot, or has two in a row.
    NameMissing,
    /// `[` without a number or `*` and `]`, or something else than `.` or `[` behind it.
    IndexMalformed,
    /// More than `PATH_STEPS_MAX` steps.
    TooLong,
    /// `[*]` where one value is wanted.
    Several,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PathErrorKind::NameMissing => f.write_str("a name is missing in this path"),
            PathErrorKind::IndexMalformed => f.write_str(
                "an index is written `[0]`, `[1]` and so on, or `[*]` for all, before `.`, `[` or the end",
            ),
            PathErrorKind::TooLong => write!(f, "a path has at most {PATH_STEPS_MAX} steps"),
            PathErrorKind::Several => f.write_str("`[*]` names several values, and one is wanted here"),
        }
    }
}

impl std::error::Error for PathError {}

impl Path {
    /// Compiles `data.items[*].id`: names of members joined by dots, `[n]` for an element counted from 0,
    /// `[*]` for every element.
    ///
    /// # Errors
    /// Where the text is not a path, and why.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let mut steps = Vec::new();
        let mut at = 0;
        while at < text.len() || steps.is_empty() {
            let fail = |kind| PathError { offset: at, kind };
            if steps.len() == PATH_STEPS_MAX {
                return Err(fail(PathErrorKind::TooLong));
            }
            if text[at..].starts_with('[') {
                let malformed = fail(PathErrorKind::IndexMalformed);
                let close = text[at..].find(']').ok_or(malformed)?;
                steps.push(match &text[at + 1..at + close] {
                    "*" => Step::Every,
                    number => Step::Element(element(number).ok_or(malformed)?),
                });
                at += close + 1;
                match text.as_bytes().get(at) {
                    None | Some(b'.' | b'[') => continue,
                    Some(_) => return Err(malformed),
                }
            }
            // Behind an earlier step a name is led in by its dot.
            at += usize::from(!steps.is_empty());
            let len = text[at..].find(['.', '[']).unwrap_or(text.len() - at);
            if len == 0 {
                return Err(PathError { offset: at, kind: PathErrorKind::NameMissing });
            }
            steps.push(Step::Member(text[at..at + len].into()));
            at += len;
        }
        Ok(Self { steps: steps.into() })
    }

    /// As [`Path::parse`], for a path that names one value.
    ///
    /// # Errors
    /// As there, or the path has a `[*]`.
    pub fn parse_one(text: &str) -> Result<Self, PathError> {
        let path = Self::parse(text)?;
        match path.steps.contains(&Step::Every) {
            false => Ok(path),
            true => {
                let offset = text.find("[*]").unwrap_or(0);
                Err(PathError { offset, kind: PathErrorKind::Several })
            }
        }
    }

    /// Its steps, at least one.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The path without its first step; `None` when that is all of it.
    pub fn behind_first(&self) -> Option<Self> {
        let steps = self.steps.get(1..).filter(|steps| !steps.is_empty())?;
        Some(Self { steps: steps.into() })
    }

    /// The path without its last step, and the name in that one; `None` when it is no member of anything.
    pub fn split_last_member(&self) -> Option<(Self, &str)> {
        match self.steps.split_last()? {
            (Step::Member(name), before) if !before.is_empty() => {
                Some((Self { steps: before.into() }, name))
            }
            _ => None,
        }
    }

    /// The value that the path names first, by its token; `None` when there is none.
    pub fn find(&self, document: &Document<'_>) -> Option<usize> {
        self.walk(document).next()
    }

    /// The same inside of the value at `at`; only for a path without `[*]`.
    pub fn find_in(&self, document: &Document<'_>, at: usize) -> Option<usize> {
        self.walk(document).descend(0, at)
    }

    /// Every value that the path names in the document, in its order, as its bytes.
    pub fn values<'a>(
        &'a self,
        document: &Document<'a>,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let document = *document;
        self.walk(&document).map(move |at| document.value(at).of(document.text()))
    }

    /// The tokens of the values that the path names.
    pub fn walk<'a>(&'a self, document: &Document<'a>) -> Walk<'a> {
        let every = [const { None }; PATH_STEPS_MAX];
        Walk { steps: &self.steps, document: *document, begun: false, every, open: 0 }
    }
}

/// An index in brackets: digits, and no more than 32 bits.
fn element(number: &str) -> Option<u32> {
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

/// The values that a path names, one after the other.
pub struct Walk<'a> {
    steps: &'a [Step],
    document: Document<'a>,
    begun: bool,
    /// The arrays that `[*]` is in, outermost first, and the step of each.
    every: [Option<(usize, Elements<'a>)>; PATH_STEPS_MAX],
    open: usize,
}

impl Walk<'_> {
    /// Follows the steps from number `step` on, from the value at `at`, up to the end or the next `[*]`.
    fn descend(&mut self, mut step: usize, mut at: usize) -> Option<usize> {
        while let Some(next) = self.steps.get(step) {
            step += 1;
            at = match next {
                Step::Member(name) => {
                    let members = self.document.members(at);
                    let named = members.filter(|(written, _)| self.document.spells(written, name));
                    named.last()?.1
                }
                Step::Element(index) => self.document.elements(at).nth(*index as usize)?,
                Step::Every => {
                    self.every[self.open] = Some((step, self.document.elements(at)));
                    self.open += 1;
                    return None;
                }
            };
        }
        Some(at)
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if !self.begun {
            self.begun = true;
            if let Some(found) = self.descend(0, 0) {
                return Some(found);
            }
        }
        while self.open > 0 {
            let (step, elements) = self.every[self.open - 1].as_mut()?;
            let step = *step;
            match elements.next() {
                None => self.open -= 1,
                Some(at) => {
                    if let Some(found) = self.descend(step, at) {
                        return Some(found);
                    }
                }
            }
        }
        None
    }
}

/// A value decoded for use in a request: the text of a string, a number or word as written. `None` for
/// `null`, arrays and objects, and for a string that names half of a surrogate pair (RFC 8259 §8.2).
pub fn scalar(value: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    let text = std::str::from_utf8(value).ok()?;
    match value.first()? {
        b'{' | b'[' | b'n' => None,
        b'"' => {
            let inside = text.get(1..text.len() - 1)?;
            if !inside.contains('\\') {
                return Some(inside.into());
            }
            let mut decoded = String::with_capacity(inside.len());
            key::decode(inside, |character| decoded.push(character)).then_some(decoded.into())
        }
        _ => Some(text.into()),
    }
}
