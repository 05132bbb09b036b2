//! The labels of one Gateway, compiled: from ids to the words that metrics and the log show.
//!
//! Ids are numbered anew with every Gateway, but a counter must never go backwards. So names are entered
//! once, for the life of the process, into a [`LabelBook`], whose numbers never change; a [`RecordPlan`]
//! maps one Gateway's ids to these numbers. A route that vanishes keeps its totals, a name that comes
//! back goes on counting where it stopped, and no core's memory depends on a reload. The choice refused
//! was counters inside each Gateway: their totals would have to be carried over from every core.
//!
//! The book belongs to control, which shows it to admin; a core never sees it.

use std::collections::HashMap;

use crate::base::ids::{RouteId, UpstreamId};
use crate::base::limits::{
    LIMIT_LABELS_MAX, LOG_NAME_BYTES_MAX, PART_LABELS_MAX, ROUTE_LABELS_MAX, UPSTREAM_LABELS_MAX,
};
use crate::base::name::Name;
use crate::observe::limits::{LimitName, SeatsShown};
use crate::observe::line::escaped;
use crate::observe::log_rules::LogRules;
use crate::observe::names::value;
use crate::observe::span::SpanQueue;

/// A name's number in the [`LabelBook`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(pub u32);

impl Label {
    /// A request that no route matched.
    pub const NONE: Label = Label(0);
    /// A name behind the bound.
    pub const OTHER: Label = Label(1);

    /// The label as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Stands between the names of a route and of its part; no name has a control character.
pub const PART_SEPARATOR: char = '\u{1f}';

/// Every name of a route, part or upstream since the process started, numbered for good. Bounded: see
/// `ROUTE_LABELS_MAX` and `UPSTREAM_LABELS_MAX`.
#[derive(Clone, Debug)]
pub struct LabelBook {
    routes: Chapter,
    parts: Chapter,
    upstreams: Chapter,
    limits: Chapter,
    seats: Vec<SeatsShown>,
}

#[derive(Clone, Debug)]
struct Chapter {
    names: Vec<Name>,
    numbers: HashMap<Name, Label>,
    names_max: usize,
}

impl Default for LabelBook {
    fn default() -> Self {
        let (routes, upstreams) =
            (Chapter::new(ROUTE_LABELS_MAX), Chapter::new(UPSTREAM_LABELS_MAX));
        let (parts, limits) = (Chapter::new(PART_LABELS_MAX), Chapter::new(LIMIT_LABELS_MAX));
        Self { routes, parts, upstreams, limits, seats: Vec::new() }
    }
}

impl LabelBook {
    /// The names of routes by label.
    pub fn routes(&self) -> &[Name] {
        &self.routes.names
    }

    /// The names of parts by label, behind the name of their route and [`PART_SEPARATOR`].
    pub fn parts(&self) -> &[Name] {
        &self.parts.names
    }

    /// The names of limits by label, behind the word for their kind and [`PART_SEPARATOR`].
    pub fn limits(&self) -> &[Name] {
        &self.limits.names
    }

    /// The seats of the version in force.
    pub fn seats(&self) -> &[SeatsShown] {
        &self.seats
    }

    /// Replaces the seats that are shown: those of a version that is taken.
    pub fn show_seats(&mut self, seats: Vec<SeatsShown>) {
        self.seats = seats;
    }

    /// The names of upstreams by label.
    pub fn upstreams(&self) -> &[Name] {
        &self.upstreams.names
    }
}

impl Chapter {
    fn new(names_max: usize) -> Self {
        let names = vec![Name::new(value::ROUTE_NONE), Name::new(value::OTHER)];
        Self { names, numbers: HashMap::new(), names_max }
    }

    fn label(&mut self, name: &Name) -> Label {
        if let Some(label) = self.numbers.get(name) {
            return *label;
        }
        if self.names.len() >= self.names_max {
            return Label::OTHER;
        }
        let label = Label(self.names.len() as u32);
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), label);
        label
    }
}

