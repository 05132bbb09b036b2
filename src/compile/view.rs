//! Views: names of parts to indexes, paths to selections, conditions to tests.
//!
//! A view that could not be compiled is never left out in silence, since its clients would get more than
//! they should: its route does not compile.

use crate::aggregate::json::Path;
use crate::aggregate::{OnPartial, Plan, View};
use crate::base::name::Name;
use crate::compile::report::Report;
use crate::compile::route;
use crate::compile::template::Scope;
use crate::compile::{codes, reference};
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, Text};
use crate::gateway::view::{Claim, Client, Merge};

/// The merge with its views; `None` after an error in either.
pub fn compile(
    plan: Option<Plan>,
    parts: &[config::Part],
    scope: &Scope<'_>,
    report: &Report,
) -> Option<Merge> {
    let route = scope.route();
    // Mistakes in views are told even if the parts have some of their own.
    let kept: Vec<Option<Vec<_>>> =
        route.views.iter().map(|view| keep(view, parts, report)).collect();
    let claims: Vec<Option<Box<_>>> =
        route.views.iter().map(|view| claims(view, scope, report)).collect();
    let plan = plan?;
    let usual = on_partial(route.on_partial);
    let mut views = Vec::with_capacity(route.views.len());
    for ((view, kept), claims) in route.views.iter().zip(kept).zip(claims) {
        let (kept, claims) = (kept?, claims?);
        let how = view.on_partial.as_ref().map_or(usual, |word| on_partial(word.value));
        views.push(Client {
            name: Name::new(&view.name.value),
            conditions: route::conditions(&view.when.headers, &view.when.query).into(),
            hosts: view.when.hosts.iter().map(route::host).collect(),
            claims,
            view: cut(&plan, view, kept, how, report)?,
        });
    }
    let whole = View::whole(&plan, usual);
    Some(Merge::new(plan, whole, views))
}

fn on_partial(word: &str) -> OnPartial {
    if word == "fail" { OnPartial::Fail } else { OnPartial::Answer }
}

type Kept = (usize, Option<Path>);

/// What a view keeps, part by part; nothing for everything.
fn keep(view: &config::View, parts: &[config::Part], report: &Report) -> Option<Vec<Kept>> {
    let paths = view.keep.iter().flatten();
    let kept: Vec<Option<Kept>> = paths.map(|text| kept(text, parts, report)).collect();
    kept.into_iter().collect()
}

fn kept(text: &Text, parts: &[config::Part], report: &Report) -> Option<Kept> {
    let (name, inner) =
        text.value.split_at(text.value.find(['.', '[']).unwrap_or(text.value.len()));
    let Some(part) = parts.iter().position(|part| part.name.value == name) else {
        reference::unknown_part(name, report.inside(text, 0..name.len()), parts, report);
        return None;
    };
    if let Some(into) = parts[part].each.as_ref().and_then(|each| each.into.as_ref()) {
        let message =
            format!("`{name}` has no place of its own: its answers stand in another part");
        let span = report.inside(text, 0..name.len());
        let diagnostic = Diagnostic::error(codes::BAD_PATH, span, message);
        report.push(
            diagnostic.also(into.span, "as this member").help("keep it there: `part[*].name`"),
        );
        return None;
    }
    if inner.is_empty() {
        return Some((part, None));
    }
    let path = inner.strip_prefix('.').unwrap_or(inner);
    match Path::parse(path) {
        Ok(path) => Some((part, Some(path))),
        Err(error) => {
            let at = (text.value.len() - path.len() + error.offset).min(text.value.len());
            let span = report.inside(text, at..(at + 1).min(text.value.len()));
            let diagnostic = Diagnostic::error(codes::BAD_PATH, span, error.to_string());
            report.push(diagnostic.help("write `part`, `part.name` or `part.items[*].name`"));
            None
        }
    }
}

fn cut(
    plan: &Plan,
    view: &config::View,
    kept: Vec<Kept>,
    how: OnPartial,
    report: &Report,
) -> Option<View> {
    if view.keep.is_none() {
        return Some(View::whole(plan, how));
    }
    match View::of(plan, &kept, how) {
        Ok(view) => Some(view),
        Err((part, error)) => {
            let message = format!("what is kept of `{}`: {error}", plan.parts[part].name);
            report.error(codes::BAD_PATH, view.name.span, message);
            None
        }
    }
}

fn claims(view: &config::View, scope: &Scope<'_>, report: &Report) -> Option<Box<[Claim]>> {
    let mut claims = Vec::with_capacity(view.when.claims.len());
    let mut good = true;
    for condition in &view.when.claims {
        let name = &condition.name;
        if scope.route().policies.jwt.is_empty() {
            let message = "this view is for a claim, and the route asks for no token";
            let diagnostic = Diagnostic::error(codes::CLAIM_WITHOUT_JWT, name.span, message);
            report.push(scope.advise(diagnostic));
            good = false;
        }
        if name.value.split('.').any(str::is_empty) {
            let message = "a claim is a name, or names separated by dots";
            report.error(codes::BAD_PATH, name.span, message);
            good = false;
        }
        claims.push(Claim {
            path: name.value.split('.').map(Box::from).collect(),
            value: condition.value.as_ref().map(|value| value.value.as_str().into()),
        });
    }
    good.then(|| claims.into())
}
