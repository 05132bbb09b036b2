//! `ringway audit`: every route that a client reaches without proving who it is, and whether that was meant.
//!
//! A route is open when no authentication policy holds for it. One that says so itself, by `allow` or by
//! opting out by name, was opened on purpose; one that only lacks a policy may have been forgotten, and makes
//! the command fail, so that a pipeline sees it. It reads what `run` would read and never sends anything.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::{CONFIG, FAILED, OK, Said};
use crate::compile::compile;
use crate::config::{self, Allow, Config, Diagnostics, Route, Surroundings, Target};
use crate::control::load::{self, Machine};
use crate::observe::plan::LabelBook;

/// What is asked of the command.
#[derive(Clone, Copy, Default)]
pub struct Wishes {
    /// Open routes fail the command even where they say that they are open.
    pub strict: bool,
    /// JSON instead of a table.
    pub json: bool,
}

/// Audits the configuration at `path`, or the default one.
pub fn run(path: Option<&Path>, wishes: Wishes) -> Said {
    with(&load::path(path), wishes, &Machine)
}

/// The same in the world `around`.
pub fn with(path: &Path, wishes: Wishes, around: &dyn Surroundings) -> Said {
    let (config, found) = config::load(path, around);
    let (compiled, found) = compile(&config, found, around, 0, &mut LabelBook::default(), None);
    if compiled.is_none() {
        return Said { out: String::new(), err: found.render(), code: CONFIG };
    }
    let open: Vec<Open> =
        config.routes.iter().filter_map(|route| Open::of(route, &found)).collect();
    let fails = open.iter().any(|open| wishes.strict || !open.meant);
    let out = if wishes.json { in_json(&config, &open) } else { in_words(&config, &open) };
    Said { out, err: String::new(), code: if fails { FAILED } else { OK } }
}

/// A route that asks for no credentials.
struct Open {
    name: String,
    place: String,
    target: &'static str,
    /// Whether the route itself says that it is open.
    meant: bool,
    /// From where it is reached.
    from: String,
}

impl Open {
    fn of(route: &Route, found: &Diagnostics) -> Option<Open> {
        let policies = &route.policies;
        if policies.authenticates() {
            return None;
        }
        let from = match &policies.allow.value {
            Allow::Nobody | Allow::Authenticated => return None,
            Allow::Rules(rules) if rules.iter().all(|rule| !rule.certs.is_empty()) => return None,
            Allow::Anyone => "anywhere".to_owned(),
            Allow::Rules(rules) => {
                let networks = rules.iter().flat_map(|rule| &rule.networks);
                let text = |says: bool, network: &config::Network| {
                    let (address, prefix) = network.prefix();
                    format!("{}{address}/{prefix}", if says { "" } else { "!" })
                };
                let networks: Vec<String> =
                    networks.map(|one| text(one.value.1, &one.value.0)).collect();
                match networks.as_slice() {
                    few if few.len() <= 4 => few.join(" "),
                    many => format!("{} and {} more", many[..3].join(" "), many.len() - 3),
                }
            }
        };
        Some(Open {
            name: route.name.value.clone(),
            place: found.sources.place(route.matches.text.span),
            target: match &route.target {
                Target::Forward(_) => "forward",
                Target::Merge(_) => "merge",
                Target::Redirect(_) => "redirect",
                Target::Respond(_) => "respond",
            },
            meant: policies.says_open.is_some(),
            from,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "route": self.name,
            "place": self.place,
            "target": self.target,
            "from": self.from,
            "declared": self.meant,
        })
    }
}

fn in_json(config: &Config, open: &[Open]) -> String {
    let open: Vec<Value> = open.iter().map(Open::to_json).collect();
    format!("{:#}\n", json!({ "routes": config.routes.len(), "open": open }))
}

fn in_words(config: &Config, open: &[Open]) -> String {
    let routes = config.routes.len();
    if open.is_empty() {
        return format!(
            "no open route among {routes}: every one asks for credentials or is closed\n"
        );
    }
    let mut text = format!("{} of {routes} routes ask for no credentials\n", open.len());
    for (meant, title) in
        [(false, "nobody said that these are open"), (true, "these say that they are open")]
    {
        let some: Vec<&Open> = open.iter().filter(|open| open.meant == meant).collect();
        if some.is_empty() {
            continue;
        }
        text.push_str(&format!("\n{title}\n"));
        let width = some.iter().map(|open| open.name.chars().count()).max().unwrap_or(0);
        for Open { name, place, target, from, .. } in some {
            text.push_str(&format!("  {name:width$}  {target:8}  from {from}  ({place})\n"));
        }
    }
    if open.iter().any(|open| !open.meant) {
        text.push_str(
            "\nname an issuer of tokens or another way to prove who asks, or open a route by name: `allow = \"anyone\"`\n\
             `[default]` with `allow = \"authenticated\"` closes what says nothing\n",
        );
    }
    text
}
