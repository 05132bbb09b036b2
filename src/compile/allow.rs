//! `allow`: networks into a trie, rules about claims beside what the route proves.
//!
//! A rule about an identity never compiles on a route that proves none, and a rule that could not be
//! compiled is an error: it is never left out.

use crate::base::limits::NETWORKS_MAX;
use crate::base::network_trie::NetworkTrie;
use crate::compile::codes;
use crate::compile::report::Report;
use crate::compile::template::Scope;
use crate::config::client_cert::CertRule;
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, Spanned};
use crate::exchange::client_cert::CertField;
use crate::policy::Policy;
use crate::policy::allow::{self, Allow, ClaimRule, Networks, Rule};

/// The policies that `allow` of a route becomes.
pub fn compile(scope: &Scope<'_>, report: &Report) -> Vec<Policy> {
    let route = scope.route();
    let allow = &route.policies.allow;
    match &allow.value {
        config::Allow::Anyone => Vec::new(),
        config::Allow::Nobody => vec![Policy::Closed],
        config::Allow::Authenticated
            if route.policies.authenticates() || route.policies.client_cert.is_some() =>
        {
            vec![Policy::Allow(Allow::authenticated())]
        }
        config::Allow::Authenticated => {
            let message = "this route asks for no credentials, so it is closed: every request is answered with 403";
            let warning = Diagnostic::warning(codes::CLOSED, route.matches.text.span, message);
            report.push(
                warning.also(allow.span, "only who is authenticated may pass").help(
                    "name an issuer (`jwt = \"NAME\"`), or open it with `allow = \"anyone\"`",
                ),
            );
            vec![Policy::Closed]
        }
        config::Allow::Rules(rules) => compile_rules(rules, allow, scope, report),
    }
}

fn compile_rules(
    rules: &[config::AllowRule],
    allow: &Spanned<config::Allow>,
    scope: &Scope<'_>,
    report: &Report,
) -> Vec<Policy> {
    let policies = &scope.route().policies;
    // An API key has scopes, and no other claim.
    let unknown = |claim: &&config::ClaimRule| {
        policies.jwt.is_empty() && !(claim.is_scope && policies.authenticates())
    };
    if let Some(claim) = rules.iter().flat_map(|rule| &rule.claims).find(unknown) {
        let message = "this rule is about a claim, and the route asks for no token";
        let diagnostic = Diagnostic::error(codes::CLAIM_WITHOUT_JWT, claim.claim.span, message);
        report.push(scope.advise(diagnostic));
        return Vec::new();
    }
    let cert = rules.iter().flat_map(|rule| &rule.certs).next();
    if let (Some(cert), None) = (cert, &policies.client_cert) {
        let message = "this rule is about a client's certificate, and the route asks for none";
        let diagnostic = Diagnostic::error(codes::CLAIM_WITHOUT_JWT, cert.field.span, message);
        let diagnostic = diagnostic.also(scope.route().matches.text.span, "this route");
        report.push(diagnostic.help("write `client_cert = \"required\"` or `\"optional\"`"));
        return Vec::new();
    }
    let mut compiled = Vec::with_capacity(rules.len());
    for rule in rules {
        let Some(networks) = networks(&rule.networks, allow, report) else { return Vec::new() };
        let claims = rule.claims.iter().map(claim).collect();
        let certs = rule.certs.iter().filter_map(cert_rule).collect();
        compiled.push(Rule { networks, claims, certs });
    }
    // One rule's networks are asked before any signature is checked. So is a list of nothing but networks
    // with one entry; several alternatives are judged together.
    if let [rule] = &mut *compiled {
        let mut policies = Vec::new();
        policies.extend(rule.networks.take().map(Policy::Networks));
        if rule.asks_who() {
            policies.push(Policy::Allow(Allow::new(compiled)));
        }
        return policies;
    }
    vec![Policy::Allow(Allow::new(compiled))]
}

type Listed = Spanned<(config::Network, bool)>;

/// `None` after an error; no networks at all are `Some(None)`.
fn networks(
    list: &[Listed],
    allow: &Spanned<config::Allow>,
    report: &Report,
) -> Option<Option<Networks>> {
    if list.is_empty() {
        return Some(None);
    }
    if list.len() > NETWORKS_MAX {
        let message = format!("a rule has at most {NETWORKS_MAX} networks");
        report.error(codes::CONTRADICTION, allow.span, message);
        return None;
    }
    let mut trie = NetworkTrie::default();
    for one in list {
        let (network, says) = &one.value;
        if trie.insert(network, *says).is_err() {
            let message = "this network is both allowed and denied";
            let diagnostic = Diagnostic::error(codes::CONTRADICTION, one.span, message);
            let first = list.iter().find(|other| other.value.0 == *network);
            report.push(match first {
                Some(first) => diagnostic.also(first.span, "the contrary is written here"),
                None => diagnostic,
            });
            return None;
        }
    }
    Some(Some(Networks::new(trie, list.iter().any(|one| one.value.1))))
}

fn cert_rule(rule: &CertRule) -> Option<allow::CertRule> {
    let field = CertField::named(&rule.field.value)?;
    let value = |text: &config::Text| match text.value.strip_suffix('*') {
        Some(begin) if field == CertField::Uri && begin.ends_with('/') => {
            allow::CertValue::Begins(begin.into())
        }
        _ => allow::CertValue::Is(match field {
            CertField::Dns | CertField::Fingerprint | CertField::Serial => {
                text.value.to_ascii_lowercase().replace(':', "").into()
            }
            _ => text.value.as_str().into(),
        }),
    };
    Some(allow::CertRule { field, values: rule.values.iter().map(value).collect() })
}

fn claim(rule: &config::ClaimRule) -> ClaimRule {
    let path = if rule.is_scope { &[][..] } else { &rule.path };
    ClaimRule {
        path: path.iter().map(|name| name.as_str().into()).collect(),
        values: rule.values.as_slice().into(),
        all: rule.all,
    }
}
