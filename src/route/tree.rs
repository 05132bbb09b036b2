//! A tree over decoded segments: literal children by hash, one parameter child, and what ends here.
//!
//! Search goes literal first, then parameter, then rest, and turns back where nothing fits. Every node
//! has one way to it, so that a search never visits one twice and, at each depth, at most two of a
//! node's children: it is bounded by the smaller of the tree and two to the power of the depth. On its way
//! it notes segments that only read like a literal (`spelling.rs`); the router never serves past one.
//!
//! All hosts' trees lie in the same few arrays, and a literal child is found by one table for all: among
//! ten thousand routes each step costs a line of that table and a line of the node, where a hash map in
//! every node cost seven. That is what a request pays whose route was not asked for a while.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::base::ids::RouteId;
use crate::base::span::Span;
use crate::exchange::params::Params;
use crate::http::Method;
use crate::http::head::Request;
use crate::route::Allow;
use crate::route::index::Index;
use crate::route::matcher::Condition;
use crate::route::pattern::{MethodName, Pattern, Segment};
use crate::route::spelling::{self, PathScratch};

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

/// The trees of all hosts.
#[derive(Debug)]
pub(super) struct Forest {
    nodes: Box<[Node]>,
    /// Places of nodes by their parent and their text.
    literals: Index,
    /// Places of `folds` by their node and their text.
    folded: Index,
    folds: Box<[Fold]>,
    /// Those of one node, and of one kind, side by side.
    ends: Box<[End]>,
}

/// One node, in one line of the cache unless its text is long.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Node {
    /// The literal that leads here from the parent.
    text: Text,
    parent: u32,
    /// The parameter child; 0 is the root of a tree, and so nobody's child.
    param: u32,
    /// Routes whose path ends here.
    ends: Range,
    /// Routes that take all that is left.
    rests: Range,
    has_literals: bool,
    /// Whether some literal child is not its own folded text.
    has_odd: bool,
}

/// A part of `ends`.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    start: u32,
    count: u32,
}

/// A literal, in place where it is short.
#[derive(Debug)]
enum Text {
    Short { len: u8, bytes: [u8; Self::SHORT_BYTES_MAX] },
    Long(Box<[u8]>),
}

/// A literal as careless origins read it.
#[derive(Debug)]
struct Fold {
    node: NodeId,
    text: Box<[u8]>,
    /// The literal; `None` where several read alike.
    only: Option<Box<[u8]>>,
}

/// A route whose path ends here, and what else it asks.
#[derive(Debug)]
struct End {
    route: RouteId,
    /// The registered methods that it takes, a bit for each.
    known: u16,
    has_conditions: bool,
    /// Not touched where neither a method is named nor a condition.
    asks: Option<Box<Asks>>,
}

/// What a route asks besides its host and path.
#[derive(Debug)]
struct Asks {
    /// Names in the order of the file; none for any but CONNECT.
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

/// Something for each text below a node.
type Below<T> = HashMap<(NodeId, Box<[u8]>), T, FixedState>;

/// Trees that are still being made.
#[derive(Default)]
pub(super) struct Planting {
    nodes: Vec<Node>,
    children: Below<NodeId>,
    folded: Below<Option<Box<[u8]>>>,
    /// Node, whether it takes all that is left, and the route.
    ends: Vec<(NodeId, bool, End)>,
}

impl Planting {
    /// Room for about so many patterns.
    pub(super) fn of(patterns: usize) -> Self {
        let mut planting = Self::default();
        planting.nodes.reserve(patterns);
        planting.children.reserve(patterns);
        planting.folded.reserve(patterns);
        planting.ends.reserve(patterns);
        planting
    }

    /// The root of a further tree.
    pub(super) fn root(&mut self) -> NodeId {
        self.node(NodeId(0), &[])
    }

