//! `ringway check`: every mistake of a configuration, and nothing is started.
//!
//! It never opens a socket, and never stops at the first mistake.

use std::path::Path;

use crate::cli::{CONFIG, OK, Said};
use crate::control::load;
use crate::observe::plan::LabelBook;

/// Checks the configuration at `path`, or at the default place.
pub fn run(path: Option<&Path>, json: bool) -> Said {
    let path = load::path(path);
    let (compiled, found) = load::compiled(&path, &mut LabelBook::default(), None);
    let rendered = match (json, found.is_empty()) {
        (true, _) => found.render_json(),
        (false, true) => String::new(),
        (false, false) => found.render(),
    };
    let Some(compiled) = compiled else {
        return match json {
            true => Said { out: rendered, err: String::new(), code: CONFIG },
            false => Said { out: String::new(), err: rendered, code: CONFIG },
        };
    };
    if json {
        return Said { out: rendered, err: String::new(), code: OK };
    }
    let gateway = &compiled.gateway;
    let count =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let out = format!(
        "{}: ok, {}, {}, {}\n",
        path.display(),
        count(gateway.listeners.len(), "listener"),
        count(gateway.routes.len(), "route"),
        count(gateway.upstreams.len(), "upstream"),
    );
    Said { out, err: rendered, code: OK }
}
