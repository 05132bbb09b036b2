//! Credentials that end at the gateway: what a route does not send on of what it has looked at.
//!
//! A key or a password is between its owner and the gateway: never sent on unless the operator says so. A token in
//! a field is, because services often look at it themselves (nginx, Traefik and Kong do the same, Envoy does not);
//! one in a cookie or a query is not: a URL stands in the logs of whoever gets it (RFC 6750 §5.3).

use crate::config::{self, Config, TokenPlace};
use crate::gateway::route::{Route, Target};
use crate::http::withheld::Withheld;
use crate::policy::header_edit::HeaderEdits;

/// What one route withholds.
#[derive(Default)]
struct Found<'a> {
    fields: Vec<&'a str>,
    /// What a service says about the request.
    vouched: Vec<&'a str>,
    cookies: Vec<&'a str>,
    query: Vec<&'a str>,
}

/// Has every route withhold what it must.
pub fn attach(config: &Config, routes: &mut [Route]) {
    for (written, route) in config.routes.iter().zip(routes) {
        let found = Found::of(config, &written.policies);
        if found.is_empty() {
            continue;
        }
        let withheld = Withheld {
            fields: boxed(&found.vouched),
            cookies: boxed(&found.cookies),
            query: boxed(&found.query),
        };
        match &mut route.target {
            Target::Forward(_) => {
                let edits = route.request_edits.get_or_insert_default();
                let HeaderEdits { dropped, withheld: cut, .. } = &mut **edits;
                let fields = boxed(&found.fields).into_iter().chain(boxed(&found.vouched));
                *dropped = dropped.iter().cloned().chain(fields).collect();
                *cut = withheld;
            }
            Target::Aggregate(merge) => merge.plan.pass.withheld = withheld,
            Target::Redirect(to) => to.withheld = withheld,
            Target::Respond(_) => {}
        }
    }
}

/// The names in a query by which tables know credentials.
pub fn query_names(config: &Config) -> impl Iterator<Item = &str> {
    let tokens = config.jwts.iter().flat_map(|jwt| &jwt.places);
    let tokens = tokens.filter(|(place, _)| *place == TokenPlace::Query);
    let keys = config.api_keys.iter().filter_map(|table| table.query.as_deref());
    tokens.map(|(_, name)| name.value.as_str()).chain(keys)
}

/// Whether a field is one by which tables know credentials.
pub fn is_field(config: &Config, name: &str) -> bool {
    let tokens = config.jwts.iter().flat_map(|jwt| &jwt.places);
    let mut tokens = tokens.filter(|(place, _)| *place == TokenPlace::Header);
    tokens.any(|(_, known)| known.value == name)
        || config.api_keys.iter().any(|table| table.header == name)
}

impl<'a> Found<'a> {
    fn of(config: &'a Config, policies: &config::Policies) -> Self {
        let mut found = Self::default();
        let issuers = config.jwts.iter();
        let named =
            |jwt: &&config::Jwt| policies.jwt.iter().any(|name| name.value == jwt.name.value);
        for jwt in issuers.filter(named) {
            if jwt.forward == Some(false) {
                found.fields.push("authorization");
            }
            for (place, name) in &jwt.places {
                match place {
                    TokenPlace::Header if jwt.forward == Some(false) => {
                        found.fields.push(&name.value);
                    }
                    TokenPlace::Cookie if jwt.forward != Some(true) => {
                        found.cookies.push(&name.value);
                    }
                    TokenPlace::Query if jwt.forward != Some(true) => found.query.push(&name.value),
                    _ => {}
                }
            }
        }
        let asked = policies.auth_request.as_ref();
        let asked = asked.and_then(|name| {
            config.auth_requests.iter().find(|table| table.name.value == name.value)
        });
        let copied = asked.into_iter().flat_map(|table| &table.copy);
        found.vouched.extend(copied.map(|name| name.value.as_str()));
        let users = policies.basic.as_ref();
        let users = users
            .and_then(|name| config.basics.iter().find(|table| table.name.value == name.value));
        if users.is_some_and(|users| !users.forward) {
            found.fields.push("authorization");
        }
        let keys = policies.api_key.as_ref();
        let keys = keys
            .and_then(|name| config.api_keys.iter().find(|table| table.name.value == name.value));
        if let Some(keys) = keys.filter(|keys| !keys.forward) {
            found.fields.push(&keys.header);
            found.query.extend(keys.query.as_deref());
        }
        found
    }

    fn is_empty(&self) -> bool {
        let Self { fields, vouched, .. } = self;
        fields.is_empty() && vouched.is_empty() && self.cookies.is_empty() && self.query.is_empty()
    }
}

fn boxed(names: &[&str]) -> Box<[Box<str>]> {
    names.iter().map(|name| Box::from(*name)).collect()
}
