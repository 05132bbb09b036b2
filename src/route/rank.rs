//! Which of two routes is better, and which can never be told apart. A total order, stated once.
//!
//! Hosts and segments are ranked by the search itself (`mod.rs`, `tree.rs`); here is what decides among
//! routes whose host and path are the same. Nothing here runs while a request waits.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::base::ids::RouteId;
use crate::http::Method;
use crate::route::matcher::Condition;
use crate::route::pattern::{HostPattern, MethodName, Pattern, Segment};

/// Two routes that cannot both be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The one that stands first in the order.
    pub first: RouteId,
    /// The one that is never reached.
    pub second: RouteId,
}

/// Patterns of one host and path, each with its place in the file.
type Group<'p> = Vec<(usize, &'p Pattern)>;

/// What is wrong with a set of patterns.
pub(super) struct Problems {
    /// Pairs that ask exactly the same.
    pub(super) clashes: Vec<Clash>,
    /// Pairs of which the first takes everything that the second asks for.
    pub(super) shadowed: Vec<Clash>,
}

/// The order among routes of one host and path: more conditions first, methods counting as one, then
/// the place in the file.
pub(super) fn among_equal_paths(pattern: &Pattern, place: usize) -> (Reverse<usize>, usize) {
    let methods = usize::from(!pattern.methods.is_empty());
    (Reverse(pattern.conditions.len() + methods), place)
}

/// Compares all routes of one host and path with one another.
pub(super) fn problems(patterns: &[Pattern]) -> Problems {
    let mut groups: HashMap<(String, &[Segment]), Group<'_>> = HashMap::new();
    for (place, pattern) in patterns.iter().enumerate() {
        groups.entry((host_key(&pattern.host), &pattern.path)).or_default().push((place, pattern));
    }
    let mut problems = Problems { clashes: Vec::new(), shadowed: Vec::new() };
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| group[0].0);
    for mut group in groups {
        group.sort_by_key(|(place, pattern)| among_equal_paths(pattern, *place));
        for (at, (_, second)) in group.iter().enumerate() {
            let before = || group[..at].iter().map(|(_, first)| *first);
            let same = before().find(|first| covers(first, second) && covers(second, first));
            let list = if same.is_some() { &mut problems.clashes } else { &mut problems.shadowed };
            if let Some(first) = same.or_else(|| before().find(|first| covers(first, second))) {
                list.push(Clash { first: first.route, second: second.route });
            }
        }
    }
    problems
}

/// Whether `first` takes every request that `second` takes.
fn covers(first: &Pattern, second: &Pattern) -> bool {
    let takes = |name: &MethodName| {
        first
            .methods
            .iter()
            .any(|own| own.accepts(Method::of(name.0.as_bytes()), name.0.as_bytes()))
    };
    let connects = second.methods.iter().any(|name| &*name.0 == "CONNECT");
    let methods = first.methods.is_empty() && !connects
        || (!second.methods.is_empty() && second.methods.iter().all(takes));
    let implied =
        |condition: &Condition| second.conditions.iter().any(|own| own.implies(condition));
    methods && first.conditions.iter().all(implied)
}

fn host_key(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => "any".into(),
        HostPattern::Exact(host) => format!("exact {}", host.to_ascii_lowercase()),
        HostPattern::Wildcard(host) => format!("wildcard {}", host.to_ascii_lowercase()),
    }
}
