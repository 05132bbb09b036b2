//! `into = "user"`: the answer for an element stands next to the element, in the part that it was taken from.
//!
//! Source and answers were checked before; nothing of either is decoded. A member is put right behind the one that
//! held the element, and every byte beside it stays: key order, spelling and white space are the origin's. An
//! object that has a member of this name already loses it, as with `rename`, with an answer or without one: what an
//! origin adds can never pass for an answer. The result is bounded: an answer may be wanted by many elements.

use std::collections::HashMap;

use crate::aggregate::json::{self, Document, Path, Step, Tokens, scalar};
use crate::aggregate::partial::PartFault;
use crate::base::limits::MERGE_BYTES_MAX;

/// Where the answers of a part with `each` go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embed {
    /// The objects that hold elements, in the part that they are taken from.
    objects: Path,
    /// The member that is the element.
    element: Box<str>,
    /// The member that is its answer.
    name: Box<str>,
    /// `,"name":`.
    key_text: Box<[u8]>,
}

impl Embed {
    /// Next to the elements that `of` names; `None` if these are no members of objects.
    pub fn of(of: &Path, name: &str) -> Option<Self> {
        let (objects, element) = of.split_last_member()?;
        let mut key_text = vec![b','];
        key_text.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
        key_text.push(b':');
        Some(Self {
            objects,
            element: element.into(),
            name: name.into(),
            key_text: key_text.into(),
        })
    }

    /// The name of the member.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path in the part: `[*].user`.
    pub fn shown(&self) -> String {
        let mut shown = String::new();
        for step in self.objects.steps() {
            match step {
                Step::Member(name) if shown.is_empty() => shown.push_str(name),
                Step::Member(name) => shown.extend([".", name]),
                Step::Element(index) => shown.push_str(&format!("[{index}]")),
                Step::Every => shown.push_str("[*]"),
            }
        }
        shown.extend([".", &self.name]);
        shown
    }

    /// Whether another one would write the same member.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.objects == other.objects && self.name == other.name
    }

    /// Whether what `kept` names is, holds, or is in what is put in.
    pub fn is_touched_by(&self, kept: &Path) -> bool {
        let own = self.objects.steps().iter();
        let fits = |own: &Step, kept: &Step| match (own, kept) {
            (Step::Every, Step::Element(_)) | (Step::Element(_), Step::Every) => true,
            (own, kept) => own == kept,
        };
        let count = own.len();
        let objects = own.zip(kept.steps()).all(|(own, kept)| fits(own, kept));
        let member = |step: &Step| matches!(step, Step::Member(name) if *name == self.name);
        objects && kept.steps().get(count).is_none_or(member)
    }

    /// Writes `source` with the answers in it to `out`. `answers` is the object of all answers, `stand_in` what stands
    /// next to an element that has none there.
    ///
    /// # Errors
    /// It would be too large, or is nested too deep. Without answers and a stand-in it is neither.
    pub fn put(
        &self,
        source: &[u8],
        answers: Option<&[u8]>,
        stand_in: Option<&[u8]>,
        tokens: &mut Tokens,
        out: &mut Vec<u8>,
    ) -> Result<(), PartFault> {
        out.clear();
        let mut known = HashMap::new();
        if let Some(text) = answers {
            let document = json::index(text, tokens)?;
            for (_, value) in document.members(0) {
                // A key and its colon stand before a value.
                let key = scalar(document.value(value - 2).of(text));
                key.and_then(|key| known.insert(key, document.value(value).of(text)));
            }
        }
        let document = json::index(source, tokens)?;
        let mut copied = 0;
        for object in self.objects.walk(&document) {
            let member =
                document.members(object).filter(|(key, _)| document.spells(key, &self.element));
            let element = member.last().map(|(_, element)| element);
            let text = element.and_then(|at| scalar(document.value(at).of(source)));
            let found = text.and_then(|text| known.get(&text).copied().or(stand_in));
            copied = match (element, found) {
                (Some(element), Some(answer)) => {
                    self.put_one(&document, object, element, answer, copied, out)
                }
                _ => self.drive_out(&document, object, copied, out),
            };
            if out.len() + source.len() - copied > MERGE_BYTES_MAX {
                return Err(PartFault::TooLarge);
            }
        }
        out.extend_from_slice(&source[copied..]);
        tokens.trim();
        // An answer is as many levels deeper as the place that it stands in.
        json::check(out)?;
        Ok(())
    }

    /// Copies an object with its answer, and all before it that was not copied; says how far that was.
    fn put_one(
        &self,
        document: &Document<'_>,
        object: usize,
        element: usize,
        answer: &[u8],
        copied: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let source = document.text();
        let (start, end) = span_of(document, element);
        if self.name == self.element {
            out.extend_from_slice(&source[copied..start]);
            out.extend_from_slice(answer);
            return end;
        }
        let driven_out = |key: &[u8]| document.spells(key, &self.name);
        if !document.members(object).any(|(key, _)| driven_out(key)) {
            out.extend_from_slice(&source[copied..end]);
            out.extend_from_slice(&self.key_text);
            out.extend_from_slice(answer);
            return end;
        }
        self.write_anew(document, object, Some((element, answer)), copied, out)
    }

    /// The same for an object that has no answer: what its origin put in the place of one does not stay.
    fn drive_out(
        &self,
        document: &Document<'_>,
        object: usize,
        copied: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let source = document.text();
        // No element is none, also where the answer would stand in its place.
        let no_element =
            |value: usize| self.name == self.element && document.value(value).of(source) == b"null";
        let mut members = document.members(object);
        if !members.any(|(key, value)| document.spells(key, &self.name) && !no_element(value)) {
            return copied;
        }
        self.write_anew(document, object, None, copied, out)
    }

    /// Copies an object without members of this name, but with the answer behind its element.
    fn write_anew(
        &self,
        document: &Document<'_>,
        object: usize,
        answer: Option<(usize, &[u8])>,
        copied: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let source = document.text();
        let (brace, _) = span_of(document, object);
        out.extend_from_slice(&source[copied..=brace]);
        let (mut copied, mut lead) = (brace + 1, &b""[..]);
        for (key, value) in document.members(object) {
            let (_, value_end) = span_of(document, value);
            copied = value_end;
            if document.spells(key, &self.name) {
                continue;
            }
            let (key_start, _) = span_of(document, value - 2);
            out.extend_from_slice(lead);
            out.extend_from_slice(&source[key_start..value_end]);
            lead = b",";
            if let Some((element, answer)) = answer
                && value == element
            {
                out.extend_from_slice(&self.key_text);
                out.extend_from_slice(answer);
            }
        }
        copied
    }
}

