//! Who may pass: networks, scopes, claims, deny by default, and the list of open routes.
//!
//! Addresses come from a trusted proxy's X-Forwarded-For, so that one machine can be many clients.

use std::fs;

use serde_json::{Value, json};

use crate::support::gateway::{Folder, Gateway, gateway, ringway};
use crate::support::origin::Origin;
use crate::support::tokens::{Signer, bearer, claims};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const CONFIG: &str = r#"
[[listen]]
address = "@LISTEN@"
trusted_proxies = ["127.0.0.1"]

[upstream.app]
endpoints = ["@app@"]

[jwt.idp]
secret = "0123456789abcdef0123456789abcdef"

[[route]]
match = "/near"
forward = "app"
allow = { networks = ["10.0.0.0/8", "!10.9.0.0/16", "10.9.1.1", "2001:db8::/32"] }

[[route]]
match = "/not-there"
forward = "app"
allow = { networks = "!203.0.113.0/24" }

[[route]]
match = "/roles"
forward = "app"
jwt = "idp"
allow = { scope = "orders:read", "realm.roles" = ["admin", "ops"] }

[[route]]
match = "/both"
forward = "app"
jwt = "idp"
allow = { scope = { all = ["a", "b"] } }

[[route]]
match = "/either"
forward = "app"
jwt = "idp"
allow = [{ networks = "10.0.0.0/8" }, { "/https:~1~1a.test~1vip" = true }]

[[route]]
match = "/known"
forward = "app"
jwt = "idp"
allow = "authenticated"

[[route]]
match = "/closed"
forward = "app"
allow = "nobody"
"#;

fn house(origin: &Origin) -> Gateway {
    gateway(CONFIG).with("app", origin.address).start()
}

fn status(gateway: &Gateway, path: &str, from: &str, more: Option<Value>) -> u16 {
    let mut fields = vec![("x-forwarded-for", from.to_owned())];
    if let Some(more) = more {
        let mut claims = claims("42");
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        fields.push(bearer(&Signer::hs256("k", SECRET).sign(&claims)));
    }
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    gateway.get_with(path, &fields).status
}

#[test]
fn the_longest_network_that_holds_a_client_decides() {
    let origin = Origin::saying("in");
    let gateway = house(&origin);
    for (from, expected) in [
        ("10.1.2.3", 200),
        ("10.9.1.2", 403),
        ("10.9.1.1", 200),
        ("11.0.0.1", 403),
        ("2001:db8:7::1", 200),
        ("2001:db9::1", 403),
        ("::ffff:10.1.2.3", 200),
    ] {
        assert_eq!(status(&gateway, "/near", from, None), expected, "{from}");
    }
    assert_eq!(status(&gateway, "/not-there", "203.0.113.7", None), 403);
    assert_eq!(status(&gateway, "/not-there", "203.0.114.7", None), 200, "only denials: the rest");
    assert_eq!(origin.requests().len(), 5);
}

