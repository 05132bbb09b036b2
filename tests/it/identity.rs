//! What is proven of a client, where it is said: in fields for services, in the access log.
//!
//! Services believe these fields, so that a client's own copy must never arrive beside or instead of them.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;
use crate::support::tokens::{Signer, bearer, claims, encode};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const CONFIG: &str = r#"
[observe]
access_log = @log@
[upstream.app]
endpoints = ["@app@"]
[jwt.idp]
secret = "0123456789abcdef0123456789abcdef"
[api_key.partners]
keys = "keys.txt"
secret = "0123456789abcdef0123456789abcdef"
[[route]]
match = "/fields/{*rest}"
forward = "app"
jwt = "idp"
[route.request_headers.set]
x-user = "{jwt.sub}"
x-roles = "{jwt.realm.roles?}"
x-team = "{jwt.team?}"
[[route]]
match = "/merge"
jwt = "idp"
pass = { headers = ["x-user"] }
[route.merge]
one = { get = "app /one", request_headers = { x-user = "{jwt.sub}" } }
[[route]]
match = "/key"
forward = "app"
api_key = "partners"
request_headers = { set = { x-owner = "{key.owner}" } }
[[route]]
match = "/both"
forward = "app"
api_key = "partners"
jwt = "idp"
[[route]]
match = "/open"
forward = "app"
"#;

fn house(origin: &Origin, log: &str) -> Gateway {
    use aws_lc_rs::hmac;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), b"the-key");
    let setup = gateway(CONFIG).with("app", origin.address).with("log", log);
    setup.file("keys.txt", &format!("{} acme", encode(tag))).start()
}

fn token(changes: &Value) -> String {
    let mut claims = claims("ada lovelace");
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    bearer(&Signer::hs256("k", SECRET).sign(&claims)).1
}

const USUAL: &str = "\"@DIR@/access.log\"";

#[test]
fn claims_stand_in_fields_and_the_clients_own_copies_are_gone() {
    let origin = Origin::saying("1");
    let gateway = house(&origin, USUAL);
    let own = [("X-User", "root"), ("x_user", "root"), ("X.User", "root"), ("X-Roles", "root")];
    let ask = |changes: Value, target: &str| {
        let token = token(&changes);
        let mut fields = vec![("Authorization", token.as_str()), ("X-Team", "root")];
        fields.extend(own);
        gateway.get_with(target, &fields)
    };
    ask(json!({"realm": {"roles": ["admin", "ops"]}, "team": 7}), "/fields/a").expect(200);
    ask(json!({"realm": {"roles": []}}), "/fields/a").expect(200);
    let requests = origin.requests();
    assert_eq!(requests[0].all("x-user"), ["ada lovelace"]);
    assert_eq!(requests[0].all("x-roles"), ["admin,ops"]);
    assert_eq!(requests[0].all("x-team"), ["7"]);
    assert_eq!((requests[1].field("x-roles"), requests[1].field("x-team")), (None, None));
    let all = format!("{:?}", requests);
    assert!(!all.contains("root"), "{all}");
    // What has no spelling in a field is refused: line breaks, control bytes, objects, a comma in a list.
    for sub in ["a\r\nX-Admin: 1", "a\u{0}b", "a\u{7f}b", " a", ""] {
        let status = ask(json!({"sub": sub}), "/fields/a").status;
        assert_eq!(status, if sub.is_empty() { 200 } else { 400 }, "{sub:?}");
    }
    for roles in [json!({"a": 1}), json!(["a,b"]), json!([["a"]]), json!(["a\nb"])] {
        ask(json!({"realm": {"roles": roles}}), "/fields/a").expect_problem(400);
    }
    ask(json!({"sub": null}), "/fields/a").expect_problem(401);
    assert_eq!(origin.requests().len(), 3);
    assert_eq!(origin.requests()[2].field("x-user"), None, "an empty one is no line");
    // Parts: what a part sets stands before what `pass` names.
    ask(json!({}), "/merge").expect(200);
    assert_eq!(origin.requests()[3].all("x-user"), ["ada lovelace"]);
    gateway.get_with("/key", &[("x-api-key", "the-key"), ("X-Owner", "root")]).expect(200);
    assert_eq!(origin.requests()[4].all("x-owner"), ["acme"]);
}

#[test]
fn the_log_says_who_was_proven_to_ask() {
    let origin = Origin::saying("1");
    let gateway = house(&origin, USUAL);
    let token = token(&json!({}));
    gateway.get_with("/both", &[("Authorization", &token), ("x-api-key", "the-key")]).expect(200);
    gateway.get_with("/open", &[("Authorization", &token), ("x-api-key", "the-key")]).expect(200);
    gateway.get_with("/both", &[("Authorization", &token), ("x-api-key", "no")]).expect(401);
    let lines = gateway.access_log(3);
    assert_eq!(
        (&lines[0]["subject"], &lines[0]["key_owner"]),
        (&json!("ada lovelace"), &json!("acme"))
    );
    for line in &lines[1..] {
        assert!(line.get("subject").is_none() && line.get("key_owner").is_none(), "{line}");
    }
}

#[test]
fn the_operator_drops_or_hashes_who_asked() {
    let origin = Origin::saying("1");
    let token = token(&json!({}));
    let both = [("Authorization", token.as_str()), ("x-api-key", "the-key")];
    let log = |rules: &str| {
        let log = format!("{{ to = \"@DIR@/access.log\", {rules} }}");
        let gateway = house(&origin, &log);
        gateway.get_with("/both", &both).expect(200);
        gateway.get_with("/both", &both).expect(200);
        let path = gateway.folder.path().join("access.log");
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        eventually("two lines", || read().lines().count() == 2);
        read()
    };
    let dropped = log("fields = { identity = \"drop\" }");
    assert!(!dropped.contains("lovelace") && !dropped.contains("\"key_owner\""), "{dropped}");
    let hashed = log("fields = { identity = \"hash\", hash_key = \"0123456789abcdef\" }");
    let hashes: Vec<Value> = hashed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["subject"].clone())
        .collect();
    assert!(!hashed.contains("lovelace") && !hashed.contains("\"acme\""), "{hashed}");
    assert!(hashes[0].as_str().is_some_and(|hash| hash.len() == 16) && hashes[0] == hashes[1]);
    let text = log("format = \"{identity}|{subject}|{key_owner}|{user}\"");
    assert_eq!(text.lines().next(), Some("ada\\x20lovelace|ada\\x20lovelace|acme|-"));
    let text = log("format = \"{identity}|{subject}\", fields = { identity = \"drop\" }");
    assert_eq!(text.lines().next(), Some("-|-"));
    assert!(log("format = \"combined\"").starts_with("127.0.0.1 - ada\\x20lovelace ["));
}