fn span_of(document: &Document<'_>, at: usize) -> (usize, usize) {
    let span = document.value(at);
    (span.start as usize, span.end as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(of: &str, name: &str, source: &str, answers: &str) -> String {
        let embed = Embed::of(&Path::parse(of).expect("a path"), name).expect("members");
        let (mut out, mut tokens) = (Vec::new(), Tokens::default());
        let (source, answers) = (source.as_bytes(), answers.as_bytes());
        embed.put(source, Some(answers), None, &mut tokens, &mut out).expect("small");
        json::check(&out).expect("JSON");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn an_answer_stands_behind_its_element_and_every_other_byte_stays() {
        let answers = r#"{"7":{"n":1.0},"a\"b":[ ]}"#;
        for (source, expected) in [
            (
                r#"[ {"u":7 , "x":1e2},{"u":7}]"#,
                r#"[ {"u":7,"user":{"n":1.0} , "x":1e2},{"u":7,"user":{"n":1.0}}]"#,
            ),
            (r#"[{"x":0,"u":"a\"b"}]"#, r#"[{"x":0,"u":"a\"b","user":[ ]}]"#),
            (
                r#"[{"u":"7"},{"u":8},{"u":null},{},5]"#,
                r#"[{"u":"7","user":{"n":1.0}},{"u":8},{"u":null},{},5]"#,
            ),
            (r#"[{"u":8,"u":7}]"#, r#"[{"u":8,"u":7,"user":{"n":1.0}}]"#),
            (r#"[{"\u0075":7}]"#, r#"[{"\u0075":7,"user":{"n":1.0}}]"#),
            ("{}", "{}"),
            ("[]", "[]"),
        ] {
            assert_eq!(put("[*].u", "user", source, answers), expected);
        }
    }

    #[test]
    fn a_member_of_this_name_is_driven_out() {
        for (source, expected) in [
            (r#"[{"user":0,"u":7}]"#, r#"[{"u":7,"user":1}]"#),
            (r#"[{"u":7, "user" : {"a":[]} }]"#, r#"[{"u":7,"user":1 }]"#),
            (
                r#"[{"user":0 ,"user":2,"x" :3,"u":7,"\u0075ser":4}]"#,
                r#"[{"x" :3,"u":7,"user":1}]"#,
            ),
            (r#"[{"user":0}, {"u":null,"user":1 ,"x":2}]"#, r#"[{}, {"u":null,"x":2}]"#),
            (r#"[{"u":{"user":3},"user":0},{"user":0,"u":8}]"#, r#"[{"u":{"user":3}},{"u":8}]"#),
        ] {
            assert_eq!(put("[*].u", "user", source, r#"{"7":1}"#), expected);
        }
        assert_eq!(
            put("[*].u", "u", r#"[{"u" : 7,"x":0}]"#, r#"{"7":{"id":7}}"#),
            r#"[{"u" : {"id":7},"x":0}]"#
        );
        assert_eq!(
            put("[*].u", "u", r#"[{"u":{"id":7},"x":0},{"u":8},{"u":null}]"#, r#"{"7":1}"#),
            r#"[{"x":0},{},{"u":null}]"#
        );
    }

    #[test]
    fn nested_arrays_are_entered() {
        let source = r#"{"a":[{"b":[{"u":1},{"u":2}]},{"b":[{"u":2}]}],"z":0}"#;
        let expected =
            r#"{"a":[{"b":[{"u":1,"n":"x"},{"u":2,"n":"y"}]},{"b":[{"u":2,"n":"y"}]}],"z":0}"#;
        assert_eq!(put("a[*].b[*].u", "n", source, r#"{"1":"x","2":"y"}"#), expected);
    }

    #[test]
    fn elements_that_are_no_members_have_no_place_beside_them() {
        let of = |path: &str| Embed::of(&Path::parse(path).expect("a path"), "x");
        assert!(of("ids[*]").is_none() && of("[*][0]").is_none());
        assert!(of("[*].id").is_some() && of("a[*].b.id").is_some());
    }

    #[test]
    fn one_answer_for_many_elements_is_bounded() {
        let embed = Embed::of(&Path::parse("[*].u").expect("a path"), "x").expect("members");
        let source = format!("[{}]", vec!["{\"u\":1}"; 100].join(","));
        let answers = format!("{{\"1\":\"{}\"}}", "x".repeat(MERGE_BYTES_MAX / 50));
        let (mut tokens, mut out) = (Tokens::default(), Vec::new());
        let put =
            embed.put(source.as_bytes(), Some(answers.as_bytes()), None, &mut tokens, &mut out);
        assert_eq!(put, Err(PartFault::TooLarge));
        assert!(out.len() < MERGE_BYTES_MAX + MERGE_BYTES_MAX / 25);
    }

    #[test]
    fn an_answer_that_does_not_fit_leaves_nothing_forged_behind() {
        let embed = Embed::of(&Path::parse("[*].u").expect("a path"), "x").expect("members");
        let levels = crate::base::limits::JSON_DEPTH_MAX - 1;
        let answers = format!("{{\"1\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let source = b"[{\"u\":1,\"x\":\"forged\"}]";
        let (mut tokens, mut out) = (Tokens::default(), Vec::new());
        let deep = embed.put(source, Some(answers.as_bytes()), None, &mut tokens, &mut out);
        assert_eq!(deep, Err(PartFault::TooDeep), "one level more than the place leaves");
        embed.put(source, None, Some(b"null"), &mut tokens, &mut out).expect("the stand-in");
        assert_eq!(out, b"[{\"u\":1,\"x\":null}]");
        embed.put(source, None, None, &mut tokens, &mut out).expect("nothing");
        assert_eq!(out, b"[{\"u\":1}]");
    }

    #[test]
    fn paths_that_meet_what_is_put_in() {
        let embed =
            Embed::of(&Path::parse("items[*].user_id").expect("a path"), "user").expect("members");
        let touched = |path: &str| embed.is_touched_by(&Path::parse(path).expect("a path"));
        for path in [
            "items",
            "items[*]",
            "items[0]",
            "items[*].user",
            "items[*].user.name",
            "items[3].user",
        ] {
            assert!(touched(path), "{path}");
        }
        for path in ["other", "items[*].user_id", "items[*].id", "items.user"] {
            assert!(!touched(path), "{path}");
        }
    }
}
