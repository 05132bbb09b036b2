//! What of a part is kept, dropped and renamed (CONFIG.md rule 7), in one walk over the index of its text.
//!
//! The lists become one tree of names and indexes when the configuration is compiled. A walk copies what no
//! path ends in or passes through to the letter, in runs as long as possible: key order, `1.0`, numbers of twenty
//! digits, escapes and white space. Objects and arrays that a path passes through are written anew without
//! white space between their tokens. It never decodes a value, never recurses deeper than
//! `PATH_STEPS_MAX`, and never fails: a path to what is not there selects nothing.
//!
//! Order: `keep`, then `drop` from what was kept, then `rename` of what is left; all paths name what the origin
//! sent. An object or array on the way to something kept stays, if need be empty; a scalar on the way goes. A
//! name that is repeated (RFC 8259 §4) is kept, dropped or renamed each time. The choice refused is a
//! tree of values: it would have to decode, and to write numbers anew.

use std::fmt;

use serde_json::Value;

use crate::aggregate::json::{Document, Path, Step, key};
use crate::base::limits::{RENAMES_PER_OBJECT_MAX, SHAPE_NODES_MAX, SHAPE_PATHS_MAX};

/// What of a JSON value is left, and under which names; compiled.
#[derive(Clone, Debug)]
pub struct Selection {
    root: Node,
}

/// Up to so many names are compared one after the other: most differ in length already.
const MEMBERS_SCANNED_MAX: usize = 16;

/// What the lists say of one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// A path of `keep` ends here.
    kept: bool,
    /// A path of `drop` ends here.
    dropped: bool,
    /// The member's new name, as JSON with its quotes.
    renamed: Option<Box<str>>,
    /// A path of `keep` ends below.
    keeps: bool,
    /// A path of `drop` or `rename` ends below.
    edits: bool,
    /// By name, in the order of the names' bytes.
    members: Vec<(Box<str>, Node)>,
    /// Which members get another name: number in `members`, new name.
    renames: Vec<(usize, Box<str>)>,
    /// What holds for every element, and for single ones in addition.
    every: Option<Box<Node>>,
    elements: Vec<(u32, Node)>,
}

/// What a path asks for.
#[derive(Clone, Debug)]
enum Wish {
    Keep,
    Drop,
    Rename(Box<str>),
}

/// Why lists are not a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectError {
    /// More than `SHAPE_PATHS_MAX` paths.
    TooManyPaths,
    /// More than `SHAPE_NODES_MAX` places.
    TooManyNodes,
    /// More than `RENAMES_PER_OBJECT_MAX` renamed members of one object.
    TooManyRenames,
    /// Two members of one object would get the same name.
    SameName,
    /// What is renamed is no member: the path ends in an index.
    NoMember,
    /// The same member is to have two new names.
    RenamedTwice,
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPaths => write!(f, "a part is shaped by at most {SHAPE_PATHS_MAX} paths"),
            Self::TooManyNodes => f.write_str("these paths mix `[0]` and `[*]` on too many levels"),
            Self::TooManyRenames => {
                write!(f, "at most {RENAMES_PER_OBJECT_MAX} members of one object are renamed")
            }
            Self::SameName => {
                f.write_str("another member of the same object gets this name already")
            }
            Self::NoMember => f.write_str("only members of objects have names"),
            Self::RenamedTwice => f.write_str("this member gets another name already"),
        }
    }
}

impl std::error::Error for SelectError {}

/// The lists, being made into a selection. The order of calls never matters.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    root: Node,
    keeping: bool,
    paths: usize,
}

impl Lists {
    /// Keeps what `path` names; with a first such path, all that no such path names is left out.
    ///
    /// # Errors
    /// A bound is met.
    pub fn keep(&mut self, path: &Path) -> Result<(), SelectError> {
        self.keeping = true;
        self.insert(path, &Wish::Keep)
    }

