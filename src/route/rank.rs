//! Which of two routes is better, and which can never be told apart. A total order, stated once.
//!
//! Hosts and segments are ranked by the search itself (`mod.rs`, `tree.rs`); here is what decides among
//! routes whose host and path are the same. Nothing here runs while a request waits.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::base::ids::RouteId;
use crate::route::pattern::{HostPattern, Pattern, Segment};

/// Two routes that cannot both be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The one that stands first in the order.
    pub first: RouteId,
    /// The one that is never reached.
    pub second: RouteId,
}

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
    let mut groups: HashMap<(String, &[Segment]), Vec<(usize, &Pattern)>> = HashMap::new();
    for (place, pattern) in patterns.iter().enumerate() {
        groups.entry((host_key(&pattern.host), &pattern.path)).or_default().push((place, pattern));
    }
    let mut problems = Problems { clashes: Vec::new(), shadowed: Vec::new() };
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| group[0].0);
    for mut group in groups {
        group.sort_by_key(|(place, pattern)| among_equal_paths(pattern, *place));
        for (at, (_, second)) in group.iter().enumerate() {
            let Some((_, first)) = group[..at].iter().find(|(_, first)| covers(first, second))
            else {
                continue;
            };
            let clash = Clash { first: first.route, second: second.route };
            if covers(second, first) {
                problems.clashes.push(clash);
            } else {
                problems.shadowed.push(clash);
            }
        }
    }
    problems
}

/// Whether `first` takes every request that `second` takes.
fn covers(first: &Pattern, second: &Pattern) -> bool {
    let methods = first.methods.is_empty()
        || (!second.methods.is_empty() && second.methods.iter().all(|m| first.methods.contains(m)));
    methods && first.conditions.iter().all(|condition| second.conditions.contains(condition))
}

fn host_key(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => "any".into(),
        HostPattern::Exact(host) => format!("exact {}", host.to_ascii_lowercase()),
        HostPattern::Wildcard(host) => format!("wildcard {}", host.to_ascii_lowercase()),
    }
}
