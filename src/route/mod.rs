//! Which route is this? (CONFIG.md rule 2)
//!
//! Precedence is one total order, stated in `rank.rs`: exact host over wildcard over any, then literal
//! over `{name}` over `{*rest}` segment by segment, then more conditions over fewer (methods count as
//! one), then order in the file. A route that does not fit in full is passed over, never half taken.
//! Finding one never allocates and costs the same for ten routes as for ten thousand: one hash look-up
//! for the host and one for each segment, in tables laid out so that each look-up costs a line or two of the
//! cache. The tree is a tree: no node is visited twice.

pub mod explain;
pub mod fuzz;
mod index;
pub mod matcher;
pub mod pattern;
pub mod rank;
pub mod spelling;
mod tree;

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::base::ids::RouteId;
use crate::exchange::params::Params;
use crate::http::head::Request;
use crate::route::pattern::{HostPattern, Pattern};
use crate::route::rank::{Clash, Problems};
use crate::route::spelling::{Delimiter, OtherReading, PathFault, PathScratch, PathSpelling};
use crate::route::tree::{Forest, NodeId, Planting, Search};

/// Finds routes. Compiled, immutable, shared by all cores.
#[derive(Debug)]
pub struct Router {
    exact: Roots,
    wildcards: Roots,
    any: NodeId,
    forest: Forest,
    patterns: Box<[Pattern]>,
}

/// Roots of trees by host; hosts are the operator's, so a fixed hash is enough.
type Roots = HashMap<Box<[u8]>, NodeId, FixedState>;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This route.
    Route(RouteId),
    /// Routes match in all but the method; these are the methods they take (for the Allow field).
    MethodRefused(Allow),
    /// Nothing matches.
    Missing,
    /// The path is spelt in a way that is not taken.
    PathRefused(PathFault),
}

/// Longest host that is looked up (RFC 1035 §2.3.4). Unit: bytes.
const HOST_BYTES_MAX: usize = 255;

impl Router {
    /// A router over `patterns`, whose order is that of the file.
    ///
    /// # Errors
    /// Pairs of routes that can never be told apart.
    pub fn build(patterns: Vec<Pattern>) -> Result<(Self, Vec<Clash>), Vec<Clash>> {
        let Problems { clashes, shadowed } = rank::problems(&patterns);
        if !clashes.is_empty() {
            return Err(clashes);
        }
        let mut ordered: Vec<(usize, &Pattern)> = patterns.iter().enumerate().collect();
        ordered.sort_by_key(|(place, pattern)| rank::among_equal_paths(pattern, *place));
        let (mut exact, mut wildcards) = (Roots::default(), Roots::default());
        let mut planting = Planting::of(patterns.len());
        let any = planting.root();
        for (_, pattern) in ordered {
            let (roots, host) = match &pattern.host {
                HostPattern::Any => {
                    planting.insert(any, pattern);
                    continue;
                }
                HostPattern::Exact(host) => (&mut exact, host),
                HostPattern::Wildcard(suffix) => (&mut wildcards, suffix),
            };
            let host = host.to_ascii_lowercase().into_bytes().into();
            let root = *roots.entry(host).or_insert_with(|| planting.root());
            planting.insert(root, pattern);
        }
        let forest = planting.grown();
        let router = Self { exact, wildcards, any, forest, patterns: patterns.into() };
        Ok((router, shadowed))
    }

    /// The best route for a request; its parameters go to `params`.
    pub fn find(
        &self,
        request: Request<'_>,
        spelling: &PathSpelling,
        params: &mut Params,
        scratch: &mut PathScratch,
    ) -> Found {
        params.clear();
        let path = request.path();
        if let Err(fault) = scratch.split(path, spelling) {
            return Found::PathRefused(fault);
        }
        let found = self.find_as_split(request, path, params, scratch);
        match found {
            Found::Route(_) => self.refuse_other(request, path, found, spelling, scratch),
            _ => found,
        }
    }