    /// Leaves out what `path` names.
    ///
    /// # Errors
    /// A bound is met.
    pub fn leave(&mut self, path: &Path) -> Result<(), SelectError> {
        self.insert(path, &Wish::Drop)
    }

    /// Gives the members that `path` names another name.
    ///
    /// # Errors
    /// The path does not end in a name, the name is taken, or a bound is met.
    pub fn rename(&mut self, path: &Path, name: &str) -> Result<(), SelectError> {
        if !matches!(path.steps().last(), Some(Step::Member(_))) {
            return Err(SelectError::NoMember);
        }
        self.insert(path, &Wish::Rename(Value::from(name).to_string().into()))
    }

    fn insert(&mut self, path: &Path, wish: &Wish) -> Result<(), SelectError> {
        if self.paths == SHAPE_PATHS_MAX {
            return Err(SelectError::TooManyPaths);
        }
        self.paths += 1;
        self.root.insert(path.steps(), wish)?;
        if self.root.count() > SHAPE_NODES_MAX {
            return Err(SelectError::TooManyNodes);
        }
        Ok(())
    }

    /// The selection; `None` when the lists are empty and everything stays as it is.
    pub fn compile(mut self) -> Option<Selection> {
        if self.paths == 0 {
            return None;
        }
        self.root.kept |= !self.keeping;
        self.root.close();
        Some(Selection { root: self.root })
    }
}

impl Node {
    fn insert(&mut self, steps: &[Step], wish: &Wish) -> Result<(), SelectError> {
        let [step, rest @ ..] = steps else {
            return self.wish(wish);
        };
        match step {
            Step::Member(name) => {
                let found = self.members.binary_search_by(|(known, _)| (**known).cmp(name));
                let at = found.unwrap_or_else(|at| {
                    self.members.insert(at, (name.clone(), Node::default()));
                    at
                });
                self.members[at].1.insert(rest, wish)?;
                if rest.is_empty() { self.check_name(wish) } else { Ok(()) }
            }
            Step::Element(index) => {
                let at = self.elements.iter().position(|(known, _)| known == index);
                let at = at.unwrap_or_else(|| {
                    // What holds for all elements holds for this one.
                    let node = self.every.as_deref().cloned().unwrap_or_default();
                    self.elements.push((*index, node));
                    self.elements.len() - 1
                });
                self.elements[at].1.insert(rest, wish)
            }
            Step::Every => {
                for (_, node) in &mut self.elements {
                    node.insert(rest, wish)?;
                }
                self.every.get_or_insert_default().insert(rest, wish)
            }
        }
    }

    fn wish(&mut self, wish: &Wish) -> Result<(), SelectError> {
        match wish {
            Wish::Keep => self.kept = true,
            Wish::Drop => self.dropped = true,
            Wish::Rename(name) => match &self.renamed {
                Some(known) if known != name => return Err(SelectError::RenamedTwice),
                _ => self.renamed = Some(name.clone()),
            },
        }
        Ok(())
    }

    /// Whether a member may get this new name beside the others.
    fn check_name(&self, wish: &Wish) -> Result<(), SelectError> {
        let Wish::Rename(name) = wish else { return Ok(()) };
        let renamed = self.members.iter().filter_map(|(_, node)| node.renamed.as_ref());
        if renamed.clone().count() > RENAMES_PER_OBJECT_MAX {
            return Err(SelectError::TooManyRenames);
        }
        if renamed.filter(|known| *known == name).count() > 1 {
            return Err(SelectError::SameName);
        }
        Ok(())
    }

    fn children(&self) -> impl Iterator<Item = &Node> {
        let members = self.members.iter().map(|(_, node)| node);
        let elements = self.elements.iter().map(|(_, node)| node);
        members.chain(elements).chain(self.every.as_deref())
    }

    fn count(&self) -> usize {
        1 + self.children().map(Node::count).sum::<usize>()
    }

