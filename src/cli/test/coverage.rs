//! What tests have met of a configuration: routes, and the branches of each.
//!
//! A branch is what a route does only sometimes: an `else` that stands in, a view that is chosen, a token or a
//! rate that is refused. Coverage is told and never decides whether tests pass.

use serde_json::Value;

use crate::cli::test::world::Seen;
use crate::config::{Config, Route, Target};

/// What was met of each route, in the order of the file.
pub(super) struct Coverage {
    routes: Vec<Met>,
}

#[derive(Default)]
struct Met {
    asked: bool,
    branches: Vec<Branch>,
}

/// Something that a route does only sometimes.
pub(super) struct Branch {
    kind: Kind,
    name: String,
    met: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Else,
    View,
    Token,
    Limit,
}

impl Branch {
    fn new(kind: Kind, name: String) -> Self {
        Self { kind, name, met: false }
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        let name = &self.name;
        match self.kind {
            Kind::Else => format!("the `else` of `{name}`"),
            Kind::View => format!("the view `{name}`"),
            Kind::Token => format!("401 by jwt `{name}`"),
            Kind::Limit => format!("429 by limit {name}"),
        }
    }
}

/// What is missing of one route.
pub(super) struct Missing<'a> {
    /// Its index.
    pub(super) route: usize,
    /// Whether any test asked for it.
    pub(super) asked: bool,
    /// Branches that no test met.
    pub(super) branches: Vec<&'a Branch>,
}

impl Coverage {
    /// Nothing is met yet.
    pub(super) fn of(config: &Config) -> Self {
        let met = |route: &Route| Met { asked: false, branches: branches(route) };
        Self { routes: config.routes.iter().map(met).collect() }
    }

    /// Notes what a request has met; branches only where all was as expected.
    pub(super) fn note(&mut self, seen: &Seen, passed: bool) {
        let Some(met) = seen.route.and_then(|route| self.routes.get_mut(route.index())) else {
            return;
        };
        met.asked = true;
        if !passed {
            return;
        }
        let text = |name: &str| seen.line.get(name).and_then(Value::as_str).unwrap_or_default();
        let good = seen.line.get("status").and_then(Value::as_u64).is_some_and(|s| s < 300);
        let failed = seen.line.get("parts").and_then(Value::as_object);
        for branch in &mut met.branches {
            branch.met |= match branch.kind {
                Kind::Else => good && failed.is_some_and(|parts| parts.contains_key(&branch.name)),
                Kind::View => text("view") == branch.name,
                Kind::Token => text("fault") == "unauthorized",
                Kind::Limit => text("fault") == "rate_limited",
            };
        }
    }

    /// Routes met, and all; branches met, and all.
    pub(super) fn counts(&self) -> [usize; 4] {
        let branches = || self.routes.iter().flat_map(|met| &met.branches);
        let asked = self.routes.iter().filter(|met| met.asked).count();
        [
            asked,
            self.routes.len(),
            branches().filter(|branch| branch.met).count(),
            branches().count(),
        ]
    }

    /// What is missing, route by route.
    pub(super) fn missing(&self) -> impl Iterator<Item = Missing<'_>> {
        self.routes.iter().enumerate().filter_map(|(route, met)| {
            let branches: Vec<&Branch> = met.branches.iter().filter(|branch| !branch.met).collect();
            (!met.asked || !branches.is_empty()).then_some(Missing {
                route,
                asked: met.asked,
                branches,
            })
        })
    }
}

fn branches(route: &Route) -> Vec<Branch> {
    let mut all = Vec::new();
    if let Target::Merge(parts) = &route.target {
        let optional = parts.iter().filter(|part| part.fallback.is_some());
        all.extend(optional.map(|part| Branch::new(Kind::Else, part.name.value.clone())));
    }
    all.extend(route.views.iter().map(|view| Branch::new(Kind::View, view.name.value.clone())));
    all.extend(route.policies.jwt.iter().map(|jwt| Branch::new(Kind::Token, jwt.value.clone())));
    let limits: Vec<String> =
        route.policies.limits.iter().map(|limit| format!("`{}`", limit.value)).collect();
    if !limits.is_empty() {
        all.push(Branch::new(Kind::Limit, limits.join(" or ")));
    }
    all
}
