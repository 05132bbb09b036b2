//! `each = "{part.orders[*].user_id}"`: the distinct elements of another part, and the object of answers.
//!
//! Elements are compared by their text, as they would stand in a path: `7` and `"7"` are one. `null` is no
//! element; an object or an array cannot be one. Neither their number nor the calls at once are ever
//! unbounded, and the order is that of the array.
//!
//! Several elements may share one call (`batch`). The answer is an array then, whose elements are told apart
//! by a member; what nobody asked for is left out, and what is not there is the failure of its element.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::aggregate::embed::Embed;
use crate::aggregate::json::{self, Document, Path, Tokens, scalar};
use crate::aggregate::partial::PartFault;
use crate::aggregate::reference::Reference;
use crate::aggregate::select::Selection;
use crate::aggregate::view;

/// What a part is called for, time and again.
#[derive(Clone, Debug)]
pub struct Each {
    /// Where the elements are; the path has a `[*]`.
    pub of: Reference,
    /// Distinct elements at most; with more the part fails.
    pub elements_max: usize,
    /// Calls in flight at once.
    pub at_once: usize,
    /// How elements share a call; `None`: each has its own.
    pub batch: Option<Batch>,
    /// Where the answers go; `None`: into the part itself.
    pub into: Option<Embed>,
}

/// Several elements in one call.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Elements of one call at most.
    pub size: usize,
    /// Which element an element of the answer is for; without `[*]`.
    pub by: Path,
    /// What of that is kept, dropped and renamed: the part's own lists.
    pub shape: Option<Selection>,
}

impl Each {
    /// Elements of one call at most.
    pub fn size(&self) -> usize {
        self.batch.as_ref().map_or(1, |batch| batch.size)
    }
}

impl Batch {
    /// What an answer, checked before, holds for each element that it was asked for; `None` where it lacks
    /// one. Of several for one element the last counts, as of members with one name.
    ///
    /// # Errors
    /// The answer is no array.
    pub fn split<'a>(
        &self,
        answer: &'a [u8],
        asked: &[&[u8]],
        keep: Option<&Selection>,
        tokens: &mut Tokens,
    ) -> Result<Vec<Option<Cow<'a, [u8]>>>, PartFault> {
        let document = json::index(answer, tokens)?;
        if document.byte(0) != b'[' {
            return Err(PartFault::NotArray);
        }
        let mut found = HashMap::new();
        for at in document.elements(0) {
            let key = self.by.find_in(&document, at);
            let key = key.and_then(|key| scalar(document.value(key).of(answer)));
            key.and_then(|key| found.insert(key, at));
        }
        let value = |at: &usize| match &self.shape {
            None => Cow::Borrowed(document.value(*at).of(answer)),
            Some(shape) => {
                let mut out = Vec::new();
                shape.apply(&document, *at, &mut out);
                Cow::Owned(out)
            }
        };
        let for_one = |element: &&[u8]| found.get(&scalar(element)?).map(value);
        let mut values: Vec<Option<Cow<'a, [u8]>>> = asked.iter().map(for_one).collect();
        for value in values.iter_mut().flatten() {
            let Some(keep) = keep else { break };
            let mut out = Vec::new();
            view::cut(value, keep, tokens, &mut out);
            *value = Cow::Owned(out);
        }
        tokens.trim();
        Ok(values)
    }
}

/// The distinct elements, in order of first appearance, as JSON scalars.
///
/// # Errors
/// One is no scalar, or there are too many.
pub fn elements<'a>(each: &'a Each, document: &Document<'a>) -> Result<Vec<&'a [u8]>, PartFault> {
    let mut known = HashSet::new();
    let mut found = Vec::new();
    let Some(path) = &each.of.path else { return Ok(found) };
    for value in path.values(document).filter(|value| *value != b"null") {
        let text = scalar(value).ok_or(PartFault::Unfit)?;
        if known.insert(text) {
            if found.len() == each.elements_max {
                return Err(PartFault::TooMany);
            }
            found.push(value);
        }
    }
    Ok(found)
}

/// An object with a member for each element.
#[derive(Debug, Default)]
pub struct Object {
    text: Vec<u8>,
}