    /// Works out what the walk wants to know of what lies below.
    fn close(&mut self) {
        self.members.iter_mut().for_each(|(_, node)| node.close());
        self.elements.iter_mut().for_each(|(_, node)| node.close());
        self.every.iter_mut().for_each(|node| node.close());
        let keeps = self.children().any(|node| node.kept || node.keeps);
        let changed = |node: &Node| node.dropped || node.renamed.is_some() || node.edits;
        let edits = self.children().any(changed);
        (self.keeps, self.edits) = (keeps, edits);
        let new_name = |(at, (_, node)): (usize, &(Box<str>, Node))| {
            let renamed = node.renamed.as_ref()?;
            let name = serde_json::from_str::<Box<str>>(renamed);
            Some((at, name.expect("written from a name")))
        };
        self.renames = self.members.iter().enumerate().filter_map(new_name).collect();
    }

    /// The member that a name, as written between its quotes, spells.
    fn member(&self, document: &Document<'_>, written: &[u8]) -> Option<usize> {
        if document.has_escapes() && memchr::memchr(b'\\', written).is_some() {
            return self.members.iter().position(|(name, _)| key::is(written, name));
        }
        if self.members.len() > MEMBERS_SCANNED_MAX {
            let found = self.members.binary_search_by(|(name, _)| name.as_bytes().cmp(written));
            return found.ok();
        }
        self.members.iter().position(|(name, _)| name.as_bytes() == written)
    }

    fn element(&self, index: u32) -> Option<&Node> {
        let single = self.elements.iter().find(|(known, _)| *known == index);
        single.map(|(_, node)| node).or(self.every.as_deref())
    }
}

/// What becomes of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Copied,
    Left,
    Entered,
}

/// Of a value with what the lists say of it, below something kept or not. `first`: its first byte.
fn fate(node: Option<&Node>, kept: bool, first: u8) -> Fate {
    let otherwise = if kept { Fate::Copied } else { Fate::Left };
    let Some(node) = node else { return otherwise };
    if node.dropped {
        return Fate::Left;
    }
    let kept = kept || node.kept;
    let inside = if kept { node.edits } else { node.keeps };
    match (inside && matches!(first, b'{' | b'['), kept) {
        (true, _) => Fate::Entered,
        (false, true) => Fate::Copied,
        (false, false) => Fate::Left,
    }
}

impl Selection {
    /// Appends what is left of the value at token `at`; `null` when that is nothing.
    pub fn apply(&self, document: &Document<'_>, at: usize, out: &mut Vec<u8>) {
        let first = document.byte(at);
        let kept = self.root.kept;
        let mut walk = Walk { document, run: 0..0, out };
        match fate(Some(&self.root), kept, first) {
            Fate::Left => walk.literal(b"null"),
            Fate::Copied => walk.copy(at, document.past(at)),
            Fate::Entered => {
                walk.enter(&self.root, kept, at);
            }
        }
        walk.flush();
    }

    /// The names that members of an object at the root may have afterwards, as far as the lists tell: those of
    /// `keep`, and the new ones.
    pub fn known_names(&self) -> impl Iterator<Item = &str> {
        let left = |node| fate(Some(node), self.root.kept, b'{') != Fate::Left;
        self.root.members.iter().enumerate().filter_map(move |(at, (name, node))| {
            let renamed = self.root.renames.iter().find(|(number, _)| *number == at);
            match renamed {
                Some((_, name)) if left(node) => Some(&**name),
                None if left(node) && !self.root.kept => Some(&**name),
                _ => None,
            }
        })
    }
}

/// One walk: text that is copied waits in a run until something else has to be written.
struct Walk<'a, 'o> {
    document: &'a Document<'a>,
    run: std::ops::Range<usize>,
    out: &'o mut Vec<u8>,
}

