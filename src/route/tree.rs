//! A tree over decoded segments: literal children by hash, one parameter child, and what ends here.
//!
//! Search goes literal first, then parameter, then rest, and turns back where nothing fits. Every node
//! has one way to it, so that a search visits each at most once and, at each depth, at most two of a
//! node's children: it is bounded by the smaller of the tree and two to the power of the depth.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::base::ids::RouteId;
use crate::base::span::Span;
use crate::exchange::params::Params;
use crate::http::head::Request;
use crate::route::Allow;
use crate::route::matcher::Condition;
use crate::route::pattern::{MethodName, Pattern, Segment};
use crate::route::spelling::PathScratch;

/// The routes of one host.
#[derive(Debug, Default)]
pub(super) struct Tree {
    literals: HashMap<Box<[u8]>, Tree, FixedState>,
    param: Option<Box<Tree>>,
    ends: Vec<End>,
    rests: Vec<End>,
}

/// A route whose path ends here, and what else it asks.
#[derive(Debug)]
struct End {
    route: RouteId,
    methods: Box<[MethodName]>,
    conditions: Box<[Condition]>,
}

/// One search: the request, its segments, and what was learnt on the way.
pub(super) struct Search<'a> {
    pub(super) request: Request<'a>,
    pub(super) path: &'a [u8],
    pub(super) scratch: &'a PathScratch,
    pub(super) params: &'a mut Params,
    pub(super) allow: Allow,
}

impl Tree {
    /// Adds a pattern; among equal paths, those inserted first are asked first.
    pub(super) fn insert(&mut self, pattern: &Pattern) {
        let end = End {
            route: pattern.route,
            methods: pattern.methods.clone().into(),
            conditions: pattern.conditions.clone().into(),
        };
        let mut node = self;
        for segment in &pattern.path {
            match segment {
                Segment::Literal(text) => node = node.literals.entry(text.clone()).or_default(),
                Segment::Param => node = node.param.get_or_insert_default(),
                Segment::Rest => {
                    node.rests.push(end);
                    return;
                }
            }
        }
        node.ends.push(end);
    }

    /// The best route of this host.
    pub(super) fn find(&self, search: &mut Search<'_>) -> Option<RouteId> {
        let known = search.params.len();
        let found = self.walk(search, 0);
        if found.is_none() {
            search.params.truncate(known);
        }
        found
    }

    fn walk(&self, search: &mut Search<'_>, depth: usize) -> Option<RouteId> {
        if depth == search.scratch.segments.len() {
            return choose(&self.ends, search);
        }
        let text = search.scratch.text(depth, search.path);
        if let Some(child) = self.literals.get(text)
            && let Some(route) = child.walk(search, depth + 1)
        {
            return Some(route);
        }
        let raw = search.scratch.segments[depth].raw;
        let known = search.params.len();
        if let Some(child) = &self.param
            && !raw.is_empty()
        {
            search.params.push(raw);
            if let Some(route) = child.walk(search, depth + 1) {
                return Some(route);
            }
            search.params.truncate(known);
        }
        let route = choose(&self.rests, search)?;
        search.params.push(Span { start: raw.start, end: search.path.len() as u32 });
        Some(route)
    }
}

/// The first that fits in full; the methods of those that fit otherwise are noted.
fn choose(ends: &[End], search: &mut Search<'_>) -> Option<RouteId> {
    for end in ends {
        if !end.conditions.iter().all(|condition| condition.holds(search.request)) {
            continue;
        }
        let (method, text) = (search.request.head.method, search.request.method_text());
        let any = end.methods.is_empty();
        if any || end.methods.iter().any(|name| name.accepts(method, text)) {
            return Some(end.route);
        }
        for name in &end.methods {
            search.allow.add(&name.0);
        }
    }
    None
}
