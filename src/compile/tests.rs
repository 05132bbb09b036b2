//! What compiling keeps, carries over and tells; a test never touches the disk.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::compile::{Compiled, compile};
use crate::config::{self, Surroundings};
use crate::gateway::route::{Route, Target};
use crate::observe::plan::LabelBook;
use crate::policy::Policy;
use crate::policy::jwt::Jwt;
use crate::policy::rate_limit::Limits;

/// A world of a few files.
#[derive(Default)]
struct World(BTreeMap<&'static str, &'static str>);

impl Surroundings for World {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn file(&self, path: &Path, _bytes_max: u64) -> io::Result<String> {
        let text = path.to_str().and_then(|path| self.0.get(path));
        text.map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn folder(&self, _path: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn good(text: &str, last: Option<&Compiled>) -> Compiled {
    in_world(text, &World::default(), last)
}

fn in_world(text: &str, world: &World, last: Option<&Compiled>) -> Compiled {
    let (config, found) = config::parse(&[("ringway.toml", text)], world);
    let book = &mut LabelBook::default();
    let (compiled, found) = compile(&config, found, world, 7, book, last);
    compiled.unwrap_or_else(|| panic!("{}", found.render()))
}

fn bad(text: &str) -> String {
    let world = World::default();
    let (config, found) = config::parse(&[("ringway.toml", text)], &world);
    let (compiled, found) = compile(&config, found, &world, 7, &mut LabelBook::default(), None);
    assert!(compiled.is_none(), "it compiled");
    found.render()
}

const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:8080\"\n";
const HOUSE: &str = r#"
[upstream.user]
endpoints = ["10.0.0.1:80"]
[upstream.order]
endpoints = ["10.0.0.2:80"]
[jwt.idp]
secret = "0123456789abcdef0123456789abcdef"
issuer = "me"
[jwt.web]
jwks = "https://idp.internal/jwks.json"
[limit.client]
rate = "1/s"
key  = "{client.address}"
[limit.subject]
rate = "1/s"
key  = "{jwt.sub}"
[default]
jwt   = "idp"
limit = ["subject", "client"]
[[route]]
match   = "/a"
forward = "user"
[[route]]
match   = "/b"
forward = "order /x"
jwt     = "web"
[[route]]
match   = "/open"
respond = {}
jwt     = "none"
limit   = "client"
"#;

fn house() -> String {
    format!("{LISTEN}{HOUSE}")
}

fn names(limits: &Limits) -> String {
    limits.iter().map(|limit| limit.name().as_str()).collect::<Vec<_>>().join(" ")
}

fn words(route: &Route) -> Vec<String> {
    let word = |policy: &Policy| match policy {
        Policy::Closed => "closed".into(),
        Policy::Networks(_) => "networks".into(),
        Policy::Allow(_) => "allow".into(),
        Policy::ClientCert(_) => "client_cert".into(),
        Policy::ApiKey(keys) => format!("api_key {}", keys.rules().name),
        Policy::AuthRequest(service) => format!("auth_request {}", service.rules().name),
        Policy::Basic(users) => format!("basic {}", users.rules().name),
        Policy::ClientLimit(limits) => format!("client limit {}", names(limits)),
        Policy::RateLimit(limits) => format!("limit {}", names(limits)),
        Policy::Jwt(jwt) => format!("jwt {}", jwt.issuers()[0].rules().name),
        Policy::Concurrency(limit) => format!("concurrency {}", limit.rules().max),
    };
    route.policies.iter().map(word).collect()
}

fn issuer(compiled: &Compiled, route: usize) -> &Jwt {
    let policies = &compiled.gateway.routes[route].policies;
    let jwt = policies.iter().find_map(|policy| match policy {
        Policy::Jwt(jwt) => jwt.issuers().first(),
        _ => None,
    });
    jwt.expect("the route asks for a token")
}

#[test]
fn a_limit_without_identity_stands_before_the_token_and_one_by_claim_behind_it() {
    let compiled = good(&house(), None);
    let routes = &compiled.gateway.routes;
    assert_eq!(words(&routes[0]), ["client limit client", "jwt idp", "limit subject"]);
}

#[test]
fn a_route_opts_out_of_the_default_by_name() {
    let compiled = good(&house(), None);
    assert_eq!(words(&compiled.gateway.routes[2]), ["client limit client"]);
}

#[test]
fn routes_that_name_one_limit_share_its_cells() {
    let compiled = good(&house(), None);
    let cells = |route: usize| match &compiled.gateway.routes[route].policies[0] {
        Policy::ClientLimit(limits) => limits.iter().next().expect("one").cells().clone(),
        other => panic!("{other:?}"),
    };
    assert!(Arc::ptr_eq(&cells(0), &cells(2)));
}

#[test]
fn what_did_not_change_is_carried_over() {
    let first = good(&house(), None);
    let second = good(&house(), Some(&first));
    assert_eq!(second.gateway.version, first.gateway.version + 1);
    for (old, new) in first.gateway.upstreams.iter().zip(&second.gateway.upstreams) {
        assert!(Arc::ptr_eq(old, new));
    }
    for (name, old) in &first.gateway.carry.limits {
        assert!(Arc::ptr_eq(&old.cells, &second.gateway.carry.limits[name].cells));
    }
    for route in [0, 1] {
        let (old, new) = (issuer(&first, route).rules(), issuer(&second, route).rules());
        assert!(Arc::ptr_eq(&old.keys, &new.keys));
    }
}

#[test]
fn what_did_change_begins_anew_and_alone() {
    let first = good(&house(), None);
    let text = house()
        .replace("10.0.0.2:80", "10.0.0.3:80")
        .replacen("rate = \"1/s\"", "rate = \"2/s\"", 1)
        .replace("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let second = good(&text, Some(&first));
    let (old, new) = (&first.gateway.upstreams, &second.gateway.upstreams);
    assert!(Arc::ptr_eq(&old[0], &new[0]) && !Arc::ptr_eq(&old[1], &new[1]));
    for (name, old) in &first.gateway.carry.limits {
        let kept = Arc::ptr_eq(&old.cells, &second.gateway.carry.limits[name].cells);
        assert_eq!(kept, name.as_str() == "subject");
    }
    let keys = |compiled, route| Arc::clone(&issuer(compiled, route).rules().keys);
    assert!(!Arc::ptr_eq(&keys(&first, 0), &keys(&second, 0)));
    assert!(Arc::ptr_eq(&keys(&first, 1), &keys(&second, 1)));
}

#[test]
fn an_issuer_with_other_rules_keeps_the_keys_that_were_fetched() {
    let first = good(&house(), None);
    let text = house().replace("[limit.client]", "audience = \"a\"\n[limit.client]");
    let second = good(&text, Some(&first));
    let (old, new) = (issuer(&first, 1).rules(), issuer(&second, 1).rules());
    assert!(Arc::ptr_eq(&old.keys, &new.keys));
    assert_eq!((old.audiences.len(), new.audiences.len()), (0, 1));
}

#[test]
fn new_keys_in_the_file_are_new_keys() {
    let text = house().replace("https://idp.internal/jwks.json", "keys.json");
    let set = |key| World(BTreeMap::from([("keys.json", key)]));
    let one = set(r#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#);
    let other =
        set(r#"{"keys":[{"kty":"oct","k":"MTEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#);
    let first = in_world(&text, &one, None);
    let same = in_world(&text, &one, Some(&first));
    let changed = in_world(&text, &other, Some(&first));
    let keys = |compiled| Arc::clone(&issuer(compiled, 1).rules().keys);
    assert!(Arc::ptr_eq(&keys(&first), &keys(&same)));
    assert!(!Arc::ptr_eq(&keys(&first), &keys(&changed)));
}

#[test]
fn an_encoded_literal_is_matched_decoded() {
    let text = format!("{LISTEN}[[route]]\nmatch = \"/a%20b\"\nrespond = {{}}\n");
    let compiled = good(&text, None);
    let shown = format!("{:?}", compiled.gateway.router.patterns()[0].path);
    assert!(shown.contains(&format!("{:?}", b"a b")), "{shown}");
}

#[test]
fn a_merge_keeps_the_order_of_the_file() {
    let text = format!(
        "{LISTEN}[upstream.u]\nendpoints = [\"10.0.0.1:80\"]\n[[route]]\nmatch = \"/m\"\ntimeout = \"2s\"\n\
         [route.merge]\nz = {{ get = \"u /z\" }}\na = {{ get = \"u /a\", timeout = \"1s\", else = 0 }}\n"
    );
    let compiled = good(&text, None);
    let Target::Aggregate(merge) = &compiled.gateway.routes[0].target else { panic!("a merge") };
    let plan = &merge.plan;
    let shown: Vec<_> = plan
        .parts
        .iter()
        .map(|p| (p.name.as_str(), p.timeout.as_secs(), p.is_required()))
        .collect();
    assert_eq!(shown, [("z", 2, true), ("a", 1, false)]);
}

#[test]
fn one_wrong_name_in_the_default_is_told_once() {
    let text = house().replace("jwt   = \"idp\"", "jwt   = \"ipd\"");
    let told = bad(&text);
    assert_eq!(told.matches("there is no `[jwt.ipd]`").count(), 1, "{told}");
    assert!(told.contains("did you mean `idp`?"), "{told}");
}

#[test]
fn a_table_that_could_not_be_read_is_not_called_unknown() {
    let told = bad(&house().replacen("key  = \"{client.address}\"", "", 1));
    assert!(!told.contains("there is no"), "{told}");
}

#[test]
fn no_secret_stands_in_an_error() {
    let told = bad(&house().replace("issuer = \"me\"", "algorithms = [\"HS512\"]"));
    assert!(told.contains("E0204") && !told.contains("0123456789abcdef"), "{told}");
}
