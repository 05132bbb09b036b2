//! Promises about bytes from outside, for fuzz targets and the replay of their corpus: each function
//! takes any bytes and panics when a promise is broken.
//!
//! It is never called on a request's path.

use serde::de::IgnoredAny;

use crate::aggregate::json::{self, JsonFault, Pick};
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
            for path in ["a", "a[0].b", "[1]", "[0][0]"] {
                let found = Pick::parse(path).expect("a path of ours").find(data);
                assert!(found.is_none_or(|span| json::check(span.of(data)).is_ok()), "{path}");
            }
        }
        Err(JsonFault::TooDeep) => {}
        Err(fault) => assert!(!is_json, "refused JSON: {fault:?}"),
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