/// What recording needs to know of one Gateway. Immutable; made when the Gateway is compiled.
#[derive(Debug)]
pub struct RecordPlan {
    /// By route, side by side: of their words nothing else is needed for each request.
    route_labels: Box<[Label]>,
    routes: Box<[RouteWords]>,
    upstreams: Box<[Words]>,
    limits: Box<[Words]>,
    query: bool,
    /// Rules of the access log; `None`: the whole JSON line of every request.
    log: Option<Box<LogRules>>,
    /// Where spans go; `None`: nowhere.
    spans: Option<Box<SpanQueue>>,
}

/// A route as the configuration has it: its name and the names of its parts (none unless it merges).
#[derive(Clone, Debug)]
pub struct RouteNames {
    /// The route's name.
    pub name: Name,
    /// Its parts' names, in plan order.
    pub parts: Vec<Name>,
    /// Its views' names, in the order of the file.
    pub views: Vec<Name>,
}

/// A label, and its name as it stands in a JSON string.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) label: Label,
    pub(crate) json: Box<[u8]>,
}

#[derive(Debug)]
struct RouteWords {
    words: Words,
    parts: Box<[Words]>,
    views: Box<[Box<[u8]>]>,
}

impl RecordPlan {
    /// The plan of a Gateway whose `routes` and `upstreams` stand in the order of their ids. `query`
    /// says whether queries are written to the access log; the default is no, because they often hold
    /// what should not be kept: tokens, addresses, names.
    pub fn new(
        book: &mut LabelBook,
        routes: &[RouteNames],
        upstreams: &[Name],
        query: bool,
    ) -> RecordPlan {
        let routes: Box<[RouteWords]> =
            routes.iter().map(|route| RouteWords::new(book, route)).collect();
        let upstreams = upstreams.iter().map(|name| Words::new(&mut book.upstreams, name));
        RecordPlan {
            route_labels: routes.iter().map(|route| route.words.label).collect(),
            routes,
            upstreams: upstreams.collect(),
            limits: Box::default(),
            query,
            log: None,
            spans: None,
        }
    }

    /// The same with these limits, in the order of their places.
    #[must_use]
    pub fn with_limits(self, book: &mut LabelBook, limits: &[LimitName]) -> RecordPlan {
        let words = |limit: &LimitName| {
            let label = book.limits.label(&limit.full());
            Words { label, json: json_of(&limit.name) }
        };
        RecordPlan { limits: limits.iter().map(words).collect(), ..self }
    }

    /// The same with these rules of the access log.
    #[must_use]
    pub fn with_log(self, log: Option<LogRules>) -> RecordPlan {
        RecordPlan { log: log.map(Box::new), ..self }
    }

    /// The same with this queue of spans.
    #[must_use]
    pub fn with_spans(self, spans: Option<SpanQueue>) -> RecordPlan {
        RecordPlan { spans: spans.map(Box::new), ..self }
    }

    /// Where spans go, if anywhere.
    #[inline]
    pub fn spans(&self) -> Option<&SpanQueue> {
        self.spans.as_deref()
    }

    /// The rules of the access log, where there are any.
    pub(crate) fn log(&self) -> Option<&LogRules> {
        self.log.as_deref()
    }

    /// The label of a limit.
    pub(crate) fn limit_label(&self, limit: u16) -> Label {
        self.limits.get(usize::from(limit)).map_or(Label::OTHER, |words| words.label)
    }

    /// The limit's name as it stands in a JSON string.
    pub(crate) fn limit_json(&self, limit: u16) -> &[u8] {
        self.limits.get(usize::from(limit)).map_or(b"", |words| &words.json)
    }

    /// The label of a route; `Label::NONE` without one.
    pub(crate) fn route_label(&self, route: Option<RouteId>) -> Label {
        let Some(route) = route else { return Label::NONE };
        self.route_labels.get(route.index()).copied().unwrap_or(Label::OTHER)
    }

