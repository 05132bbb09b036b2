//! `pick = "data.items[0]"`: where inside of a checked JSON value another one lies.
//!
//! A second pass, only for parts that ask for it, over bytes that were found well-formed; it never looks
//! at bytes that were not, never recurses and never allocates. Where a name is repeated the last one
//! counts, as in every JSON reader that keeps a map (ECMA-262 §25.5.1, serde_json, Python, Go): a
//! client that parsed the whole part itself would have seen that one (RFC 8259 §4 leaves it open).

use std::fmt;

use memchr::memchr2;

use crate::aggregate::json::is_white;
use crate::base::limits::PICK_STEPS_MAX;
use crate::base::span::Span;

/// A path to a value inside of a JSON value, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(Box<str>),
    Element(u32),
}

/// Why a text is not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickError {
    /// Where in the text the mistake is. Unit: bytes.
    pub offset: usize,
    /// What it is.
    pub kind: PickErrorKind,
}

/// The mistakes that one can make in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickErrorKind {
    /// A name is missing: the path is empty, begins or ends with a dot, or has two in a row.
    NameMissing,
    /// `[` without a number and `]`, or something else than `.` or `[` behind it.
    IndexMalformed,
    /// More than `PICK_STEPS_MAX` steps.
    TooLong,
}

impl fmt::Display for PickError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PickErrorKind::NameMissing => f.write_str("a name is missing in this path"),
            PickErrorKind::IndexMalformed => f.write_str(
                "an index is written `[0]`, `[1]` and so on, before `.`, `[` or the end",
            ),
            PickErrorKind::TooLong => {
                write!(f, "a path has at most {PICK_STEPS_MAX} steps")
            }
        }
    }
}

impl std::error::Error for PickError {}

impl Pick {
    /// Compiles `data.items[0].id`: names of members joined by dots, `[n]` for elements counted from 0.
    pub fn parse(text: &str) -> Result<Self, PickError> {
        let mut steps = Vec::new();
        let mut at = 0;
        while at < text.len() || steps.is_empty() {
            let fail = |kind| PickError { offset: at, kind };
            if steps.len() == PICK_STEPS_MAX {
                return Err(fail(PickErrorKind::TooLong));
            }
            if text[at..].starts_with('[') {
                let malformed = fail(PickErrorKind::IndexMalformed);
                let close = text[at..].find(']').ok_or(malformed)?;
                let index = text[at + 1..at + close].parse().map_err(|_| malformed)?;
                steps.push(Step::Element(index));
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
                return Err(PickError { offset: at, kind: PickErrorKind::NameMissing });
            }
            steps.push(Step::Member(text[at..at + len].into()));
            at += len;
        }
        Ok(Self { steps: steps.into() })
    }

    /// Where in `text`, whose bytes were checked, the value lies; `None` when there is none.
    pub fn find(&self, text: &[u8]) -> Option<Span> {
        let mut walk = Walk { text, at: 0 };
        walk.pass_white();
        let mut found = walk.value();
        for step in &self.steps {
            let mut walk = Walk { text: found.of(text), at: 0 };
            let inner = match step {
                Step::Member(name) => walk.member(name.as_bytes())?,
                Step::Element(index) => walk.element(*index)?,
            };
            let start = found.start;
            found = Span { start: start + inner.start, end: start + inner.end };
        }
        Some(found)
    }
}

/// A reader of well-formed JSON. On anything else its answers mean nothing, but it always ends.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn pass_white(&mut self) {
        while self.byte().is_some_and(is_white) {
            self.at += 1;
        }
    }

    /// Passes `byte` if it comes next behind white space.
    fn pass(&mut self, byte: u8) -> bool {
        self.pass_white();
        let here = self.byte() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// The last member of this name in the object that comes next.
    fn member(&mut self, name: &[u8]) -> Option<Span> {
        if !self.pass(b'{') {
            return None;
        }
        let mut last = None;
        while self.at < self.text.len() && !self.pass(b'}') {
            self.pass_white();
            let key = self.value();
            self.pass(b':');
            self.pass_white();
            let value = self.value();
            self.pass(b',');
            if is_named(key.of(self.text), name) {
                last = Some(value);
            }
        }
        last
    }

    /// The element at `index` of the array that comes next.
    fn element(&mut self, index: u32) -> Option<Span> {
        if !self.pass(b'[') {
            return None;
        }
        let mut count = 0;
        while self.at < self.text.len() && !self.pass(b']') {
            self.pass_white();
            let value = self.value();
            if count == index {
                return Some(value);
            }
            count += 1;
            self.pass(b',');
        }
        None
    }

    /// Passes the value that comes next.
    fn value(&mut self) -> Span {
        let start = self.at;
        match self.byte() {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => self.container(),
            _ => {
                let ends = |byte: &u8| is_white(*byte) || b",:]}".contains(byte);
                let behind = self.text.get(self.at..).unwrap_or(&[]);
                self.at += behind.iter().position(ends).unwrap_or(behind.len());
                // On text that was not checked: never stand still.
                self.at += usize::from(self.at == start && self.at < self.text.len());
            }
        }
        Span::new(start, self.at)
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(next) = memchr2(b'"', b'\\', self.text.get(self.at..).unwrap_or(&[])) {
            self.at += next;
            if self.byte() == Some(b'"') {
                self.at += 1;
                return;
            }
            self.at = (self.at + 2).min(self.text.len());
        }
        self.at = self.text.len();
    }

    fn container(&mut self) {
        let mut depth = 0usize;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => {
                    self.string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

/// Whether the JSON string `key`, with its quotes, spells `name`.
fn is_named(key: &[u8], name: &[u8]) -> bool {
    let [b'"', inside @ .., b'"'] = key else {
        return false;
    };
    if !inside.contains(&b'\\') {
        return inside == name;
    }
    // Escaped names are rare; the key is small, and unescaping it is serde_json's work.
    serde_json::from_slice::<String>(key).is_ok_and(|key| key.as_bytes() == name)
}
