//! `ringway explain`: what would happen to a request, in words. Nothing is sent.
//!
//! It never guesses: the router that serves requests answers here, too.

use std::path::Path;

use crate::cli::{CONFIG, Said};

/// Explains a request.
pub fn run(_path: Option<&Path>, _request: &str, _headers: &[String], _claims: &[String]) -> Said {
    Said { out: String::new(), err: "error: not built yet\n".into(), code: CONFIG }
}
