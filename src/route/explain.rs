//! Why a route won and every other one lost, in words; for `ringway explain` and for tests.
//!
//! It compares pattern by pattern, as a reader of the file would, and must agree with the search; it is
//! never used for a request.

use crate::base::ids::RouteId;
use crate::exchange::params::Params;
use crate::http::Method;
use crate::http::head::Request;
use crate::route::pattern::{HostPattern, Pattern, Segment};
use crate::route::spelling::{PathScratch, PathSpelling};
use crate::route::{Found, Router};

/// One route, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The route.
    pub route: RouteId,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a route that was considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the one.
    Won,
    /// It is for another host.
    OtherHost,
    /// Its path differs, first at this segment (from 1).
    OtherPath {
        /// Which segment.
        segment: usize,
    },
    /// It does not take the method.
    OtherMethod,
    /// This condition of its `when` (from 0) does not hold.
    Condition {
        /// Which condition.
        index: usize,
    },
    /// It fits, and a better one does, too.
    Outranked,
}

impl Router {
    /// What becomes of every route, in the order of the file, and what is found in the end.
    pub fn explain(
        &self,
        request: Request<'_>,
        spelling: &PathSpelling,
    ) -> (Found, Vec<Considered>) {
        let (mut params, mut scratch) = (Params::default(), PathScratch::default());
        let found = self.find(request, spelling, &mut params, &mut scratch);
        if matches!(found, Found::PathRefused(_)) {
            return (found, Vec::new());
        }
        let considered = self.patterns().iter().map(|pattern| {
            let outcome = if found == Found::Route(pattern.route) {
                Outcome::Won
            } else {
                lost(pattern, request, &scratch)
            };
            Considered { route: pattern.route, outcome }
        });
        (found, considered.collect())
    }
}

fn lost(pattern: &Pattern, request: Request<'_>, scratch: &PathScratch) -> Outcome {
    if !is_host(&pattern.host, request.host()) {
        return Outcome::OtherHost;
    }
    if let Some(segment) = differs_at(&pattern.path, request.path(), scratch) {
        return Outcome::OtherPath { segment };
    }
    let (method, text) = (request.head.method, request.method_text());
    let named =
        |names: &[super::pattern::MethodName]| names.iter().any(|m| m.accepts(method, text));
    let any = pattern.methods.is_empty() && method != Method::Connect;
    if !any && !named(&pattern.methods) {
        return Outcome::OtherMethod;
    }
    match pattern.conditions.iter().position(|condition| !condition.holds(request)) {
        Some(index) => Outcome::Condition { index },
        None => Outcome::Outranked,
    }
}

fn is_host(pattern: &HostPattern, host: &[u8]) -> bool {
    let host = host.strip_suffix(b".").unwrap_or(host);
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name.as_bytes().eq_ignore_ascii_case(host),
        HostPattern::Wildcard(suffix) => {
            let start = host.len().checked_sub(suffix.len());
            start.is_some_and(|start| {
                start > 1
                    && host[start - 1] == b'.'
                    && host[start..].eq_ignore_ascii_case(suffix.as_bytes())
            })
        }
    }
}

/// The first segment (from 1) at which a path is not what the pattern asks.
fn differs_at(pattern: &[Segment], path: &[u8], scratch: &PathScratch) -> Option<usize> {
    let count = scratch.segments.len();
    for (at, segment) in pattern.iter().enumerate() {
        let fits = match segment {
            Segment::Rest => return if at < count { None } else { Some(at + 1) },
            Segment::Literal(text) => at < count && scratch.text(at, path) == &**text,
            Segment::Param => at < count && !scratch.segments[at].raw.is_empty(),
        };
        if !fits {
            return Some(at + 1);
        }
    }
    if pattern.len() == count { None } else { Some(pattern.len() + 1) }
}
