//! `ringway schema`: the configuration language, for editors (JSON Schema) or for people (Markdown).
//!
//! Both come from the one table of keys in `config/language.rs` and never say anything else.

use crate::cli::{OK, Said};
use crate::config;

/// The reference page, or the JSON Schema.
pub fn run(markdown: bool) -> Said {
    let mut out = if markdown { config::reference() } else { config::json_schema() };
    if !out.ends_with('\n') {
        out.push('\n');
    }
    Said { out, err: String::new(), code: OK }
}