impl Object {
    /// Adds an element's answer.
    pub fn add(&mut self, element: &[u8], answer: &[u8]) {
        self.text.push(if self.text.is_empty() { b'{' } else { b',' });
        match element {
            [b'"', ..] => self.text.extend_from_slice(element),
            number => {
                let name = String::from_utf8_lossy(number);
                self.text.extend_from_slice(Value::from(&*name).to_string().as_bytes());
            }
        }
        self.text.push(b':');
        self.text.extend_from_slice(answer);
    }

    /// All of it.
    pub fn finish(mut self) -> Vec<u8> {
        if self.text.is_empty() {
            self.text.push(b'{');
        }
        self.text.push(b'}');
        self.text
    }
}

/// How many elements failed, and why the first of them did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: u32,
    /// Why, in the order of elements.
    pub first: Option<PartFault>,
}

impl Failures {
    /// Counts one more.
    pub fn add(&mut self, fault: PartFault) {
        self.count += 1;
        self.first.get_or_insert(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::json::{Path, Tokens, index};

    fn found(text: &str, path: &str, elements_max: usize) -> Result<Vec<String>, PartFault> {
        let of = Reference { part: 0, path: Path::parse(path).ok() };
        let each = Each { of, elements_max, at_once: 1, batch: None, into: None };
        let mut tokens = Tokens::default();
        let document = index(text.as_bytes(), &mut tokens).expect("JSON");
        let found = elements(&each, &document)?;
        Ok(found.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect())
    }

    #[test]
    fn elements_are_distinct_and_in_order() {
        let text = r#"[{"u":7},{"u":"a"},{"u":"7"},{"u":null},{},{"u":"\u0061"},{"u":true}]"#;
        let expected = ["7", "\"a\"", "true"].map(str::to_owned).to_vec();
        assert_eq!(found(text, "[*].u", 3), Ok(expected));
        assert_eq!(found(text, "[*].u", 2), Err(PartFault::TooMany));
        assert_eq!(found(r#"[{"u":{}}]"#, "[*].u", 9), Err(PartFault::Unfit));
        assert_eq!(found("{}", "x[*]", 9), Ok(Vec::new()));
    }

    fn split(answer: &str, by: &str, asked: &[&str]) -> Result<Vec<Option<String>>, PartFault> {
        let batch = Batch { size: 9, by: Path::parse(by).expect("a path"), shape: None };
        let asked: Vec<&[u8]> = asked.iter().map(|element| element.as_bytes()).collect();
        let values = batch.split(answer.as_bytes(), &asked, None, &mut Tokens::default())?;
        let text = |value: Cow<'_, [u8]>| String::from_utf8_lossy(&value).into_owned();
        Ok(values.into_iter().map(|value| value.map(text)).collect())
    }

    #[test]
    fn an_answer_is_split_by_its_key() {
        let text = |text: &str| Some(text.to_owned());
        let answer =
            r#"[{"id":"9"}, 5,{"id" : 7.0},{"no":1},{"id":{}},{"id":"\u0061","n":1.0},{"id":"a"}]"#;
        let found = split(answer, "id", &["9", "7", "7.0", "\"a\"", "true"]);
        let expected =
            [text(r#"{"id":"9"}"#), None, text(r#"{"id" : 7.0}"#), text(r#"{"id":"a"}"#), None];
        assert_eq!(found, Ok(expected.to_vec()));
        let nested = split(r#"[{"data":{"ids":[1,2]}}]"#, "data.ids[1]", &["2"]);
        assert_eq!(nested, Ok(vec![text(r#"{"data":{"ids":[1,2]}}"#)]));
        assert_eq!(split("[]", "id", &["1"]), Ok(vec![None]));
        assert_eq!(split(r#"{"1":{"id":1}}"#, "id", &["1"]), Err(PartFault::NotArray));
    }

    #[test]
    fn answers_are_named_by_their_elements() {
        let mut object = Object::default();
        object.add(b"7", b"1.0");
        object.add(br#""a\"b""#, b"null");
        assert_eq!(object.finish(), br#"{"7":1.0,"a\"b":null}"#);
        assert_eq!(Object::default().finish(), b"{}");
    }
}