impl Walk<'_, '_> {
    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        self.out.extend_from_slice(&self.document.text()[run]);
    }

    /// Writes bytes of ours, out of the text if they stand there next.
    fn literal(&mut self, bytes: &[u8]) {
        let next = self.document.text().get(self.run.end..self.run.end + bytes.len());
        if next == Some(bytes) && !self.run.is_empty() {
            self.run.end += bytes.len();
        } else {
            self.flush();
            self.out.extend_from_slice(bytes);
        }
    }

    /// Writes the text of tokens `at` to before `past`.
    fn copy(&mut self, at: usize, past: usize) {
        let span = self.document.span(at, past);
        let (start, end) = (span.start as usize, span.end as usize);
        if self.run.end == start && !self.run.is_empty() {
            self.run.end = end;
        } else {
            self.flush();
            self.run = start..end;
        }
    }

    /// Writes what is left of the container at `at`; returns the token behind it.
    fn enter(&mut self, node: &Node, kept: bool, at: usize) -> usize {
        let kept = kept || node.kept;
        if self.document.byte(at) == b'{' {
            self.object(node, kept, at)
        } else {
            self.array(node, kept, at)
        }
    }

    /// As `fate` says; returns the token behind the value.
    fn value(&mut self, fate: Fate, node: Option<&Node>, kept: bool, at: usize) -> usize {
        match (fate, node) {
            (Fate::Entered, Some(node)) => self.enter(node, kept, at),
            _ => {
                let past = self.document.past(at);
                self.copy(at, past);
                past
            }
        }
    }

    fn object(&mut self, node: &Node, kept: bool, open: usize) -> usize {
        let taken = self.taken(node, kept, open);
        self.literal_or_token(b"{", open);
        let (mut at, mut count) = (open + 1, 0);
        while self.document.byte(at) == b'"' {
            let (name, value) = (self.document.key(at), at + 2);
            let number = node.member(self.document, name);
            let child = number.map(|number| &node.members[number].1);
            let renamed = child.and_then(|child| child.renamed.as_deref());
            let mut fate = fate(child, kept, self.document.byte(value));
            if taken != 0 && renamed.is_none() && node.is_taken(taken, name) {
                fate = Fate::Left;
            }
            if fate == Fate::Left {
                at = self.document.past(value);
            } else {
                if count > 0 {
                    self.literal(b",");
                }
                count += 1;
                match renamed {
                    Some(name) => self.literal(name.as_bytes()),
                    None => self.copy(at, at + 1),
                }
                self.literal_or_token(b":", at + 1);
                at = self.value(fate, child, kept, value);
            }
            at += usize::from(self.document.byte(at) == b',');
        }
        self.literal_or_token(b"}", at);
        at + 1
    }

    fn array(&mut self, node: &Node, kept: bool, open: usize) -> usize {
        self.literal_or_token(b"[", open);
        let (mut at, mut index, mut count) = (open + 1, 0, 0);
        while !matches!(self.document.byte(at), 0 | b']') {
            let child = node.element(index);
            index += 1;
            let fate = fate(child, kept, self.document.byte(at));
            if fate == Fate::Left {
                at = self.document.past(at);
            } else {
                if count > 0 {
                    self.literal(b",");
                }
                count += 1;
                at = self.value(fate, child, kept, at);
            }
            at += usize::from(self.document.byte(at) == b',');
        }
        self.literal_or_token(b"]", at);
        at + 1
    }

    /// A token of the text that is written anyway: it may begin a run or go on with one.
    fn literal_or_token(&mut self, token: &[u8; 1], at: usize) {
        let start = self.document.start(at);
        if self.run.is_empty() {
            self.flush();
            self.run = start..start + 1;
        } else if self.run.end == start {
            self.run.end += 1;
        } else {
            self.literal(token);
        }
    }

    /// Which renamed members the object at `open` has, a bit each: their new names are taken.
    fn taken(&self, node: &Node, kept: bool, open: usize) -> u64 {
        if node.renames.is_empty() {
            return 0;
        }
        let bit = |(written, value): (&[u8], usize)| {
            let number = node.member(self.document, written)?;
            let fate = fate(Some(&node.members[number].1), kept, self.document.byte(value));
            let at = node.renames.iter().position(|(known, _)| *known == number)?;
            (fate != Fate::Left).then_some(1u64 << at)
        };
        self.document.members(open).filter_map(bit).fold(0, |bits, bit| bits | bit)
    }
}

