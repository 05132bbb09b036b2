//! API keys: made by the command, looked up by their hash, replaced while the gateway runs.
//!
//! Keys come from `ringway hash-key` itself, so that what it prints is what the gateway takes.

use std::fs;

use crate::support::eventually;
use crate::support::gateway::{Folder, Gateway, gateway, ringway};
use crate::support::origin::Origin;
use crate::support::tokens::{Signer, bearer, claims, unix_now};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const CONFIG: &str = r#"
[upstream.app]
endpoints = ["@app@"]
[jwt.idp]
secret = "0123456789abcdef0123456789abcdef"
[api_key.partners]
keys = "keys.txt"
secret = "0123456789abcdef0123456789abcdef"
query = "key"
[limit.per_owner]
rate = "1/h"
burst = 2
key = "{key.owner}"
[[route]]
match = "/open/{*rest}"
forward = "app /in/{key.owner}"
api_key = "partners"
request_headers = { set = { x-owner = "{key.owner}" } }
[[route]]
match = "/scoped"
forward = "app"
api_key = "partners"
allow = { scope = { all = ["a", "b"] } }
[[route]]
match = "/limited"
forward = "app"
api_key = "partners"
limit = "per_owner"
[[route]]
match = "/both"
forward = "app"
api_key = "partners"
jwt = "idp"
request_headers = { set = { x-both = "{key.owner}-{jwt.sub}" } }
"#;

/// A key and its line, as the command makes them.
fn make(owner: &str, more: &[&str]) -> (String, String) {
    let folder = Folder::new();
    fs::write(folder.path().join("keys.txt"), "").unwrap();
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:1\"\n[api_key.partners]\nkeys = \"keys.txt\"\nsecret = \"{SECRET}\"\n[[route]]\nmatch = \"/\"\nrespond = {{}}\n"
    );
    fs::write(folder.path().join("ringway.toml"), config).unwrap();
    let mut words = vec!["hash-key", "partners", "-c", "ringway.toml", "--owner", owner];
    words.extend(more);
    let (code, out, err) = ringway(folder.path(), &words);
    assert_eq!(code, 0, "{err}");
    let mut lines = out.lines().map(str::to_owned);
    let (key, line) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(!line.contains(&key) && !err.contains(&key), "the key is printed once");
    (key, line)
}

fn house(origin: &Origin, lines: &[&str]) -> Gateway {
    gateway(CONFIG).with("app", origin.address).file("keys.txt", &lines.join("\n")).start()
}

fn status(gateway: &Gateway, target: &str, key: &str) -> u16 {
    gateway.get_with(target, &[("X-Api-Key", key)]).status
}

#[test]
fn a_known_key_opens_the_route_and_names_its_owner() {
    let origin = Origin::saying("in");
    let ((key, line), (other, _)) = (make("acme", &[]), make("umbrella", &[]));
    let gateway = house(&origin, &[&line]);
    assert_eq!(status(&gateway, "/open/x", &key), 200);
    let request = origin.request();
    assert_eq!(request.target, "/in/acme");
    assert_eq!(request.all("x-owner"), ["acme"]);
    assert_eq!(gateway.get(&format!("/open/x?key={key}")).status, 200);
    for wrong in [other.as_str(), "", "x", &key[..key.len() - 1], &format!("{key}x")] {
        assert_eq!(status(&gateway, "/open/x", wrong), 401, "{wrong}");
    }
    let refused = gateway.get("/open/x").expect_problem(401);
    assert_eq!(refused.field("www-authenticate"), Some("ApiKey header=\"x-api-key\""));
    gateway.get_with("/open/x", &[("x-api-key", &key), ("x-api-key", &key)]).expect_problem(400);
    assert_eq!(origin.requests().len(), 2);
    assert!(!gateway.stderr().contains(&key) && !gateway.stdout().contains(&key));
}

