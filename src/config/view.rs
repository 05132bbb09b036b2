//! `[route.view.NAME]`: which clients get which parts of a merge.
//!
//! A view without a condition would be the answer itself, so that each has one. What a view keeps is named
//! part by part; a view never adds anything to a merge.

use crate::base::limits::VIEWS_MAX;
use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::{VIEW, VIEW_WHEN};
use crate::config::matching::{self, Condition, Host};
use crate::config::reader::Reader;
use crate::config::span::{Span, Spanned, Text};
use crate::config::tree::{Entry, Kind, Log};

/// One kind of client, and what it gets.
#[derive(Clone, Debug)]
pub struct View {
    /// Its name.
    pub name: Text,
    /// Which clients it is for.
    pub when: ViewWhen,
    /// Parts, or paths that begin with a part; `None`: everything.
    pub keep: Option<Vec<Text>>,
    /// What a failed optional part does; `None`: what the route says.
    pub on_partial: Option<Spanned<&'static str>>,
}

/// The conditions of a view; all must hold.
#[derive(Clone, Debug)]
pub struct ViewWhen {
    /// Header fields, names in lower case.
    pub headers: Vec<Condition>,
    /// Query parameters.
    pub query: Vec<Condition>,
    /// Hosts, one of which it must be; empty: any.
    pub hosts: Vec<Host>,
    /// Claims; names are paths with dots.
    pub claims: Vec<Condition>,
}

/// Reads `view`.
pub(super) fn read(entries: &[Entry], place: Span, log: &Log) -> Vec<View> {
    if entries.len() > VIEWS_MAX {
        log.error(codes::OUT_OF_RANGE, place, format!("a merge has at most {VIEWS_MAX} views"));
    }
    entries.iter().filter_map(|entry| read_view(entry, log)).collect()
}

fn read_view(entry: &Entry, log: &Log) -> Option<View> {
    let reader = Reader::open(&VIEW, &entry.node, log)?;
    if reader.node("when").is_none() {
        reader.missing("when", "write `when = { header = { x-client = \"mobile\" } }`");
    }
    let when = reader.table("when", &VIEW_WHEN).map(|when| read_when(&when));
    let keep = reader.node("keep").map(|node| {
        let keep = reader.texts("keep");
        if matches!(&node.kind, Kind::Array(list) if list.is_empty()) {
            let message = format!("the view `{}` keeps nothing", entry.key.value);
            let diagnostic = Diagnostic::error(codes::BAD_VIEW, node.span, message);
            log.push(
                diagnostic.help("name parts, or what is in them: `[\"user.name\", \"unread\"]`"),
            );
        }
        keep
    });
    let on_partial = reader.choice("on_partial");
    Some(View { name: entry.key.clone(), when: when?, keep, on_partial })
}

fn read_when(reader: &Reader<'_>) -> ViewWhen {
    let when = matching::conditions(reader);
    let hosts = reader.texts("host");
    let hosts: Vec<Host> =
        hosts.into_iter().filter_map(|host| matching::read_host(host, reader.log)).collect();
    let claims = matching::read_conditions(reader, "jwt");
    let any = !when.headers.is_empty()
        || !when.query.is_empty()
        || !claims.is_empty()
        || reader.node("host").is_some();
    if !any && !reader.is_misspelt(&["header", "query", "host", "jwt"]) {
        let message = "this view is for every client";
        let diagnostic = Diagnostic::error(codes::BAD_VIEW, reader.place, message);
        reader.log.push(diagnostic.help("name a condition: header, query, host or jwt"));
    }
    ViewWhen { headers: when.headers, query: when.query, hosts, claims }
}
