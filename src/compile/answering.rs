//! What a route does to requests and answers on their way: rules for browsers, edits of fields.
//!
//! A route without any of it never gets an empty one: what is not there costs nothing.

use crate::compile::codes;
use crate::compile::report::Report;
use crate::compile::template::Scope;
use crate::config::{self, Origin, Text};
use crate::exchange::template::TemplateKind;
use crate::gateway::answering::Answering;
use crate::policy::cors::{Cors, Headers, OriginPattern, Origins, REPLACED};
use crate::policy::header_edit::{HeaderEdits, Line};

/// What the route does to its answers; `None` outside: an error was reported.
pub fn answers(scope: &Scope<'_>, report: &Report) -> Option<Option<Box<Answering>>> {
    let written = &scope.route().policies.answering;
    let edits = match &written.response_headers {
        Some(edits) => Some(compile(edits, scope, report)?),
        None => None,
    };
    let cors = written.cors.as_ref().map(cors);
    if cors.is_some()
        && let Some(edits) = &written.response_headers
        && !check_apart(edits, report)
    {
        return None;
    }
    if cors.is_none() && edits.is_none() {
        return Some(None);
    }
    let edits = edits.unwrap_or_default();
    let replaced = REPLACED.iter().filter(|_| cors.is_some()).map(|name| Box::from(*name));
    let dropped = edits.dropped.iter().cloned().chain(replaced).collect();
    Some(Some(Box::new(Answering { cors, edits, dropped })))
}

/// What the route does to requests that it sends on; as [`answers`].
pub fn requests(scope: &Scope<'_>, report: &Report) -> Option<Option<Box<HeaderEdits>>> {
    let edits = match &scope.route().policies.answering.request_headers {
        Some(edits) if matches!(scope.route().target, config::Target::Forward(_)) => edits,
        _ => return Some(None),
    };
    compile(edits, scope, report).map(|edits| Some(Box::new(edits)))
}

/// Two sources of one field would be two lines, and browsers take none then.
fn check_apart(edits: &config::HeaderEdits, report: &Report) -> bool {
    let names = edits.set.iter().chain(&edits.add).map(|(name, _)| name);
    let twice: Vec<&Text> = names.filter(|name| REPLACED.contains(&name.value.as_str())).collect();
    for name in &twice {
        let message = format!("`{}` is what `cors` of this route says", name.value);
        report.error(codes::RESERVED_FIELD, name.span, message);
    }
    twice.is_empty()
}

fn compile(
    written: &config::HeaderEdits,
    scope: &Scope<'_>,
    report: &Report,
) -> Option<HeaderEdits> {
    let line = |(name, value): &(Text, Text)| {
        let value = scope.compile(value, TemplateKind::Field, report)?;
        Some(Line { name: name.value.as_str().into(), value })
    };
    let lines: Vec<Option<Line>> = written.set.iter().chain(&written.add).map(line).collect();
    let lines: Option<Vec<Line>> = lines.into_iter().collect();
    let dropped = written.set.iter().map(|(name, _)| name).chain(&written.remove);
    Some(HeaderEdits {
        lines: lines?.into(),
        dropped: dropped.map(|name| name.value.as_str().into()).collect(),
        host: written.host.as_ref().map(|host| host.value.as_str().into()),
    })
}

fn cors(written: &config::Cors) -> Cors {
    let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    let pattern = |origin: &Origin| match origin {
        Origin::Exact(text) => OriginPattern::Exact(text.as_str().into()),
        Origin::Below(scheme, suffix) => {
            OriginPattern::Below { scheme: scheme.as_str().into(), suffix: suffix.as_str().into() }
        }
        Origin::AnyPort(start) => OriginPattern::AnyPort(start.as_str().into()),
    };
    Cors {
        origins: match written.origins.as_slice() {
            [] => Origins::Any,
            these => Origins::These(these.iter().map(pattern).collect()),
        },
        credentials: written.credentials,
        methods: boxed(&written.methods),
        headers: match &written.headers {
            Some(names) => Headers::These(boxed(names)),
            None => Headers::Any,
        },
        exposed: written.exposed.join(", ").into(),
        max_age: written.max_age.as_secs().to_string().into(),
        private_network: written.private_network,
    }
}