#[test]
fn scopes_and_ends_of_keys_are_kept() {
    let origin = Origin::saying("in");
    let both = make("acme", &["--scope", "a", "--scope", "b"]);
    let one = make("acme", &["--scope", "a"]);
    let past = make("acme", &["--scope", "a", "--scope", "b", "--until", "2020-01-01"]);
    let soon = (unix_now() + 3600).to_string();
    let future = make("acme", &["--scope", "a", "--scope", "b", "--until", &soon]);
    let gateway = house(&origin, &[&both.1, &one.1, &past.1, &future.1]);
    assert_eq!(status(&gateway, "/scoped", &both.0), 200);
    assert_eq!(status(&gateway, "/scoped", &future.0), 200);
    assert_eq!(status(&gateway, "/scoped", &one.0), 403);
    assert_eq!(status(&gateway, "/scoped", &past.0), 401);
}

#[test]
fn a_limit_counts_the_keys_of_one_owner_together() {
    let origin = Origin::saying("in");
    let (one, two, other) = (make("acme", &[]), make("acme", &[]), make("umbrella", &[]));
    let gateway = house(&origin, &[&one.1, &two.1, &other.1]);
    assert_eq!(status(&gateway, "/limited", &one.0), 200);
    assert_eq!(status(&gateway, "/limited", &two.0), 200);
    assert_eq!(status(&gateway, "/limited", &one.0), 429);
    assert_eq!(status(&gateway, "/limited", &other.0), 200);
}

#[test]
fn a_route_that_names_key_and_token_asks_for_both() {
    let origin = Origin::saying("in");
    let (key, line) = make("acme", &[]);
    let gateway = house(&origin, &[&line]);
    let (name, value) = bearer(&Signer::hs256("k", SECRET).sign(&claims("42")));
    assert_eq!(status(&gateway, "/both", &key), 401);
    assert_eq!(gateway.get_with("/both", &[(name, &value)]).status, 401);
    gateway.get_with("/both", &[("x-api-key", &key), (name, &value)]).expect(200);
    assert_eq!(origin.request().all("x-both"), ["acme-42"]);
}

#[test]
fn keys_come_and_go_while_the_gateway_runs() {
    let origin = Origin::saying("in");
    let (old, new) = (make("acme", &[]), make("acme", &[]));
    let gateway = house(&origin, &[&old.1]);
    let file = gateway.folder.path().join("keys.txt");
    assert_eq!(status(&gateway, "/open/x", &new.0), 401);
    fs::write(&file, format!("{}\n", new.1)).unwrap();
    eventually("the new key", || status(&gateway, "/open/x", &new.0) == 200);
    assert_eq!(status(&gateway, "/open/x", &old.0), 401);
    fs::write(&file, "a-plain-key acme\n").unwrap();
    eventually("the refusal", || gateway.stderr().contains("line 1: it begins with the hash"));
    assert_eq!(status(&gateway, "/open/x", &new.0), 200, "the old list stays");
    assert!(!gateway.stderr().contains("a-plain-key"));
}

#[test]
fn a_line_carries_a_limit_of_its_own() {
    let origin = Origin::saying("in");
    let (small, large) = (["--limit", "1/h", "--burst", "2"], ["--limit", "1000/s"]);
    let (one, two) = (make("acme", &small), make("acme", &small));
    let (other, free) = (make("acme", &large), make("acme", &[]));
    let gateway = house(&origin, &[&one.1, &two.1, &other.1, &free.1]);
    let ask = |key: &str| gateway.get_with("/open/x", &[("X-Api-Key", key)]);
    let first = ask(&one.0).expect(200);
    assert_eq!(first.field("ratelimit-policy"), Some("\"partners\";q=2;w=7200"));
    assert!(first.field("ratelimit").unwrap().starts_with("\"partners\";r=1;t="));
    ask(&one.0).expect(200);
    let refused = ask(&one.0).expect_problem(429);
    let seconds: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&seconds), "{seconds}");
    assert_eq!(gateway.access_log(3)[2]["reason"], "key_rate_limited");
    // Every key has its own, and none without one.
    ask(&two.0).expect(200);
    for _ in 0..20 {
        ask(&other.0).expect(200);
        assert_eq!(ask(&free.0).expect(200).field("ratelimit"), None);
    }
    // A change of the file is no new burst.
    let file = gateway.folder.path().join("keys.txt");
    fs::write(&file, format!("{}\n{}\n", one.1, two.1)).unwrap();
    eventually("the new list", || ask(&free.0).status == 401);
    ask(&one.0).expect(429);
    ask(&two.0).expect(200);
    ask(&two.0).expect(429);
}
