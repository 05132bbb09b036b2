//! `[auth_request.NAME]` on a route: who is asked, and what verdicts are remembered by.
//!
//! A key that no client differs in never compiles: the first one's verdict would be everybody's.

use crate::base::name::Name;
use crate::compile::codes;
use crate::compile::report::Report;
use crate::compile::route::Tables;
use crate::compile::template::Scope;
use crate::config;
use crate::config::diagnostic::Diagnostic;
use crate::exchange::template::{Reference, Template, TemplateKind};
use crate::policy::Policy;
use crate::policy::auth_request::{AuthRequest, AuthRules};

/// Fields by which services know what was asked for: never the client's own.
const OWN: [&str; 5] =
    ["x-original-uri", "x-original-method", "x-forwarded-uri", "x-forwarded-method", "if-range"];

/// The policy of a route, if it names a table.
pub fn compile(
    stock: &[config::AuthRequest],
    scope: &Scope<'_>,
    tables: &Tables<'_>,
    report: &Report,
) -> Option<Policy> {
    let name = scope.route().policies.auth_request.as_ref()?;
    if !tables.auth_requests.check(name, report) {
        return None;
    }
    let table = stock.iter().find(|table| table.name.value == name.value)?;
    check_apart(table, scope, report);
    let call = &table.to;
    let known = tables.upstreams.check(&call.upstream, report);
    let upstream = tables.ids.get(call.upstream.value.as_str()).copied().filter(|_| known)?;
    let target = scope.compile(call.target.as_ref()?, TemplateKind::Target, report)?;
    let cache = match &table.cache {
        Some((key, ttl)) => {
            let template = scope.compile(key, TemplateKind::Plain, report)?;
            if !tells_clients_apart(&template) {
                let message = "this key is the same for all clients: the first one's verdict would be everybody's";
                let diagnostic = Diagnostic::error(codes::BAD_VERDICT_KEY, key.span, message);
                report.push(diagnostic.help("name what the service looks at: `\"{header.authorization?} {header.cookie?} {request.path}\"`"));
                return None;
            }
            Some((template, *ttl))
        }
        None => None,
    };
    let copy = table.copy.iter().map(|name| name.value.as_str());
    let rules = AuthRules {
        name: Name::new(&table.name.value),
        upstream,
        target,
        copy: copy.clone().map(Box::from).collect(),
        timeout: table.timeout,
        cache,
        dropped: OWN.into_iter().map(Box::from).collect(),
    };
    Some(Policy::AuthRequest(AuthRequest::new(rules)))
}

/// Two sources of one field would be two lines.
fn check_apart(table: &config::AuthRequest, scope: &Scope<'_>, report: &Report) {
    let Some(edits) = &scope.route().policies.answering.request_headers else { return };
    for (name, _) in edits.set.iter().chain(&edits.add) {
        if let Some(twin) = table.copy.iter().find(|copied| copied.value == name.value) {
            let message = format!("`{}` comes from the service that is asked", name.value);
            let diagnostic = Diagnostic::error(codes::RESERVED_FIELD, name.span, message);
            report.push(diagnostic.also(twin.span, "copied here"));
        }
    }
}

fn tells_clients_apart(key: &Template) -> bool {
    key.references().any(|reference| {
        matches!(
            reference,
            Reference::Claim(_)
                | Reference::Header(_)
                | Reference::Query(_)
                | Reference::ClientAddress
                | Reference::ClientNetwork
                | Reference::KeyOwner
                | Reference::User
                | Reference::ClientCert
        )
    })
}