    fn node(&mut self, parent: NodeId, text: &[u8]) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { text: Text::new(text), parent: parent.0, ..Node::default() });
        id
    }

    /// Adds a pattern below a root; among equal paths, those inserted first are asked first.
    pub(super) fn insert(&mut self, root: NodeId, pattern: &Pattern) {
        let mut at = root;
        for segment in &pattern.path {
            match segment {
                Segment::Literal(text) => at = self.literal(at, text),
                Segment::Param => at = self.param(at),
                Segment::Rest => return self.ends.push((at, true, End::new(pattern))),
            }
        }
        self.ends.push((at, false, End::new(pattern)));
    }

    fn param(&mut self, parent: NodeId) -> NodeId {
        match self.nodes[parent.0 as usize].param {
            0 => {
                let child = self.node(parent, &[]);
                self.nodes[parent.0 as usize].param = child.0;
                child
            }
            child => NodeId(child),
        }
    }

    fn literal(&mut self, parent: NodeId, text: &[u8]) -> NodeId {
        if let Some(child) = self.children.get(&(parent, text.into())) {
            return *child;
        }
        let mut out = Vec::new();
        let span = spelling::fold(text, &mut out);
        let node = &mut self.nodes[parent.0 as usize];
        node.has_odd |= span.of(&out) != text;
        node.has_literals = true;
        let alike = self.folded.entry((parent, span.of(&out).into()));
        alike.and_modify(|only| *only = None).or_insert_with(|| Some(text.into()));
        let child = self.node(parent, text);
        self.children.insert((parent, text.into()), child);
        child
    }

    /// The trees as they are searched.
    pub(super) fn grown(mut self) -> Forest {
        // Stable: among those of one node, those inserted first stay first.
        self.ends.sort_by_key(|(node, is_rest, _)| (*node, *is_rest));
        for (place, (node, is_rest, _)) in self.ends.iter().enumerate() {
            let node = &mut self.nodes[node.0 as usize];
            let range = if *is_rest { &mut node.rests } else { &mut node.ends };
            range.start = if range.count == 0 { place as u32 } else { range.start };
            range.count += 1;
        }
        let children = self.children.iter();
        let literals =
            Index::new(children.map(|((node, text), child)| (hash(*node, text), child.0)));
        let folds = self.folded.into_iter().map(|((node, text), only)| Fold { node, text, only });
        let folds: Box<[Fold]> = folds.collect();
        let places = folds.iter().enumerate();
        let folded = Index::new(places.map(|(at, fold)| (hash(fold.node, &fold.text), at as u32)));
        Forest {
            nodes: self.nodes.into(),
            literals,
            folded,
            folds,
            ends: self.ends.into_iter().map(|(_, _, end)| end).collect(),
        }
    }
}

/// Texts are the operator's, so a fixed hash is enough.
fn hash(node: NodeId, text: &[u8]) -> u64 {
    FixedState::with_seed(u64::from(node.0)).hash_one(text)
}

impl Forest {
    /// The best route of the tree with this root.
    pub(super) fn find(&self, root: NodeId, search: &mut Search<'_>) -> Option<RouteId> {
        let known = search.params.len();
        let found = self.walk(root, search, 0);
        if found.is_none() {
            search.params.truncate(known);
        }
        found
    }