    /// The route's name as it stands in a JSON string.
    pub(crate) fn route_json(&self, route: RouteId) -> &[u8] {
        self.routes.get(route.index()).map_or(b"", |route| &route.words.json)
    }

    /// The name of a route's part as it stands in a JSON string.
    pub(crate) fn part_json(&self, route: Option<RouteId>, part: u16) -> &[u8] {
        let route = route.and_then(|route| self.routes.get(route.index()));
        route.and_then(|route| route.parts.get(usize::from(part))).map_or(b"", |part| &part.json)
    }

    /// The label of a route's part.
    pub(crate) fn part_label(&self, route: Option<RouteId>, part: u16) -> Label {
        let route = route.and_then(|route| self.routes.get(route.index()));
        let part = route.and_then(|route| route.parts.get(usize::from(part)));
        part.map_or(Label::OTHER, |part| part.label)
    }

    /// The name of a route's view as it stands in a JSON string.
    pub(crate) fn view_json(&self, route: Option<RouteId>, view: u16) -> &[u8] {
        let route = route.and_then(|route| self.routes.get(route.index()));
        route.and_then(|route| route.views.get(usize::from(view))).map_or(b"", |json| json)
    }

    /// The label of an upstream.
    pub(crate) fn upstream_label(&self, upstream: UpstreamId) -> Label {
        self.upstreams.get(upstream.index()).map_or(Label::OTHER, |words| words.label)
    }

    /// The upstream's name as it stands in a JSON string.
    pub(crate) fn upstream_json(&self, upstream: UpstreamId) -> &[u8] {
        self.upstreams.get(upstream.index()).map_or(b"", |words| &words.json)
    }

    /// Whether queries are written to the access log.
    pub(crate) fn query(&self) -> bool {
        self.query
    }
}

impl Words {
    fn new(chapter: &mut Chapter, name: &Name) -> Self {
        Self { label: chapter.label(name), json: json_of(name) }
    }
}

impl RouteWords {
    fn new(book: &mut LabelBook, route: &RouteNames) -> Self {
        let part = |name: &Name| {
            let full = Name::new(&format!("{}{PART_SEPARATOR}{name}", route.name));
            Words { label: book.parts.label(&full), json: json_of(name) }
        };
        let parts = route.parts.iter().map(part).collect();
        let views = route.views.iter().map(json_of).collect();
        Self { words: Words::new(&mut book.routes, &route.name), parts, views }
    }
}

fn json_of(name: &Name) -> Box<[u8]> {
    escaped(name.as_str(), LOG_NAME_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str) -> RouteNames {
        RouteNames { name: Name::new(name), parts: Vec::new(), views: Vec::new() }
    }

    #[test]
    fn a_name_keeps_its_label_across_reloads() {
        let mut book = LabelBook::default();
        let before = RecordPlan::new(&mut book, &[route("a"), route("b")], &[], false);
        let after = RecordPlan::new(&mut book, &[route("c"), route("b")], &[], false);
        let label = |plan: &RecordPlan, id| plan.route_label(Some(RouteId(id)));
        assert_eq!(label(&before, 1), label(&after, 1));
        assert_ne!(label(&before, 0), label(&after, 0));
        assert_eq!(book.routes().len(), 5);
    }

    #[test]
    fn names_behind_the_bound_share_a_label() {
        let mut chapter = Chapter::new(3);
        assert_eq!(chapter.label(&Name::new("a")), Label(2));
        assert_eq!(chapter.label(&Name::new("b")), Label::OTHER);
        assert_eq!(chapter.label(&Name::new("a")), Label(2));
    }

    #[test]
    fn an_id_of_another_gateway_is_never_out_of_bounds() {
        let plan = RecordPlan::new(&mut LabelBook::default(), &[], &[], false);
        assert_eq!(plan.route_label(Some(RouteId(9))), Label::OTHER);
        assert_eq!(plan.upstream_label(UpstreamId(9)), Label::OTHER);
        assert!(plan.part_json(Some(RouteId(9)), 3).is_empty());
    }
}