#[test]
fn scopes_and_claims_are_asked_for_behind_the_token() {
    let origin = Origin::saying("in");
    let gateway = house(&origin);
    let near = "10.0.0.1";
    let roles = |claims: Value| status(&gateway, "/roles", near, Some(claims));
    assert_eq!(status(&gateway, "/roles", near, None), 401, "no token at all");
    let good = json!({"scope": "x orders:read", "realm": {"roles": ["ops"]}});
    assert_eq!(roles(good), 200);
    assert_eq!(roles(json!({"scope": "orders:reader", "realm": {"roles": ["ops"]}})), 403);
    assert_eq!(roles(json!({"scope": "orders:read", "realm": {"roles": ["dev"]}})), 403);
    assert_eq!(roles(json!({"scope": "orders:read"})), 403);
    assert_eq!(status(&gateway, "/both", near, Some(json!({"scp": ["a", "b", "c"]}))), 200);
    assert_eq!(status(&gateway, "/both", near, Some(json!({"scope": "a"}))), 403);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_missing_scope_is_named_and_nothing_else_is() {
    let origin = Origin::saying("never");
    let gateway = house(&origin);
    let (name, value) = bearer(&Signer::hs256("k", SECRET).sign(&claims("42")));
    let refused = gateway.get_with("/roles", &[(name, &value)]).expect_problem(403);
    assert_eq!(
        refused.field("www-authenticate"),
        Some("Bearer error=\"insufficient_scope\", scope=\"orders:read\"")
    );
    let refused = gateway.get_with("/near", &[]).expect_problem(403);
    assert_eq!(refused.field("www-authenticate"), None);
    assert!(!refused.text().contains("10."), "{}", refused.text());
}

#[test]
fn one_of_several_rules_is_enough() {
    let origin = Origin::saying("in");
    let gateway = house(&origin);
    let vip = json!({"https://a.test/vip": true});
    assert_eq!(status(&gateway, "/either", "10.1.1.1", Some(json!({}))), 200);
    assert_eq!(status(&gateway, "/either", "11.1.1.1", Some(vip)), 200);
    assert_eq!(status(&gateway, "/either", "11.1.1.1", Some(json!({}))), 403);
    assert_eq!(status(&gateway, "/either", "10.1.1.1", None), 401, "a rule is no substitute");
    assert_eq!(status(&gateway, "/known", "11.1.1.1", Some(json!({}))), 200);
    assert_eq!(status(&gateway, "/closed", "10.1.1.1", Some(json!({}))), 403);
}

#[test]
fn by_default_a_route_without_credentials_is_closed_until_it_says_otherwise() {
    let origin = Origin::saying("in");
    let config = r#"
[default]
allow = "authenticated"
[upstream.app]
endpoints = ["@app@"]
[jwt.idp]
secret = "0123456789abcdef0123456789abcdef"
[[route]]
match = "/forgotten"
forward = "app"
[[route]]
match = "/open"
forward = "app"
allow = "anyone"
[[route]]
match = "/known"
forward = "app"
jwt = "idp"
"#;
    let gateway = gateway(config).with("app", origin.address).start();
    gateway.get("/forgotten").expect_problem(403);
    gateway.get("/open").expect(200);
    gateway.get("/known").expect_problem(401);
    assert_eq!(status(&gateway, "/known", "10.0.0.1", Some(json!({}))), 200);
}

#[test]
fn audit_lists_open_routes_and_fails_for_those_that_do_not_say_so() {
    let config = |second: &str| {
        format!(
            r#"
[[listen]]
address = "127.0.0.1:8080"
[jwt.idp]
secret = "{SECRET}"
[[route]]
match = "/closed"
respond = {{}}
jwt = "idp"
[[route]]
match = "/ping"
respond = {{}}
allow = "anyone"
[[route]]
match = "/second"
redirect = "/ping"
{second}
"#
        )
    };
    let audit = |text: &str, words: &[&str]| {
        let folder = Folder::new();
        fs::write(folder.path().join("ringway.toml"), text).unwrap();
        let mut all = vec!["audit", "-c", "ringway.toml"];
        all.extend(words);
        ringway(folder.path(), &all)
    };
    let (code, out, err) = audit(&config(""), &[]);
    assert_eq!(code, 1, "{err}");
    let open = out.find("nobody said").unwrap();
    assert!(out[open..].contains("/second"), "{out}");
    assert!(!out.contains("/closed"), "{out}");
    assert!(out.contains("(ringway.toml:15:9)"), "{out}");
    assert_eq!(audit(&config("allow = \"anyone\""), &[]).0, 0);
    assert_eq!(audit(&config("allow = { networks = \"10.0.0.0/8\" }"), &[]).0, 0);
    assert_eq!(audit(&config("allow = \"anyone\""), &["--strict"]).0, 1);
    assert_eq!(audit(&config("allow = 7"), &[]).0, 78);
    let json: Value = serde_json::from_str(&audit(&config(""), &["--json"]).1).unwrap();
    assert_eq!(json["open"][1]["route"], "/second");
    assert_eq!(json["open"][1]["declared"], false);
    assert_eq!(json["routes"], 3);
}
