//! Tokens beyond one issuer and one field: discovery, several issuers, other places, revocation, RFC 9068.
//!
//! Every issuer is a real server of the test, and lists are real files that change under the gateway.

use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok};
use crate::support::tokens::{Signer, bearer, claims, key_set, unix_now};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn status(gateway: &Gateway, path: &str, token: &str) -> u16 {
    let (name, value) = bearer(token);
    gateway.get_with(path, &[(name, &value)]).status
}

fn with(changes: Value) -> Value {
    let mut claims = claims("42");
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// An issuer whose metadata say `named` for itself and whose keys are `keys`; what is down answers 500.
fn issuer(
    keys: Arc<Mutex<String>>,
    named: Option<&str>,
    down: Arc<Mutex<Vec<&'static str>>>,
) -> Origin {
    let named = named.map(str::to_owned);
    Origin::script(move |request| {
        if down.lock().unwrap().iter().any(|path| request.target.starts_with(path)) {
            return vec![Step::Send(answer(500, &[], b"{}"))];
        }
        let own = format!("http://{}", request.field("host").unwrap());
        let body = match request.target.as_str() {
            "/.well-known/openid-configuration" => json!({
                "issuer": named.clone().unwrap_or(own.clone()),
                "jwks_uri": format!("{own}/keys"),
            })
            .to_string(),
            "/keys" => keys.lock().unwrap().clone(),
            _ => return vec![Step::Send(answer(404, &[], b""))],
        };
        vec![Step::Send(ok(&body))]
    })
}

const DISCOVERED: &str = r#"
[upstream.app]
endpoints = ["@app@"]
[jwt.idp]
issuer = "http://@issuer@"
refresh = "10s"
[[route]]
match = "/{*rest}"
forward = "app"
jwt = "idp"
"#;

#[test]
fn an_issuer_tells_where_its_keys_are() {
    let (origin, signer) = (Origin::saying("in"), Signer::es256("e1"));
    let keys = Arc::new(Mutex::new(key_set(&[&signer])));
    let down = Arc::default();
    let idp = issuer(keys.clone(), None, Arc::clone(&down));
    let gateway =
        gateway(DISCOVERED).with("issuer", idp.address).with("app", origin.address).start();
    let iss = format!("http://{}", idp.address);
    let token =
        |signer: &Signer, subject: &str| signer.sign(&with(json!({"iss": iss, "sub": subject})));
    eventually("the keys", || status(&gateway, "/", &token(&signer, "1")) == 200);
    let targets: Vec<String> = idp.requests().iter().map(|r| r.target.clone()).collect();
    assert_eq!(targets[..2], ["/.well-known/openid-configuration", "/keys"]);
    assert_eq!(status(&gateway, "/", &signer.sign(&claims("1"))), 401, "another iss");

    // Its metadata are gone, its keys are not: a new key is still found.
    down.lock().unwrap().push("/.well-known");
    let new = Signer::es256("e2");
    *keys.lock().unwrap() = key_set(&[&signer, &new]);
    eventually("the new key", || status(&gateway, "/", &token(&new, "1")) == 200);
}

#[test]
fn metadata_of_another_issuer_open_nothing() {
    let (origin, signer) = (Origin::saying("never"), Signer::es256("e1"));
    let keys = Arc::new(Mutex::new(key_set(&[&signer])));
    let idp = issuer(keys, Some("http://evil.test"), Arc::default());
    let setup = gateway(DISCOVERED).with("issuer", idp.address).with("app", origin.address);
    let gateway = setup.spawn();
    eventually("the metadata to be asked for", || !idp.requests().is_empty());
    eventually("the refusal to be told", || gateway.stderr().contains("name another issuer"));
    let iss = format!("http://{}", idp.address);
    assert_eq!(status(&gateway, "/", &signer.sign(&with(json!({"iss": iss})))), 503);
    assert!(idp.requests().iter().all(|request| request.target != "/keys"));
}

#[test]
fn of_several_issuers_the_one_that_a_token_names_decides() {
    let origin = Origin::saying("in");
    let config = r#"
[upstream.app]
endpoints = ["@app@"]
[jwt.one]
secret = "0123456789abcdef0123456789abcdef"
issuer = "https://one.test"
[jwt.two]
secret = "fedcba9876543210fedcba9876543210"
issuer = "https://two.test"
cookie = "two"
[[route]]
match = "/both"
forward = "app"
jwt = ["one", "two"]
[[route]]
match = "/one"
forward = "app"
jwt = "one"
"#;
    let gateway = gateway(config).with("app", origin.address).start();
    let signed =
        |secret: &str, iss: &str| Signer::hs256("k", secret).sign(&with(json!({"iss": iss})));
    let (one, two) = (signed(SECRET, "https://one.test"), signed(OTHER, "https://two.test"));
    let mut client = gateway.connect();
    let mut get = |path: &str, token: &str| {
        let (name, value) = bearer(token);
        client.get(path, &[(name, &value)])
    };
    // Twice, so that the second time is by memory.
    for _ in 0..2 {
        get("/both", &one).expect(200);
        get("/both", &two).expect(200);
        get("/one", &one).expect(200);
        get("/one", &two).expect(401);
        get("/both", &signed(SECRET, "https://two.test")).expect(401);
        get("/both", &signed(OTHER, "https://one.test")).expect(401);
        get("/both", &signed(OTHER, "https://three.test")).expect(401);
        get("/both", "nonsense").expect(401);
    }
    let cookie = |value: &str| gateway.get_with("/both", &[("cookie", value)]).status;
    assert_eq!(cookie(&format!("a=b; two={two}")), 200);
    assert_eq!(cookie(&format!("two={one}")), 401, "the cookie is the other issuer's place");
}

#[test]
fn a_token_may_stand_where_the_operator_says_and_nowhere_else() {
    let origin = Origin::saying("in");
    let config = r#"
[upstream.app]
endpoints = ["@app@"]
[jwt.plain]
secret = "0123456789abcdef0123456789abcdef"
[jwt.open]
secret = "0123456789abcdef0123456789abcdef"
header = "X-Token"
cookie = "session"
query = "access_token"
[[route]]
match = "/plain"
forward = "app"
jwt = "plain"
[[route]]
match = "/open"
forward = "app"
jwt = "open"
"#;
    let gateway = gateway(config).with("app", origin.address).start();
    let token = Signer::hs256("k", SECRET).sign(&claims("42"));
    let get = |target: &str, name: &str, value: &str| {
        let fields = if name.is_empty() { vec![] } else { vec![(name, value)] };
        gateway.get_with(target, &fields).status
    };
    let query = |path: &str| format!("{path}?a=b&access_token={token}");
    let cookie = format!("a=b; session={token}");
    for (target, name, value) in [
        ("/open".to_owned(), "x-token", token.clone()),
        ("/open".to_owned(), "X-TOKEN", format!("Bearer {token}")),
        ("/open".to_owned(), "cookie", cookie.clone()),
        (query("/open"), "", String::new()),
        ("/open".to_owned(), "authorization", format!("Bearer {token}")),
    ] {
        assert_eq!(get(&target, name, &value), 200, "{name}");
    }
    for (target, name, value) in [
        ("/plain".to_owned(), "x-token", token.clone()),
        ("/plain".to_owned(), "cookie", cookie),
        (query("/plain"), "", String::new()),
        ("/open".to_owned(), "cookie", format!("xsession={token}")),
        (format!("/open?xaccess_token={token}"), "", String::new()),
    ] {
        assert_eq!(get(&target, name, &value), 401, "{target} {name}");
    }
    // What is there twice, or bad in the first place, is not made good by what comes behind.
    let twice = [("x-token", token.as_str()), ("x-token", "x")];
    gateway.get_with("/open", &twice).expect_problem(400);
    assert_eq!(get("/open", "cookie", &format!("session={token}; session=x")), 400);
    assert_eq!(get(&format!("{}&access_token=x", query("/open")), "", ""), 400);
    gateway.get_with(&query("/open"), &[("authorization", "Bearer x")]).expect_problem(401);
}

#[test]
fn a_revoked_token_is_refused_as_soon_as_the_list_says_so() {
    let origin = Origin::saying("in");
    let config = r#"
[upstream.app]
endpoints = ["@app@"]
[jwt.idp]
secret = "0123456789abcdef0123456789abcdef"
revoked = "revoked.txt"
[[route]]
match = "/{*rest}"
forward = "app"
jwt = "idp"
"#;
    let setup = gateway(config).with("app", origin.address).file("revoked.txt", "jti:gone\n");
    let gateway = setup.start();
    let signer = Signer::hs256("k", SECRET);
    let now = unix_now();
    let token = |jti: &str, sub: &str, iat: i64| {
        signer.sign(&with(json!({"jti": jti, "sub": sub, "iat": iat})))
    };
    let (gone, here) = (token("gone", "a", now), token("here", "a", now));
    let (old, new) = (token("x1", "b", now - 100), token("x2", "b", now - 10));
    assert_eq!(status(&gateway, "/", &gone), 401);
    for token in [&here, &old, &new] {
        assert_eq!(status(&gateway, "/", token), 200);
    }
    // Remembered or not, on every core: the next list holds.
    let list = format!("jti:here\nsub:b {}\n", now - 50);
    fs::write(gateway.folder.path().join("revoked.txt"), list).unwrap();
    eventually("the list", || gateway.stderr().contains("2 entries of idp loaded"));
    for _ in 0..8 {
        assert_eq!(status(&gateway, "/", &here), 401);
        assert_eq!(status(&gateway, "/", &old), 401);
        assert_eq!(status(&gateway, "/", &new), 200);
        assert_eq!(status(&gateway, "/", &gone), 200, "it is not on the new list");
    }
    // A list that cannot be read changes nothing.
    fs::write(gateway.folder.path().join("revoked.txt"), "jti:gone\nsecret nonsense\n").unwrap();
    eventually("the refusal", || gateway.stderr().contains("line 2: an entry begins with"));
    assert_eq!(status(&gateway, "/", &here), 401);
    assert!(!gateway.stderr().contains("secret nonsense"));
}

#[test]
fn an_access_token_after_rfc_9068_has_its_type_and_all_of_its_claims() {
    let origin = Origin::saying("in");
    let config = r#"
[upstream.app]
endpoints = ["@app@"]
[jwt.idp]
secret = "0123456789abcdef0123456789abcdef"
issuer = "https://idp.test"
audience = "dashboard"
profile = "rfc9068"
[[route]]
match = "/{*rest}"
forward = "app"
jwt = "idp"
"#;
    let gateway = gateway(config).with("app", origin.address).start();
    let signer = Signer::hs256("k", SECRET);
    let whole = with(json!({"client_id": "c", "iat": unix_now(), "jti": "1"}));
    let sign =
        |typ: &str, claims: &Value| signer.sign_with(&json!({"alg": "HS256", "typ": typ}), claims);
    assert_eq!(status(&gateway, "/", &sign("at+jwt", &whole)), 200);
    assert_eq!(status(&gateway, "/", &sign("application/AT+JWT", &whole)), 200);
    assert_eq!(status(&gateway, "/", &sign("JWT", &whole)), 401, "an ID token is no access token");
    for name in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
        let mut claims = whole.clone();
        claims.as_object_mut().unwrap().remove(name);
        assert_eq!(status(&gateway, "/", &sign("at+jwt", &claims)), 401, "without {name}");
    }
}
