//! Credentials that end at the gateway: what of them reaches an origin, a second upstream, a part or the log.
//!
//! The same requests go to routes that forward credentials and to routes that do not, so that what is looked for
//! is known to arrive where it should.

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Request};
use crate::support::tokens::{Signer, claims};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The line of the key `k-secret-1`, made by `openssl` as docs/policies/api-key.md says.
fn key_line() -> String {
    use aws_lc_rs::hmac;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), b"k-secret-1");
    format!("{} acme", crate::support::tokens::encode(tag))
}

const CONFIG: &str = r#"
[observe]
access_log = { to = "@DIR@/access.log", fields = { query = { "*" = "keep" } } }
[upstream.app]
endpoints = ["@app@"]
[upstream.shadow]
endpoints = ["@shadow@"]
[jwt.usual]
secret = "0123456789abcdef0123456789abcdef"
header = "X-Token"
cookie = "session"
query = "access_token"
[jwt.never]
secret = "0123456789abcdef0123456789abcdef"
header = "X-Token"
cookie = "session"
query = "access_token"
forward = false
[jwt.always]
secret = "0123456789abcdef0123456789abcdef"
cookie = "session"
query = "access_token"
forward = true
[api_key.usual]
keys = "keys.txt"
secret = "0123456789abcdef0123456789abcdef"
query = "key"
[api_key.always]
keys = "keys.txt"
secret = "0123456789abcdef0123456789abcdef"
query = "key"
forward = true
[[route]]
match = "/usual/{*rest}"
forward = "app"
jwt = "usual"
mirror = "shadow"
[[route]]
match = "/rewritten/{*rest}"
forward = "app /to/{*rest}"
jwt = "usual"
[[route]]
match = "/never"
forward = "app"
jwt = "never"
[[route]]
match = "/always"
forward = "app"
jwt = "always"
[[route]]
match = "/key"
forward = "app"
api_key = "usual"
[[route]]
match = "/key-always"
forward = "app"
api_key = "always"
[[route]]
match = "/moved"
redirect = { to = "https://other.test/new" }
jwt = "usual"
[[route]]
match = "/merged"
jwt = "usual"
pass = { headers = ["cookie"] }
[route.merge]
one = { get = "app /one" }
"#;

struct House {
    gateway: Gateway,
    origin: Origin,
    shadow: Origin,
    token: String,
}

fn house() -> House {
    let (origin, shadow) = (Origin::saying("1"), Origin::saying("1"));
    let setup = gateway(CONFIG).with("app", origin.address).with("shadow", shadow.address);
    let gateway = setup.file("keys.txt", &key_line()).start();
    House { gateway, origin, shadow, token: Signer::hs256("k", SECRET).sign(&claims("42")) }
}

impl House {
    /// What the origin gets of a request that passes.
    fn sent(&self, target: &str, fields: &[(&str, &str)]) -> Request {
        let before = self.origin.requests().len();
        self.gateway.get_with(target, fields).expect(200);
        self.origin.wait_for(before + 1).pop().unwrap()
    }
}

fn text(request: &Request) -> String {
    String::from_utf8_lossy(&request.raw).into_owned()
}

#[test]
fn a_token_from_query_or_cookie_stays_and_one_from_a_field_goes_on() {
    let house = house();
    let token = house.token.as_str();
    for (target, sent) in [
        (format!("/usual/x?access_token={token}"), "/usual/x"),
        (format!("/usual/x?a=1&access_token={token}&b=%41"), "/usual/x?a=1&b=%41"),
        (format!("/usual/x?access_token={token}&%61ccess_token=other&b"), "/usual/x?b"),
        (format!("/rewritten/x?a=1&access_token={token}"), "/to/x?a=1"),
        (format!("/rewritten/x?access_token={token}"), "/to/x"),
    ] {
        let request = house.sent(&target, &[]);
        assert_eq!(request.target, sent);
        assert!(!text(&request).contains(token));
    }
    let cookie = format!("a=1; session={token}; b=2");
    let request = house.sent("/usual/x", &[("Cookie", &cookie), ("X-Other", "1")]);
    assert_eq!((request.all("cookie"), request.all("x-other")), (vec!["a=1; b=2"], vec!["1"]));
    let request = house.sent("/usual/x", &[("Cookie", &format!("session={token}"))]);
    assert_eq!(request.field("cookie"), None);
    for (name, value) in [("Authorization", format!("Bearer {token}")), ("X-Token", token.into())] {
        assert_eq!(house.sent("/usual/x", &[(name, &value)]).all(name), [value.as_str()]);
    }
    // The second upstream gets what the first one gets.
    let copies = house.shadow.wait_for(7);
    assert!(copies.iter().filter(|copy| text(copy).contains(token)).count() == 2);
}

#[test]
fn forward_decides_about_every_place() {
    let house = house();
    let token = house.token.as_str();
    let bearer = format!("Bearer {token}");
    let (query, cookie) = (format!("access_token={token}"), format!("session={token}"));
    let never = [
        ("/never".to_owned(), "Authorization", bearer.as_str()),
        ("/never".to_owned(), "X-Token", token),
        ("/never".to_owned(), "Cookie", &cookie),
        (format!("/never?{query}"), "X-Other", "1"),
    ];
    for (target, name, value) in &never {
        let request = house.sent(target, &[(name, value), ("X_Token", "other")]);
        assert!(!text(&request).contains(token), "{name}");
        assert_eq!(request.field("x_token"), None, "in no spelling");
    }
    assert!(text(&house.sent("/always", &[("Cookie", &cookie)])).contains(token));
    let request = house.sent(&format!("/always?{query}"), &[]);
    assert_eq!(request.target, format!("/always?{query}"));
}

#[test]
fn an_api_key_stays_unless_the_operator_says_otherwise() {
    let house = house();
    for (target, fields) in [
        ("/key", vec![("X-Api-Key", "k-secret-1"), ("X_API_KEY", "k-secret-1")]),
        ("/key?a=1&key=k-secret-1", vec![]),
    ] {
        assert!(!text(&house.sent(target, &fields)).contains("k-secret-1"), "{target}");
    }
    let request = house.sent("/key-always", &[("X-Api-Key", "k-secret-1")]);
    assert_eq!(request.all("x-api-key"), ["k-secret-1"]);
    assert_eq!(house.sent("/key-always?key=k-secret-1", &[]).target, "/key-always?key=k-secret-1");
}

#[test]
fn neither_redirections_nor_parts_nor_the_log_show_a_token() {
    let house = house();
    let token = house.token.as_str();
    let moved = house.gateway.get(&format!("/moved?a=1&access_token={token}"));
    assert_eq!(moved.field("location"), Some("https://other.test/new?a=1"));
    let cookie = format!("session={token}; a=1");
    assert_eq!(house.sent("/merged", &[("Cookie", &cookie)]).all("cookie"), ["a=1"]);
    let only = format!("session={token}");
    assert_eq!(house.sent("/merged", &[("Cookie", &only)]).field("cookie"), None);
    house.gateway.get("/key?key=k-wrong-1&a=1").expect(401);
    let lines = house.gateway.access_log(4);
    assert_eq!(lines[0]["query"], "a=1");
    assert_eq!(lines[3]["query"], "a=1");
    let all = format!("{lines:?}{}{}", house.gateway.stderr(), house.gateway.stdout());
    assert!(!all.contains(token) && !all.contains("k-wrong-1"));
}