    /// The best route for a path that was split.
    fn find_as_split(
        &self,
        request: Request<'_>,
        path: &[u8],
        params: &mut Params,
        scratch: &PathScratch,
    ) -> Found {
        let allow = Allow::default();
        let mut search = Search { request, path, scratch, params, allow, look_alike: false };
        match self.search(&mut search) {
            // Were it served, an origin might read the path of a better route, whose policies are not asked.
            Some(_) if search.look_alike => Found::PathRefused(PathFault::LookAlike),
            Some(route) => Found::Route(route),
            None if search.allow.is_empty() => Found::Missing,
            None => Found::MethodRefused(search.allow),
        }
    }

    /// What was found, unless an origin that merges slashes or decodes them early would find another.
    fn refuse_other(
        &self,
        request: Request<'_>,
        path: &[u8],
        found: Found,
        spelling: &PathSpelling,
        scratch: &mut PathScratch,
    ) -> Found {
        let Some((mut other, fault)) = scratch.other_reading(path) else { return found };
        let OtherReading { path, scratch: split } = &mut *other;
        let strict = PathSpelling { encoded_slash: Delimiter::Refuse, ..*spelling };
        let again = match split.split(path, &strict) {
            Ok(()) => self.find_as_split(request, path, &mut Params::default(), split),
            Err(fault) => Found::PathRefused(fault),
        };
        scratch.other = Some(other);
        if again == found { found } else { Found::PathRefused(fault) }
    }

    fn search(&self, search: &mut Search<'_>) -> Option<RouteId> {
        let mut name = [0; HOST_BYTES_MAX];
        if let Some(host) = lowercase(search.request.host(), &mut name) {
            let exact = self.exact.get(host).and_then(|root| self.forest.find(*root, search));
            let found = exact.or_else(|| self.find_wildcard(host, search));
            if found.is_some() {
                return found;
            }
        }
        self.forest.find(self.any, search)
    }

    /// The longest suffix first.
    fn find_wildcard(&self, host: &[u8], search: &mut Search<'_>) -> Option<RouteId> {
        if self.wildcards.is_empty() {
            return None;
        }
        memchr::memchr_iter(b'.', host).find_map(|dot| {
            let root = self.wildcards.get(&host[dot + 1..])?;
            self.forest.find(*root, search)
        })
    }

    /// The patterns, in the order of the file.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }
}

/// The host in lower case without a trailing dot; `None` when there is none, or it is too long for one.
fn lowercase<'n>(host: &[u8], name: &'n mut [u8; HOST_BYTES_MAX]) -> Option<&'n [u8]> {
    let host = host.strip_suffix(b".").unwrap_or(host);
    let name = name.get_mut(..host.len()).filter(|name| !name.is_empty())?;
    name.copy_from_slice(host);
    name.make_ascii_lowercase();
    Some(name)
}

/// Methods as the value of an Allow field (RFC 9110 §10.2.1), in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow {
    text: [u8; Self::BYTES_MAX],
    len: u8,
}

impl Default for Allow {
    fn default() -> Self {
        Self { text: [0; Self::BYTES_MAX], len: 0 }
    }
}

impl Allow {
    /// The registered methods of RFC 9110 and PATCH fit, with room to spare. Unit: bytes.
    const BYTES_MAX: usize = 96;

    /// The value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len as usize]
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn add(&mut self, name: &str) {
        let known = self.as_bytes().split(|byte| *byte == b',');
        let known = known.map(<[u8]>::trim_ascii).any(|known| known == name.as_bytes());
        let separator = if self.is_empty() { "" } else { ", " };
        let start = self.len as usize;
        let end = start + separator.len() + name.len();
        if known || end > Self::BYTES_MAX {
            return;
        }
        self.text[start..start + separator.len()].copy_from_slice(separator.as_bytes());
        self.text[start + separator.len()..end].copy_from_slice(name.as_bytes());
        self.len = end as u8;
        if name == "GET" {
            self.add("HEAD");
        }
    }
}

#[cfg(test)]
mod tests;
