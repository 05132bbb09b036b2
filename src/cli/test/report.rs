//! What is printed about tests: for people a line each and what failed; for pipelines JSON.
//!
//! Nothing printed ever depends on real time, so that equal runs print equal texts.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cli::test::coverage::{Coverage, Missing};
use crate::config::{Config, SourceMap, Span};

/// How one test went.
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) span: Span,
    /// What was not as expected, line by line; empty: it passed.
    pub(super) told: Vec<String>,
    /// What upstreams received, if it failed.
    pub(super) received: Vec<String>,
}

/// Everything that is to be printed.
pub(super) struct Report<'a> {
    pub(super) config: &'a Config,
    pub(super) sources: &'a SourceMap,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) coverage: Coverage,
    /// What names of tests had to hold.
    pub(super) filter: Option<&'a str>,
}

/// `file:line` of a table.
fn place(sources: &SourceMap, span: Span) -> String {
    let place = sources.place(span);
    place.rsplit_once(':').map_or(place.clone(), |(line, _)| line.to_owned())
}

impl Report<'_> {
    /// Passed and failed.
    pub(super) fn counts(&self) -> (usize, usize) {
        let passed = self.outcomes.iter().filter(|outcome| outcome.told.is_empty()).count();
        (passed, self.outcomes.len() - passed)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for outcome in &self.outcomes {
            self.tell(outcome, &mut out);
        }
        let (passed, failed) = self.counts();
        match (self.outcomes.is_empty(), self.filter) {
            (false, _) => {
                let _ = writeln!(out, "\n{passed} passed, {failed} failed");
            }
            (true, Some(filter)) => {
                let _ = writeln!(out, "no test has `{filter}` in its name");
            }
            (true, None) => {
                out.push_str("no tests: write `[[test]]` (docs/testing-configurations.md)\n");
            }
        }
        self.tell_coverage(&mut out);
        out
    }

    fn tell(&self, outcome: &Outcome, out: &mut String) {
        let Outcome { name, span, told, received } = outcome;
        if told.is_empty() {
            let _ = writeln!(out, "ok   {name}");
            return;
        }
        let _ = writeln!(out, "FAIL {name}\n  --> {}", place(self.sources, *span));
        for line in told {
            let _ = writeln!(out, "   | {line}");
        }
        for line in received {
            let _ = writeln!(out, "   = {line}");
        }
    }

    fn tell_coverage(&self, out: &mut String) {
        let [asked, routes, met, branches] = self.coverage.counts();
        let of = if self.filter.is_some() { ", by these tests alone" } else { "" };
        let _ = write!(out, "covered: {asked} of {routes} {}", word(routes, "route"));
        if branches > 0 {
            let _ = write!(out, ", {met} of {branches} {}", word(branches, "branch"));
        }
        let _ = writeln!(out, "{of}");
        for missing in self.coverage.missing() {
            let route = &self.config.routes[missing.route];
            let place = place(self.sources, route.span);
            let _ = writeln!(out, "  {place}: `{}`: {}", route.name.value, text(&missing));
        }
    }

    /// For pipelines.
    pub(super) fn json(&self) -> String {
        let (passed, failed) = self.counts();
        let test = |outcome: &Outcome| {
            json!({
                "name": outcome.name,
                "place": place(self.sources, outcome.span),
                "passed": outcome.told.is_empty(),
                "told": outcome.told,
                "received": outcome.received,
            })
        };
        let missing = |missing: Missing<'_>| {
            let route = &self.config.routes[missing.route];
            let branches: Vec<String> = missing.branches.iter().map(|one| one.text()).collect();
            json!({
                "route": route.name.value,
                "place": place(self.sources, route.span),
                "asked": missing.asked,
                "branches": branches,
            })
        };
        let [asked, routes, met, branches] = self.coverage.counts();
        let all = json!({
            "passed": passed,
            "failed": failed,
            "tests": self.outcomes.iter().map(test).collect::<Vec<Value>>(),
            "covered": {
                "routes": asked, "of_routes": routes, "branches": met, "of_branches": branches,
                "missing": self.coverage.missing().map(missing).collect::<Vec<Value>>(),
            },
        });
        format!("{all:#}\n")
    }
}

fn word(count: usize, one: &str) -> String {
    match (count, one) {
        (1, one) => one.to_owned(),
        (_, "branch") => "branches".to_owned(),
        (_, one) => format!("{one}s"),
    }
}

fn text(missing: &Missing<'_>) -> String {
    if !missing.asked {
        return "no test asks for it".to_owned();
    }
    let branches: Vec<String> = missing.branches.iter().map(|branch| branch.text()).collect();
    format!("never seen: {}", branches.join(", "))
}
