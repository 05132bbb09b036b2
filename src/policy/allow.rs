//! May this client pass? By network before anything else, by scopes and claims once an identity is proven.
//!
//! A rule holds when all of it holds, and one rule that holds is enough. What cannot be known never lets
//! anybody pass: without an identity no rule about one holds. A refusal is 403; where scopes were missing it
//! names them (RFC 6750 §3.1), and it never says which network or claim would have been the right one.

use std::net::IpAddr;

use serde_json::Value;

use crate::base::network_trie::NetworkTrie;
use crate::exchange::Exchange;
use crate::exchange::client_cert::CertField;
use crate::exchange::fault::FaultKind;
use crate::exchange::identity::Identity;
use crate::policy::{Verdict, refuse};

/// Nobody passes.
pub const CLOSED: &str = "closed";
/// Not from this network.
const NETWORK: &str = "network_refused";
/// A scope is missing.
const SCOPE: &str = "scope_missing";
/// Another claim is missing, or says something else.
const CLAIM: &str = "claim_refused";

/// The certificate is missing, or says something else.
const CERT: &str = "certificate_refused";

/// Networks, each allowed or denied.
#[derive(Clone, Debug)]
pub struct Networks {
    trie: NetworkTrie,
    /// What holds for an address in none of them.
    otherwise: bool,
}

impl Networks {
    /// From a trie that has allowed networks, or only denied ones: then every other address is allowed.
    pub fn new(trie: NetworkTrie, any_allowed: bool) -> Networks {
        Networks { trie, otherwise: !any_allowed }
    }

    /// Whether a client of this address may pass.
    pub fn permit(&self, address: IpAddr) -> bool {
        self.trie.find(address).unwrap_or(self.otherwise)
    }

    /// Decides about a request.
    pub fn on_request(&self, x: &mut Exchange) -> Verdict {
        if self.permit(x.client.address) {
            return Verdict::Continue;
        }
        x.reason = NETWORK;
        refuse(FaultKind::HttpRequestDenied)
    }
}

/// The compiled rules of a route, of which one must hold.
#[derive(Clone, Debug)]
pub struct Allow {
    rules: Box<[Rule]>,
    /// The WWW-Authenticate of a refusal for want of scopes; empty where no rule has any.
    challenge: Box<[u8]>,
}

/// One rule: all of it must hold.
#[derive(Clone, Debug)]
pub struct Rule {
    /// From where.
    pub networks: Option<Networks>,
    /// What is known of whoever asks.
    pub claims: Box<[ClaimRule]>,
    /// What the client's certificate says.
    pub certs: Box<[CertRule]>,
}

/// What the client's certificate must say about one thing: any of these.
#[derive(Clone, Debug)]
pub struct CertRule {
    /// What it is about.
    pub field: CertField,
    /// The values asked for.
    pub values: Box<[CertValue]>,
}

/// A value that is asked for.
#[derive(Clone, Debug)]
pub enum CertValue {
    /// Exactly this.
    Is(Box<str>),
    /// What begins so and goes on: ends with `/`.
    Begins(Box<str>),
}

/// What one claim must say.
#[derive(Clone, Debug)]
pub struct ClaimRule {
    /// Its way from the top of the claims; empty for the scopes of the identity.
    pub path: Box<[Box<str>]>,
    /// The values asked for.
    pub values: Box<[Value]>,
    /// Whether all of them are, or any one is enough.
    pub all: bool,
}

impl Allow {
    /// Compiles rules.
    pub fn new(rules: Vec<Rule>) -> Allow {
        let mut scopes: Vec<&str> = Vec::new();
        let claims = rules.iter().flat_map(|rule| &rule.claims);
        for scope in claims.filter(|claim| claim.path.is_empty()).flat_map(|claim| &claim.values) {
            scopes.extend(scope.as_str().filter(|scope| !scopes.contains(scope)));
        }
        let challenge = match scopes.as_slice() {
            [] => String::new(),
            some => format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", some.join(" ")),
        };
        Allow { rules: rules.into(), challenge: challenge.into_bytes().into() }
    }

    /// Whether no rule needs an identity to hold.
    pub fn is_of_networks(&self) -> bool {
        self.rules.iter().all(|rule| rule.networks.is_some() && !rule.asks_who())
    }

    /// Whoever proved an identity.
    pub fn authenticated() -> Allow {
        Allow::new(vec![Rule { networks: None, claims: Box::default(), certs: Box::default() }])
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides about a request.
    pub fn on_request(&self, x: &mut Exchange) -> Verdict {
        let mut missing = NETWORK;
        for rule in &self.rules {
            match rule.judge(x.identity.as_ref(), x.client.address) {
                Ok(()) => return Verdict::Continue,
                // Of several rules, the one that came furthest says what is missing.
                Err(SCOPE) => missing = SCOPE,
                Err(why) if missing != SCOPE => missing = why,
                Err(_) => {}
            }
        }
        x.reason = missing;
        if missing == SCOPE {
            x.reply_fields.add("www-authenticate", &self.challenge);
        }
        refuse(FaultKind::HttpRequestDenied)
    }
}

impl Rule {
    /// Whether it needs to know who asks.
    pub fn asks_who(&self) -> bool {
        !self.claims.is_empty() || !self.certs.is_empty()
    }

