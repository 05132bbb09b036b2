//! `ringway check`: a configuration in, every mistake with its place out.
//!
//! It compiles all that `run` would, and never opens a socket or fetches a key.

use std::path::Path;

use crate::cli::{CONFIG, OK, Said};
use crate::compile::{AcmeOrder, AcmePlan, Compiled, compile};
use crate::config::{self, Diagnostics, Surroundings};
use crate::control::load::{self, Machine};
use crate::observe::plan::LabelBook;

/// Checks the configuration at `path`, or the default one.
pub fn run(path: Option<&Path>, json: bool) -> Said {
    with(&load::path(path), json, &Machine)
}

/// The same in the world `around`.
pub fn with(path: &Path, json: bool, around: &dyn Surroundings) -> Said {
    let (compiled, found) = compiled(path, around);
    let code = if compiled.is_some() { OK } else { CONFIG };
    if json {
        return Said { out: format!("{}\n", found.render_json()), err: String::new(), code };
    }
    let out = compiled.as_ref().map_or(String::new(), |compiled| summary(path, compiled));
    Said { out, err: found.render(), code }
}

/// The configuration at `path`, compiled for being looked at, and all that is to be said about it.
pub(super) fn compiled(path: &Path, around: &dyn Surroundings) -> (Option<Compiled>, Diagnostics) {
    let (config, found) = config::load_with_tests(path, around);
    // Nothing is counted here, so that any seed does.
    compile(&config, found, around, 0, &mut LabelBook::default(), None)
}

/// "ringway.toml: ok, 1 listener, 3 routes, 2 upstreams".
fn summary(path: &Path, compiled: &Compiled) -> String {
    let gateway = &compiled.gateway;
    let counted = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        many => format!("{many} {word}s"),
    };
    let mut text = format!(
        "{}: ok, {}, {}, {}\n",
        path.display(),
        counted(gateway.listeners.len(), "listener"),
        counted(gateway.routes.len(), "route"),
        counted(gateway.upstreams.len(), "upstream"),
    );
    if let Some(plan) = &compiled.acme {
        plan.orders.iter().for_each(|order| obtained(plan, order, &mut text));
    }
    text
}

/// What would be done about a certificate; nothing is asked of the authority.
fn obtained(plan: &AcmePlan, order: &AcmeOrder, text: &mut String) {
    let (hosts, from) = (order.hosts.join(", "), &plan.directory);
    text.push_str(&match order.stored_until {
        Some(_) => format!(
            "{hosts}: is stored in {}, and would be renewed from {from}",
            plan.storage.display()
        ),
        None => format!("{hosts}: would be obtained from {from} by {}", plan.challenge.word()),
    });
    text.push('\n');
}
