//! `ringway check`: a configuration in, every mistake with its place out.
//!
//! It compiles all that `run` would, and never opens a socket or fetches a key.

use std::path::Path;

use crate::cli::{CONFIG, OK, Said};
use crate::compile::{Border, Compiled, compile};
use crate::config::{self, Diagnostics, Surroundings};
use crate::control::load::{self, Machine};
use crate::gateway::route::Target;
use crate::observe::plan::LabelBook;

/// Checks the configuration at `path`, or the default one.
pub fn run(path: Option<&Path>, json: bool) -> Said {
    with(&load::path(path), json, &Machine)
}

/// The same in the world `around`.
pub fn with(path: &Path, json: bool, around: &dyn Surroundings) -> Said {
    let compiled = compiled(path, around);
    let (diagnostics, code) = match &compiled {
        Ok(compiled) => (&compiled.warnings, OK),
        Err(diagnostics) => (diagnostics, CONFIG),
    };
    if json {
        return Said { out: format!("{}\n", diagnostics.render_json()), err: String::new(), code };
    }
    let out = compiled.as_ref().map_or(String::new(), summary);
    Said { out, err: diagnostics.render(), code }
}

/// The configuration at `path`, compiled for being looked at.
///
/// # Errors
/// Everything that is wrong with it.
pub fn compiled(path: &Path, around: &dyn Surroundings) -> Result<Compiled, Diagnostics> {
    let (config, read) = config::load(path, around);
    let mut labels = LabelBook::default();
    // Nothing is counted here, so that any seed does.
    let seed = &mut || 0;
    let labels = &mut labels;
    compile(&config, read, Border { around, last: None, version: 0, labels, seed })
}

/// "ok: 3 routes, 2 upstreams, 1 listener".
fn summary(compiled: &Compiled) -> String {
    let gateway = &compiled.gateway;
    let counted = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        many => format!("{many} {word}s"),
    };
    let merges = gateway.routes.iter().filter(|route| matches!(route.target, Target::Aggregate(_)));
    format!(
        "ok: {} ({}), {}, {}\n",
        counted(gateway.routes.len(), "route"),
        counted(merges.count(), "merge"),
        counted(gateway.upstreams.len(), "upstream"),
        counted(gateway.listeners.len(), "listener"),
    )
}
