//! A tree over decoded segments: literal children by hash, one parameter child, and what ends here.
//!
//! Search goes literal first, then parameter, then rest, and turns back where nothing fits. Every node
//! has one way to it, so that a search never visits one twice and, at each depth, at most two of a
//! node's children: it is bounded by the smaller of the tree and two to the power of the depth. On its way
//! it notes segments that only read like a literal (`spelling.rs`); the router never serves past one.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::base::ids::RouteId;
use crate::base::span::Span;
use crate::exchange::params::Params;
use crate::http::Method;
use crate::http::head::Request;
use crate::route::Allow;
use crate::route::matcher::Condition;
use crate::route::pattern::{MethodName, Pattern, Segment};
use crate::route::spelling::{self, PathScratch};

/// Something for each text; the texts are the operator's, so a fixed hash is enough.
type ByText<T> = HashMap<Box<[u8]>, T, FixedState>;

/// The routes of one host.
#[derive(Debug, Default)]
pub(super) struct Tree {
    literals: ByText<Tree>,
    /// The literals as careless origins read them; `None` where several read alike.
    folded: ByText<Option<Box<[u8]>>>,
    /// Whether some literal is not its own folded text.
    has_odd: bool,
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
    /// Whether a segment so far reads like a literal that it is not.
    pub(super) look_alike: bool,
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
                Segment::Literal(text) => node = node.insert_literal(text),
                Segment::Param => node = node.param.get_or_insert_default(),
                Segment::Rest => {
                    node.rests.push(end);
                    return;
                }
            }
        }
        node.ends.push(end);
    }

    fn insert_literal(&mut self, text: &[u8]) -> &mut Tree {
        if !self.literals.contains_key(text) {
            let mut out = Vec::new();
            let span = spelling::fold(text, &mut out);
            self.has_odd |= span.of(&out) != text;
            let alike = self.folded.entry(span.of(&out).into());
            alike.and_modify(|only| *only = None).or_insert_with(|| Some(text.into()));
        }
        self.literals.entry(text.into()).or_default()
    }

    /// Whether some origin reads the segment as a literal child that it is not.
    fn looks_alike(&self, text: &[u8], folded: Option<&[u8]>) -> bool {
        if folded.is_none() && !self.has_odd || self.folded.is_empty() {
            return false;
        }
        let alike = self.folded.get(folded.unwrap_or(text));
        alike.is_some_and(|only| only.as_deref() != Some(text))
    }

    /// Whether a slash more makes the path that ends here the path of a route that fits but for its method.
    fn has_longer(&self, request: Request<'_>) -> bool {
        let slash = self.literals.get(&b""[..]);
        any_fits(&self.rests, request) || slash.is_some_and(|slash| any_fits(&slash.ends, request))
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
            let route = choose(&self.ends, search);
            // `/admin` under a less specific route, beside `/admin/` or `/admin/{*rest}`.
            search.look_alike |= route.is_none() && self.has_longer(search.request);
            return route;
        }
        let text = search.scratch.text(depth, search.path);
        if let Some(child) = self.literals.get(text)
            && let Some(route) = child.walk(search, depth + 1)
        {
            return Some(route);
        }
        search.look_alike |= self.looks_alike(text, search.scratch.folded(depth));
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
        let route = choose(&self.rests, search);
        // `/admin/` under a less specific route, beside `/admin`.
        let last = depth + 1 == search.scratch.segments.len();
        search.look_alike |=
            route.is_none() && last && raw.is_empty() && any_fits(&self.ends, search.request);
        let route = route?;
        search.params.push(Span { start: raw.start, end: search.path.len() as u32 });
        Some(route)
    }
}

impl End {
    /// Whether it fits but for its method.
    fn fits(&self, request: Request<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(request))
    }
}

/// Whether one fits but for its method. One whose conditions do not hold asks nothing of this request, so
/// that a path that reads like its own is no danger.
fn any_fits(ends: &[End], request: Request<'_>) -> bool {
    ends.iter().any(|end| end.fits(request))
}

/// The first that fits in full; the methods of those that fit otherwise are noted.
fn choose(ends: &[End], search: &mut Search<'_>) -> Option<RouteId> {
    for end in ends {
        if !end.fits(search.request) {
            continue;
        }
        let (method, text) = (search.request.head.method, search.request.method_text());
        // A tunnel is opened where it was asked for by name, and never by "any method".
        let any = end.methods.is_empty() && method != Method::Connect;
        if any || end.methods.iter().any(|name| name.accepts(method, text)) {
            return Some(end.route);
        }
        for name in &end.methods {
            search.allow.add(&name.0);
        }
    }
    None
}