    fn judge(&self, identity: Option<&Identity>, address: IpAddr) -> Result<(), &'static str> {
        if self.networks.as_ref().is_some_and(|networks| !networks.permit(address)) {
            return Err(NETWORK);
        }
        if self.networks.is_some() && !self.asks_who() {
            return Ok(());
        }
        let Some(identity) = identity else { return Err(CLOSED) };
        if !self.certs.iter().all(|cert| cert.holds(identity)) {
            return Err(CERT);
        }
        match self.claims.iter().find(|claim| !claim.holds(identity)) {
            None => Ok(()),
            Some(claim) if claim.path.is_empty() => Err(SCOPE),
            Some(_) => Err(CLAIM),
        }
    }
}

impl CertRule {
    fn holds(&self, identity: &Identity) -> bool {
        let Some(cert) = identity.client_cert() else { return false };
        let wanted = |said: &str| {
            self.values.iter().any(|value| match value {
                CertValue::Is(value) => **value == *said,
                CertValue::Begins(begin) => said.len() > begin.len() && said.starts_with(&**begin),
            })
        };
        cert.values(self.field).any(wanted)
    }
}

impl ClaimRule {
    fn holds(&self, identity: &Identity) -> bool {
        let has = |wanted: &Value| match (self.path.is_empty(), wanted) {
            (true, Value::String(scope)) => identity.has_scope(scope),
            (true, _) => false,
            (false, _) => identity.claim(&self.path).is_some_and(|claim| says(claim, wanted)),
        };
        if self.all { self.values.iter().all(has) } else { self.values.iter().any(has) }
    }
}

/// Whether a claim is this value, or a list that holds it. Never by half: texts are compared with case, and
/// a text is not a number.
fn says(claim: &Value, wanted: &Value) -> bool {
    match claim {
        Value::Array(list) => list.contains(wanted),
        one => one == wanted,
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde_json::json;

    use super::*;

    fn identity(claims: Value) -> Identity {
        Identity::from_verified(Rc::new(claims))
    }

    fn claim(path: &[&str], values: &[Value], all: bool) -> ClaimRule {
        let path = path.iter().map(|name| Box::from(*name)).collect();
        ClaimRule { path, values: values.into(), all }
    }

    #[test]
    fn any_value_is_enough_unless_all_are_asked_for() {
        let proven =
            identity(json!({"realm": {"roles": ["admin", "ops"]}, "level": 3, "ok": true}));
        let roles = |values: &[Value], all| claim(&["realm", "roles"], values, all).holds(&proven);
        assert!(roles(&[json!("x"), json!("ops")], false));
        assert!(!roles(&[json!("x"), json!("ops")], true));
        assert!(roles(&[json!("admin"), json!("ops")], true));
        assert!(claim(&["level"], &[json!(3)], false).holds(&proven));
        assert!(!claim(&["level"], &[json!("3")], false).holds(&proven), "a text is no number");
        assert!(claim(&["ok"], &[json!(true)], false).holds(&proven));
        assert!(!claim(&["missing"], &[json!(false)], false).holds(&proven));
        assert!(
            !claim(&["realm"], &[json!("admin")], false).holds(&proven),
            "an object is no value"
        );
    }

    #[test]
    fn scopes_are_whole_words_of_a_text_or_a_list() {
        for claims in [
            json!({"scope": "a orders:read"}),
            json!({"scope": ["orders:read"]}),
            json!({"scp": "orders:read"}),
        ] {
            let proven = identity(claims);
            assert!(claim(&[], &[json!("orders:read")], false).holds(&proven));
            assert!(!claim(&[], &[json!("orders")], false).holds(&proven), "a part of a word");
        }
        assert!(!claim(&[], &[json!("a")], false).holds(&identity(json!({"scope": 1}))));
    }

    #[test]
    fn one_rule_that_holds_is_enough_and_without_identity_none_does() {
        let scope = |scope: &str| Rule {
            networks: None,
            claims: [claim(&[], &[json!(scope)], false)].into(),
            certs: Box::default(),
        };
        let allow = Allow::new(vec![scope("a"), scope("b")]);
        let mut x =
            Exchange { identity: Some(identity(json!({"scope": "b"}))), ..Default::default() };
        assert_eq!(allow.on_request(&mut x), Verdict::Continue);
        x.identity = Some(identity(json!({"scope": "c"})));
        assert_eq!(allow.on_request(&mut x), refuse(FaultKind::HttpRequestDenied));
        assert_eq!(x.reason, SCOPE);
        let told = String::from_utf8_lossy(x.reply_fields.as_bytes());
        assert_eq!(
            told,
            "www-authenticate: Bearer error=\"insufficient_scope\", scope=\"a b\"\r\n"
        );
        x.clear();
        let trie = || {
            let mut trie = NetworkTrie::default();
            trie.insert(&"127.0.0.1".parse().unwrap(), true).unwrap();
            trie
        };
        let home = Rule {
            networks: Some(Networks::new(trie(), true)),
            ..Allow::authenticated().rules[0].clone()
        };
        let allow = Allow::new(vec![scope("a"), home]);
        assert_eq!(allow.on_request(&mut x), Verdict::Continue, "networks need no identity");
        assert_eq!(Allow::authenticated().on_request(&mut x), refuse(FaultKind::HttpRequestDenied));
    }
}