    fn walk(&self, at: NodeId, search: &mut Search<'_>, depth: usize) -> Option<RouteId> {
        let node = self.node(at);
        if depth == search.scratch.segments.len() {
            let route = choose(self.ends(node.ends), search);
            // `/admin` under a less specific route, beside `/admin/` or `/admin/{*rest}`.
            search.look_alike |= route.is_none() && self.has_longer(at, search.request);
            return route;
        }
        let text = search.scratch.text(depth, search.path);
        if let Some(child) = self.literal(at, text)
            && let Some(route) = self.walk(child, search, depth + 1)
        {
            return Some(route);
        }
        search.look_alike |= self.looks_alike(at, text, search.scratch.folded(depth));
        let raw = search.scratch.segments[depth].raw;
        let known = search.params.len();
        if node.param != 0 && !raw.is_empty() {
            search.params.push(raw);
            if let Some(route) = self.walk(NodeId(node.param), search, depth + 1) {
                return Some(route);
            }
            search.params.truncate(known);
        }
        let route = choose(self.ends(node.rests), search);
        // `/admin/` under a less specific route, beside `/admin`.
        let last = depth + 1 == search.scratch.segments.len();
        let slash = route.is_none() && last && raw.is_empty();
        search.look_alike |= slash && any_fits(self.ends(node.ends), search.request);
        let route = route?;
        search.params.push(Span { start: raw.start, end: search.path.len() as u32 });
        Some(route)
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn ends(&self, range: Range) -> &[End] {
        &self.ends[range.start as usize..(range.start + range.count) as usize]
    }

    /// The literal child of this text.
    fn literal(&self, at: NodeId, text: &[u8]) -> Option<NodeId> {
        if !self.node(at).has_literals {
            return None;
        }
        let is_it = |place: u32| {
            let child = &self.nodes[place as usize];
            child.parent == at.0 && child.text.as_bytes() == text
        };
        self.literals.find(hash(at, text), is_it).map(NodeId)
    }

    /// Whether some origin reads the segment as a literal child that it is not.
    fn looks_alike(&self, at: NodeId, text: &[u8], folded: Option<&[u8]>) -> bool {
        let node = self.node(at);
        if !node.has_literals || folded.is_none() && !node.has_odd {
            return false;
        }
        let read = folded.unwrap_or(text);
        let fold = |place: u32| &self.folds[place as usize];
        let is_it = |place| fold(place).node == at && *fold(place).text == *read;
        let alike = self.folded.find(hash(at, read), is_it);
        alike.is_some_and(|place| fold(place).only.as_deref() != Some(text))
    }

    /// Whether a slash more makes the path that ends here the path of a route that fits but for its method.
    fn has_longer(&self, at: NodeId, request: Request<'_>) -> bool {
        let fits = |range| any_fits(self.ends(range), request);
        let slash = || self.literal(at, b"").is_some_and(|slash| fits(self.node(slash).ends));
        fits(self.node(at).rests) || slash()
    }
}

impl Text {
    /// What fits beside the other fields in one line of the cache. Unit: bytes.
    const SHORT_BYTES_MAX: usize = 30;

    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; Self::SHORT_BYTES_MAX];
        match bytes.get_mut(..text.len()) {
            Some(short) => {
                short.copy_from_slice(text);
                Self::Short { len: text.len() as u8, bytes }
            }
            None => Self::Long(text.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(text) => text,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl End {
    fn new(pattern: &Pattern) -> Self {
        let registered = |name: &MethodName| match Method::of(name.0.as_bytes()) {
            Method::Other => 0,
            // GET stands for HEAD, too (RFC 9110 §9.3.2).
            Method::Get => bit(Method::Get) | bit(Method::Head),
            method => bit(method),
        };
        let Pattern { methods, conditions, .. } = pattern;
        let asks =
            || Asks { methods: methods.clone().into(), conditions: conditions.clone().into() };
        let known = match methods.is_empty() {
            // A tunnel is opened where it was asked for by name, and never by "any method".
            true => !bit(Method::Connect),
            false => methods.iter().fold(0, |known, name| known | registered(name)),
        };
        let has_any = !methods.is_empty() || !conditions.is_empty();
        Self {
            route: pattern.route,
            known,
            has_conditions: !conditions.is_empty(),
            asks: has_any.then(|| Box::new(asks())),
        }
    }

    fn methods(&self) -> &[MethodName] {
        self.asks.as_ref().map_or(&[], |asks| &asks.methods)
    }

    /// Whether it fits but for its method.
    fn fits(&self, request: Request<'_>) -> bool {
        let conditions = self.asks.as_ref().filter(|_| self.has_conditions);
        conditions.is_none_or(|asks| asks.conditions.iter().all(|one| one.holds(request)))
    }

    fn takes(&self, method: Method, text: &[u8]) -> bool {
        let named = || self.methods().iter().any(|name| name.accepts(method, text));
        self.known & bit(method) != 0 || method == Method::Other && named()
    }
}

fn bit(method: Method) -> u16 {
    1 << method as u16
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
        if end.takes(search.request.head.method, search.request.method_text()) {
            return Some(end.route);
        }
        for name in end.methods() {
            search.allow.add(&name.0);
        }
    }
    None
}
