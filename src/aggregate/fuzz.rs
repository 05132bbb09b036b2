//! Promises about bytes from outside, for fuzz targets and the replay of their corpus: each function
//! takes any bytes and panics when a promise is broken.
//!
//! It is never called on a request's path.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::aggregate::json::{self, JsonFault, Path, Step, Tokens};
use crate::aggregate::select::Lists;
use crate::exchange::template::{Template, TemplateKind};

/// A text is JSON for us exactly when it is for serde_json, but for what is nested too deep; what a path
/// finds in it is JSON too.
pub fn json(data: &[u8]) {
    let text = std::str::from_utf8(data);
    let is_json = text.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    match json::check(data) {
        Ok(span) => {
            assert!(is_json, "accepted what is not JSON");
            assert_eq!(
                span.of(data),
                data.trim_ascii(),
                "the value is all but the space around it"
            );
            let mut tokens = Tokens::default();
            let document = json::index(data, &mut tokens).expect("the check accepted it");
            for path in ["a", "a[0].b", "[1]", "[0][0]", "[*]", "a[*].b", "[*][*]"] {
                let path = Path::parse(path).expect("a path of ours");
                for value in path.values(&document) {
                    assert!(json::check(value).is_ok(), "{path:?}");
                }
            }
        }
        Err(JsonFault::TooDeep) => {}
        Err(fault) => assert!(!is_json, "refused JSON: {fault:?}"),
    }
}

/// A selection does what the plainest reading of its lists says. The first line holds the lists: `+path` is kept,
/// `-path` dropped, `path=name` renamed; behind it stands the text.
pub fn select(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (Some(lists), Some(text)) = (lines.next(), lines.next()) else { return };
    let (Ok(lists), Ok(text)) = (std::str::from_utf8(lists), std::str::from_utf8(text)) else {
        return;
    };
    let mut tokens = Tokens::default();
    let Ok(document) = json::index(text.as_bytes(), &mut tokens) else { return };
    let (mut naive, mut ours) = (Naive::default(), Lists::default());
    for word in lists.split_ascii_whitespace() {
        let renamed = word.split_once('=');
        let path = renamed.map_or(word.trim_start_matches(['+', '-']), |(path, _)| path);
        let Ok(path) = Path::parse(path) else { continue };
        match (word.as_bytes()[0], renamed) {
            (b'+', _) if ours.keep(&path).is_ok() => naive.keep.push(path),
            (b'-', _) if ours.leave(&path).is_ok() => naive.drop.push(path),
            (_, Some((_, name))) => match ours.clone().rename(&path, name) {
                Ok(()) => {
                    let same = ours.rename(&path, name);
                    assert!(same.is_ok(), "the copy took it");
                    naive.rename.push((path, name.to_owned()));
                }
                Err(_) => continue,
            },
            _ => continue,
        }
    }
    let value: &RawValue = serde_json::from_str(text).expect("checked");
    let expected = match naive.value(value, &mut Vec::new(), naive.keep.is_empty()) {
        _ if naive.is_empty() => return assert!(ours.compile().is_none()),
        Some(expected) => expected,
        None => "null".to_owned(),
    };
    let mut out = Vec::new();
    ours.compile().expect("lists that are not empty").apply(&document, 0, &mut out);
    assert_eq!(String::from_utf8_lossy(&out), expected, "{lists}");
    assert!(json::check(&out).is_ok());
}

/// The lists as they stand, followed value by value without any cleverness.
#[derive(Default)]
struct Naive {
    keep: Vec<Path>,
    drop: Vec<Path>,
    rename: Vec<(Path, String)>,
}

/// Where a value is: the name of a member as it is spelt, or the index of an element.
#[derive(Clone)]
enum Place {
    Name(Option<String>),
    Index(u32),
}

impl Naive {
    fn is_empty(&self) -> bool {
        self.keep.is_empty() && self.drop.is_empty() && self.rename.is_empty()
    }

    fn value(&self, raw: &RawValue, at: &mut Vec<Place>, kept: bool) -> Option<String> {
        let ends = |path: &Path| path.steps().len() == at.len() && leads(path, at);
        let passes = |path: &Path| path.steps().len() > at.len() && leads(path, at);
        if self.drop.iter().any(ends) {
            return None;
        }
        let kept = kept || self.keep.iter().any(ends);
        let edits = self.drop.iter().chain(self.rename.iter().map(|(path, _)| path)).any(passes);
        let inside = if kept { edits } else { self.keep.iter().any(passes) };
        match raw.get().as_bytes()[0] {
            b'{' if inside => Some(self.object(raw, at, kept)),
            b'[' if inside => {
                let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).expect("an array");
                let left = elements.iter().enumerate().filter_map(|(index, element)| {
                    at.push(Place::Index(index as u32));
                    let left = self.value(element, at, kept);
                    at.pop();
                    left
                });
                Some(format!("[{}]", left.collect::<Vec<_>>().join(",")))
            }
            _ => kept.then(|| raw.get().to_owned()),
        }
    }

    fn object(&self, raw: &RawValue, at: &mut Vec<Place>, kept: bool) -> String {
        let Pairs(pairs) = serde_json::from_str(raw.get()).expect("an object");
        // Old spelling, whether it is renamed, new spelling as a text, value.
        let mut left = Vec::new();
        for (name, value) in pairs {
            at.push(Place::Name(serde_json::from_str(name.get()).ok()));
            let renamed = self
                .rename
                .iter()
                .find(|(path, _)| path.steps().len() == at.len() && leads(path, at));
            let text = self.value(value, at, kept);
            at.pop();
            if let Some(text) = text {
                left.push((name, renamed.map(|(_, name)| name.clone()), text));
            }
        }
        let taken: Vec<String> = left.iter().filter_map(|(_, new, _)| new.clone()).collect();
        let members = left.into_iter().filter_map(|(name, new, text)| match new {
            Some(new) => Some(format!("{}:{text}", Value::from(new))),
            None => {
                let spelt = serde_json::from_str::<String>(name.get()).ok();
                let gives_way = spelt.is_some_and(|name| taken.contains(&name));
                (!gives_way).then(|| format!("{}:{text}", name.get()))
            }
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }
}

/// Whether a path's first steps lead to `at`.
fn leads(path: &Path, at: &[Place]) -> bool {
    path.steps().len() >= at.len()
        && path.steps().iter().zip(at).all(|(step, place)| match (step, place) {
            (Step::Member(name), Place::Name(Some(spelt))) => **name == **spelt,
            (Step::Element(wanted), Place::Index(index)) => wanted == index,
            (Step::Every, Place::Index(_)) => true,
            _ => false,
        })
}

/// The members of an object, repeated names and all, as written.
struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Any text is a template or an error that points into it.
pub fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let kinds = [
        TemplateKind::Target,
        TemplateKind::Location,
        TemplateKind::Field,
        TemplateKind::Json,
        TemplateKind::Plain,
    ];
    for kind in kinds {
        match Template::parse(text, kind, &["id", "*rest"]) {
            Ok(template) => assert!(template.references().count() <= text.len() / 3),
            Err(error) => {
                let end = error.offset + error.len;
                assert!(text.is_char_boundary(error.offset) && text.is_char_boundary(end));
            }
        }
    }
}
