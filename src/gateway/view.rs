//! A merge with its views: which one is for this request?
//!
//! The first view whose every condition holds, in the order of the file; without one the whole answer. It
//! is chosen before the policies and again where they proved who is asking, before anything is called, and never
//! later for the same request: `Exchange::view` says which it was to those who count, cache and log.

use crate::aggregate::{Plan, View};
use crate::base::name::Name;
use crate::exchange::{Exchange, ViewChosen};
use crate::route::matcher::{Condition, Place};
use crate::route::pattern::HostPattern;

/// Several parts, and what kinds of clients get of them.
pub struct Merge {
    /// All parts.
    pub plan: Plan,
    /// Everything, for who has no view.
    pub whole: View,
    /// In the order of the file; at most `VIEWS_MAX`.
    pub views: Box<[Client]>,
    /// The Vary field line that names what views are chosen by (RFC 9110 §12.5.5); empty if no field is.
    pub vary: Box<[u8]>,
}

/// One kind of client, and its view.
pub struct Client {
    /// The view's name.
    pub name: Name,
    /// Header fields and query parameters.
    pub conditions: Box<[Condition]>,
    /// Hosts, one of which it must be; empty: any.
    pub hosts: Box<[HostPattern]>,
    /// Claims of the verified token.
    pub claims: Box<[Claim]>,
    /// What it gets.
    pub view: View,
}

/// A claim that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where it is.
    pub path: Box<[Box<str>]>,
    /// What it must be, or hold if it is a list; `None`: anything but `null`.
    pub value: Option<Box<str>>,
}

impl Merge {
    /// A merge with its views.
    pub fn new(plan: Plan, whole: View, views: Vec<Client>) -> Self {
        let mut vary = Vec::new();
        let mut put = |name: &str| {
            vary.extend_from_slice(if vary.is_empty() { b"vary: " } else { b", " });
            vary.extend_from_slice(name.as_bytes());
        };
        let mut known: Vec<&str> = Vec::new();
        if plan.stream {
            // It decides the form.
            known.push("accept");
            put("accept");
        }
        let conditions = views.iter().flat_map(|client| &client.conditions);
        for condition in conditions.filter(|condition| condition.place == Place::Header) {
            if !known.contains(&&*condition.name) {
                known.push(&condition.name);
                put(&condition.name);
            }
        }
        if !known.is_empty() {
            vary.extend_from_slice(b"\r\n");
        }
        Self { plan, whole, views: views.into(), vary: vary.into() }
    }

    /// Chooses the view that is for this request, as far as is known who sent it.
    pub fn note(&self, x: &mut Exchange) {
        x.view = self.choose(x).map(|index| {
            let name = self.views[index].name.clone();
            ViewChosen { index: index as u16, name }
        });
    }

    /// The index of the view that is for this request; `None`: the whole answer.
    pub fn choose(&self, x: &Exchange) -> Option<usize> {
        self.views.iter().position(|client| client.fits(x))
    }

    /// A view that was chosen.
    pub fn view(&self, chosen: Option<usize>) -> &View {
        chosen.and_then(|index| self.views.get(index)).map_or(&self.whole, |client| &client.view)
    }
}

impl Client {
    /// Whether every condition holds.
    pub fn fits(&self, x: &Exchange) -> bool {
        let request = x.request();
        let at_host = self.hosts.is_empty()
            || self.hosts.iter().any(|pattern| pattern.is_for(request.host()));
        at_host
            && self.conditions.iter().all(|condition| condition.holds(request))
            && self.claims.iter().all(|claim| claim.holds(x))
    }
}

impl Claim {
    fn holds(&self, x: &Exchange) -> bool {
        let claim = x.identity.as_ref().and_then(|identity| identity.claim(&self.path));
        match (claim, &self.value) {
            (None, _) => false,
            (Some(claim), None) => !claim.is_null(),
            (Some(claim), Some(wanted)) => match claim.as_array() {
                Some(list) => list.iter().any(|item| spells(item, wanted)),
                None => spells(claim, wanted),
            },
        }
    }
}

/// Whether a claim is this text: a string, or a number or boolean as it is written.
fn spells(claim: &serde_json::Value, wanted: &str) -> bool {
    match claim {
        serde_json::Value::String(text) => text == wanted,
        serde_json::Value::Number(number) => number.to_string() == wanted,
        serde_json::Value::Bool(boolean) => boolean.to_string() == wanted,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde_json::json;

    use super::*;
    use crate::exchange::identity::Identity;

    #[test]
    fn a_claim_is_compared_as_text_or_looked_for_in_a_list() {
        let claims =
            json!({ "role": "app", "n": 3, "on": true, "in": { "all": ["a", 7] }, "no": null });
        let identity = Some(Identity::from_verified(Rc::new(claims)));
        let x = Exchange { identity, ..Exchange::default() };
        let holds = |path: &str, value: Option<&str>| {
            let path = path.split('.').map(Box::from).collect();
            Claim { path, value: value.map(Box::from) }.holds(&x)
        };
        for (path, value) in [
            ("role", Some("app")),
            ("n", Some("3")),
            ("on", Some("true")),
            ("in.all", Some("a")),
            ("in.all", Some("7")),
            ("in", None),
        ] {
            assert!(holds(path, value), "{path}");
        }
        for (path, value) in
            [("role", Some("ap")), ("no", None), ("x", None), ("in", Some("a")), ("x.y", Some(""))]
        {
            assert!(!holds(path, value), "{path}");
        }
        let nobody = Claim { path: ["role".into()].into(), value: None };
        assert!(!nobody.holds(&Exchange::default()));
    }
}
