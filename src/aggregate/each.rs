//! `each = "{part.orders[*].user_id}"`: the distinct elements of another part, and the object of answers.
//!
//! Elements are compared by their text, as they would stand in a path: `7` and `"7"` are one. `null` is no
//! element; an object or an array cannot be one. Neither their number nor the calls at once are ever
//! unbounded, and the order is that of the array.

use std::collections::HashSet;

use serde_json::Value;

use crate::aggregate::json::{Document, scalar};
use crate::aggregate::partial::PartFault;
use crate::aggregate::reference::Reference;

/// What a part is called for, time and again.
#[derive(Clone, Debug)]
pub struct Each {
    /// Where the elements are; the path has a `[*]`.
    pub of: Reference,
    /// Distinct elements at most; with more the part fails.
    pub elements_max: usize,
    /// Calls in flight at once.
    pub at_once: usize,
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
        let each = Each { of, elements_max, at_once: 1 };
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

    #[test]
    fn answers_are_named_by_their_elements() {
        let mut object = Object::default();
        object.add(b"7", b"1.0");
        object.add(br#""a\"b""#, b"null");
        assert_eq!(object.finish(), br#"{"7":1.0,"a\"b":null}"#);
        assert_eq!(Object::default().finish(), b"{}");
    }
}
