//! `ringway schema`: the configuration language, for editors or for people.
//!
//! Both forms come from the one table of keys that also reads configurations; they can never disagree.

use crate::cli::{OK, Said};
use crate::config;

/// The JSON Schema, or the reference page in Markdown.
pub fn run(markdown: bool) -> Said {
    let mut out = if markdown { config::reference() } else { config::json_schema() };
    if !out.ends_with('\n') {
        out.push('\n');
    }
    Said { out, err: String::new(), code: OK }
}