impl Node {
    /// Whether a member of this name gives way to a renamed one.
    fn is_taken(&self, taken: u64, written: &[u8]) -> bool {
        let mut renames = self.renames.iter().enumerate();
        renames.any(|(bit, (_, name))| taken >> bit & 1 != 0 && key::is(written, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::json::{Tokens, index};

    /// What is left of `text`: `+path` is kept, `-path` dropped, `path=name` renamed.
    fn shaped(lists: &str, text: &str) -> String {
        let mut made = Lists::default();
        for word in lists.split(' ') {
            let path = |text: &str| Path::parse(text).expect("a path");
            let added = match (word.as_bytes()[0], word.split_once('=')) {
                (b'+', _) => made.keep(&path(&word[1..])),
                (b'-', _) => made.leave(&path(&word[1..])),
                (_, Some((old, new))) => made.rename(&path(old), new),
                _ => panic!("{word}"),
            };
            added.expect("a wish");
        }
        let mut tokens = Tokens::default();
        let document = index(text.as_bytes(), &mut tokens).expect("JSON");
        let mut out = Vec::new();
        made.compile().expect("lists").apply(&document, 0, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_is_not_on_a_path_keeps_its_bytes() {
        let text = r#" {"z" : [ 1.0,-0 ,1E400 ], "a":12345678901234567890,"é\u00e9":"\/\ud800","drop":{ } } "#;
        let left = r#"{"z":[ 1.0,-0 ,1E400 ],"a":12345678901234567890,"é\u00e9":"\/\ud800"}"#;
        assert_eq!(shaped("-drop", text), left);
        assert_eq!(shaped("-none", "[ 1 , [ 2 ] ]"), "[1,[ 2 ]]");
        assert_eq!(shaped("-none", "{ \"a\" : 1 }"), "{\"a\":1}");
    }

    #[test]
    fn kept_paths_enter_arrays_and_leave_what_holds_them() {
        let text = r#"{"user":{"name":"Ada","mail":"m"},"items":[{"id":1,"x":2},{"x":3},7,null,{"id":[]}],"n":0}"#;
        assert_eq!(
            shaped("+user.name +items[*].id", text),
            r#"{"user":{"name":"Ada"},"items":[{"id":1},{},{"id":[]}]}"#
        );
        assert_eq!(shaped("+items[0]", text), r#"{"items":[{"id":1,"x":2}]}"#);
        assert_eq!(shaped("+user +user.name", text), r#"{"user":{"name":"Ada","mail":"m"}}"#);
        assert_eq!(shaped("+none", text), "{}");
    }

    #[test]
    fn a_scalar_in_place_of_what_is_kept_is_null() {
        for text in ["\"secret\"", "5", "null", "true"] {
            assert_eq!(shaped("+a", text), "null", "{text}");
            assert_eq!(shaped("-a", text), text);
            assert_eq!(shaped("a=b", text), text);
        }
        assert_eq!(shaped("+a", "[{\"a\":1}]"), "[]");
        assert_eq!(shaped("+[*].a", "[{\"a\":1},{\"b\":1}]"), "[{\"a\":1},{}]");
        assert_eq!(shaped("+a", "{}"), "{}");
    }

    #[test]
    fn drop_takes_from_what_is_kept_and_indexes_count_as_received() {
        assert_eq!(shaped("+a -a.b", r#"{"a":{"b":1,"c":2},"d":3}"#), r#"{"a":{"c":2}}"#);
        assert_eq!(shaped("-[0] -[2]", "[1,2,3,4]"), "[2,4]");
        assert_eq!(shaped("-[*].b -[1]", r#"[{"b":1,"c":2},{"c":3},{"b":4}]"#), r#"[{"c":2},{}]"#);
        assert_eq!(shaped("-[1].c -[*].b", r#"[{"b":1},{"b":1,"c":2}]"#), "[{},{}]");
        assert_eq!(shaped("-a", "{\"a\":{}}"), "{}");
    }

    #[test]
    fn a_new_name_drives_out_the_member_that_had_it() {
        assert_eq!(shaped("a=b", r#"{"b":1,"a":2,"c":3}"#), r#"{"b":2,"c":3}"#);
        assert_eq!(shaped("a=b", r#"{"b":1,"c":3}"#), r#"{"b":1,"c":3}"#);
        assert_eq!(shaped("a=b b=a", r#"{"a":1,"b":2}"#), r#"{"b":1,"a":2}"#);
        assert_eq!(shaped("+b a=b", r#"{"a":1,"b":2}"#), r#"{"b":2}"#);
        assert_eq!(
            shaped("x[*].a=ä\"", r#"{"x":[{"a":1},{"a":2}]}"#),
            r#"{"x":[{"ä\"":1},{"ä\"":2}]}"#
        );
    }

    #[test]
    fn names_are_met_by_what_they_spell_and_each_time() {
        let text = r#"{"\u0061":1,"a":2,"b":{"a":3}}"#;
        assert_eq!(shaped("-a", text), r#"{"b":{"a":3}}"#);
        assert_eq!(shaped("+a", text), r#"{"\u0061":1,"a":2}"#);
        assert_eq!(shaped("a=c", text), r#"{"c":1,"c":2,"b":{"a":3}}"#);
    }

    #[test]
    fn lists_that_contradict_themselves_are_refused() {
        let path = |text: &str| Path::parse(text).expect("a path");
        let mut lists = Lists::default();
        assert!(lists.rename(&path("a[*].b"), "c").is_ok());
        assert_eq!(lists.rename(&path("a[*].d"), "c"), Err(SelectError::SameName));
        assert_eq!(lists.rename(&path("a[*].b"), "x"), Err(SelectError::RenamedTwice));
        assert_eq!(lists.rename(&path("a[*]"), "c"), Err(SelectError::NoMember));
        assert!(Lists::default().compile().is_none());
        let mut many = Lists::default();
        let kept = (0..=SHAPE_PATHS_MAX).map(|n| many.keep(&path(&format!("m{n}"))));
        assert_eq!(kept.last(), Some(Err(SelectError::TooManyPaths)));
        let mut renamed = Lists::default();
        let renames = (0..=RENAMES_PER_OBJECT_MAX)
            .map(|n| renamed.rename(&path(&format!("m{n}")), &format!("n{n}")));
        assert_eq!(renames.last(), Some(Err(SelectError::TooManyRenames)));
        let mut doubling = Lists::default();
        let results: Vec<_> = (1..=16)
            .flat_map(|depth| {
                let stars = "[*]".repeat(depth - 1);
                [
                    doubling.keep(&path(&format!("{stars}[*]"))),
                    doubling.keep(&path(&format!("{stars}[0]"))),
                ]
            })
            .collect();
        assert!(results.contains(&Err(SelectError::TooManyNodes)));
    }

    #[test]
    fn the_names_that_are_known_are_those_kept_and_the_new_ones() {
        let path = |text: &str| Path::parse(text).expect("a path");
        let mut lists = Lists::default();
        for (old, new) in [("a", "x"), ("b.c", "y")] {
            lists.rename(&path(old), new).expect("fine");
        }
        let names = |lists: &Lists| -> Vec<String> {
            let selection = lists.clone().compile().expect("lists");
            selection.known_names().map(str::to_owned).collect()
        };
        assert_eq!(names(&lists), ["x"]);
        for kept in ["a", "d.e", "f"] {
            lists.keep(&path(kept)).expect("fine");
        }
        lists.leave(&path("f")).expect("fine");
        assert_eq!(names(&lists), ["x", "d"]);
    }
}
