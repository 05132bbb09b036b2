//! Bearer tokens at the door: who passes, who is refused and with which words, where keys come from.
//!
//! RFC 6750, 7515, 7517, 7519 and 8725. No test ever accepts a token whose signature was not checked by a
//! key of the configuration; the vectors of Project Wycheproof are library tests beside the code.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gateway::{Gateway, Setup, gateway};
use crate::support::origin::{Origin, Step, answer, ok};
use crate::support::tokens::{Signer, bearer, claims, encode, key_set, unix_now};
use crate::support::wire::Response;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const ROUTE: &str = r#"
[upstream.app]
endpoints = ["@app@"]

[[route]]
match = "/{*rest}"
forward = "app"
jwt = "idp"
"#;

const FROM_FILE: &str = r#"
[jwt.idp]
jwks = "@DIR@/keys.json"
issuer = "https://idp.test"
audience = "dashboard"
"#;

fn with_keys(signers: &[&Signer], origin: &Origin) -> Gateway {
    with_file(&key_set(signers), origin).start()
}

fn with_file(keys: &str, origin: &Origin) -> Setup {
    gateway(&format!("{FROM_FILE}{ROUTE}")).file("keys.json", keys).with("app", origin.address)
}

#[track_caller]
fn ask(gateway: &Gateway, token: &str) -> Response {
    let (name, value) = bearer(token);
    gateway.get_with("/", &[(name, &value)])
}

/// A refusal by RFC 6750 §3: 401 with a Bearer challenge, and nothing reaches the origin.
#[track_caller]
fn expect_refused(gateway: &Gateway, token: &str, why: &str) {
    let response = ask(gateway, token);
    assert_eq!(response.status, 401, "{why}");
    let challenge = response.field("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Bearer"), "{why}: {challenge:?}");
    assert!(challenge.contains("error=\"invalid_token\""), "{why}: {challenge:?}");
    assert!(!challenge.contains(token) && !response.text().contains(token), "{why}");
}

#[test]
fn every_family_of_keys_lets_its_tokens_pass_and_no_others() {
    let origin = Origin::saying("in");
    let public = [Signer::rs256("r"), Signer::es256("e"), Signer::eddsa("d")];
    let secret = [Signer::hs256("h", SECRET)];
    // A set never mixes secrets with public keys: that is refused as a mistake of the configuration.
    let gateways = [&public[..], &secret[..]]
        .map(|signers| with_keys(&signers.iter().collect::<Vec<_>>(), &origin));
    let all = public.iter().map(|signer| (signer, &gateways[0]));
    for (signer, gateway) in all.chain([(&secret[0], &gateways[1])]) {
        let token = signer.sign(&claims("42"));
        for _ in 0..3 {
            assert_eq!(ask(gateway, &token).status, 200, "{}", signer.algorithm());
        }
        let forged = Signer::hs256("h", "another secret of thirty-two bytes").sign(&claims("42"));
        expect_refused(gateway, &forged, "another key");
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let flipped = if signature.starts_with('A') { "B" } else { "A" };
        let tampered = format!("{rest}.{flipped}{}", &signature[1..]);
        expect_refused(gateway, &tampered, "a changed signature");
        // Once more: a token that was refused or accepted is not remembered as the other.
        assert_eq!(ask(gateway, &token).status, 200);
        expect_refused(gateway, &tampered, "a changed signature, again");
    }
}

#[test]
fn a_request_without_a_token_is_challenged_without_an_error_code() {
    let origin = Origin::saying("never");
    let gateway = with_keys(&[&Signer::hs256("k", SECRET)], &origin);
    let response = gateway.get("/").expect_problem(401);
    let challenge = response.field("www-authenticate").expect("a challenge");
    // RFC 6750 §3.1: no error code when no credentials were sent.
    assert!(challenge.starts_with("Bearer") && !challenge.contains("error="), "{challenge}");
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn what_is_not_one_bearer_token_is_refused() {
    let origin = Origin::saying("never");
    let signer = Signer::hs256("k", SECRET);
    let gateway = with_keys(&[&signer], &origin);
    let token = signer.sign(&claims("42"));
    let values = [
        "Basic dXNlcjpwYXNz".to_string(),
        "Bearer".to_string(),
        format!("Bearer {token} {token}"),
        format!("Bearer {token}."),
        format!("Bearer {}", token.replace('.', "..")),
        format!("Bearer {token}="),
        token.clone(),
        "Bearer a.b.c".to_string(),
        format!("Bearer {}", "x".repeat(20_000)),
    ];
    for value in &values {
        let response = gateway.get_with("/", &[("Authorization", value)]);
        assert!(matches!(response.status, 400 | 401 | 431), "{value:.60}: {}", response.status);
    }
    let good = format!("Bearer {token}");
    let two = gateway.get_with("/", &[("Authorization", &good), ("Authorization", &good)]);
    assert!(matches!(two.status, 400 | 401), "two Authorization fields: {}", two.status);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn the_scheme_is_matched_in_any_case() {
    let origin = Origin::saying("in");
    let signer = Signer::hs256("k", SECRET);
    let gateway = with_keys(&[&signer], &origin);
    let value = format!("bEARER {}", signer.sign(&claims("42")));
    gateway.get_with("/", &[("authorization", &value)]).expect(200);
}

#[test]
fn claims_are_checked_with_a_small_leeway() {
    let origin = Origin::saying("in");
    let signer = Signer::hs256("k", SECRET);
    let gateway = with_keys(&[&signer], &origin);
    let now = unix_now();
    let changed = |name: &str, value: Value| {
        let mut claims = claims("42");
        claims[name] = value;
        signer.sign(&claims)
    };
    let without = |name: &str| {
        let mut claims = claims("42");
        claims.as_object_mut().unwrap().remove(name);
        signer.sign(&claims)
    };
    expect_refused(&gateway, &changed("exp", json!(now - 3600)), "expired");
    expect_refused(&gateway, &changed("exp", json!("tomorrow")), "exp is no number");
    expect_refused(&gateway, &without("exp"), "no exp");
    expect_refused(&gateway, &changed("nbf", json!(now + 3600)), "not yet valid");
    expect_refused(&gateway, &changed("iss", json!("https://evil.test")), "another issuer");
    expect_refused(&gateway, &without("iss"), "no issuer");
    expect_refused(&gateway, &changed("aud", json!("billing")), "another audience");
    expect_refused(&gateway, &changed("aud", json!([])), "no audience in the list");
    expect_refused(&gateway, &without("aud"), "no audience");
    assert_eq!(origin.requests().len(), 0);
    for token in [
        changed("aud", json!(["billing", "dashboard"])),
        changed("nbf", json!(now - 3600)),
        changed("nbf", json!(now + 2)),
        changed("exp", json!(now as f64 + 900.5)),
    ] {
        assert_eq!(ask(&gateway, &token).status, 200);
    }
}

#[test]
fn the_algorithm_comes_from_the_key_and_never_from_the_token() {
    let origin = Origin::saying("never");
    let rsa = Signer::rs256("k1");
    let gateway = with_keys(&[&rsa], &origin);
    let claims = claims("42");
    let unsigned =
        |header: Value| format!("{}.{}.", encode(header.to_string()), encode(claims.to_string()));
    for alg in ["none", "None", "NONE", ""] {
        expect_refused(&gateway, &unsigned(json!({"alg": alg, "kid": "k1"})), alg);
    }
    expect_refused(&gateway, &unsigned(json!({"kid": "k1"})), "no alg");
    // The classic confusion: the public key's text as an HMAC secret.
    let modulus = rsa.jwk()["n"].as_str().unwrap().to_string();
    for secret in [modulus, rsa.jwk().to_string()] {
        let confused = Signer::hs256("k1", &secret);
        let header = json!({"alg": "HS256", "kid": "k1"});
        expect_refused(&gateway, &confused.sign_with(&header, &claims), "HMAC with a public key");
    }
    let lying = rsa.sign_with(&json!({"alg": "RS512", "kid": "k1"}), &claims);
    expect_refused(&gateway, &lying, "another digest than the key's");
    let own = Signer::rs256("own");
    let header =
        json!({"alg": "RS256", "kid": "k1", "jwk": own.jwk(), "jku": "http://evil.test/k"});
    expect_refused(&gateway, &own.sign_with(&header, &claims), "a key inside the token");
    let critical = json!({"alg": "RS256", "kid": "k1", "crit": ["b64"], "b64": false});
    expect_refused(&gateway, &rsa.sign_with(&critical, &claims), "an unknown critical header");
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_secret_in_the_configuration_is_a_key() {
    let origin = Origin::saying("in");
    let config = format!("[jwt.idp]\nsecret = \"${{TEST_SECRET}}\"\n{ROUTE}");
    let gateway =
        gateway(&config).environment("TEST_SECRET", SECRET).with("app", origin.address).start();
    let mut claims = claims("42");
    assert_eq!(ask(&gateway, &Signer::hs256("any", SECRET).sign(&claims)).status, 200);
    claims["exp"] = json!(1);
    expect_refused(&gateway, &Signer::hs256("any", SECRET).sign(&claims), "expired");
    assert!(!gateway.stderr().contains(SECRET) && !gateway.stdout().contains(SECRET));
}

#[test]
fn a_set_of_keys_is_fetched_from_its_url() {
    let origin = Origin::saying("in");
    let signer = Signer::es256("e1");
    let issuer = Origin::saying(&key_set(&[&signer]));
    let gateway = from_issuer(&issuer, &origin).start();
    let token = signer.sign(&claims("42"));
    eventually("the keys to be fetched", || ask(&gateway, &token).status != 503);
    assert_eq!(ask(&gateway, &token).status, 200);
    assert!(issuer.requests().iter().all(|r| r.method == "GET" && r.target == "/jwks.json"));
}

#[test]
fn an_unknown_kid_triggers_one_bounded_fetch() {
    let origin = Origin::saying("in");
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let keys = Arc::new(Mutex::new(key_set(&[&old])));
    let current = Arc::clone(&keys);
    let issuer = Origin::script(move |_| vec![Step::Send(ok(&current.lock().unwrap()))]);
    let gateway = from_issuer(&issuer, &origin).start();
    eventually("the first key", || ask(&gateway, &old.sign(&claims("1"))).status == 200);

    *keys.lock().unwrap() = key_set(&[&old, &new]);
    eventually("the new key", || ask(&gateway, &new.sign(&claims("1"))).status == 200);
    assert_eq!(ask(&gateway, &old.sign(&claims("2"))).status, 200);

    let before = issuer.requests().len();
    for n in 0..200 {
        let unknown = Signer::hs256(&format!("unknown-{n}"), SECRET);
        assert_eq!(ask(&gateway, &unknown.sign(&claims("1"))).status, 401);
    }
    let fetched = issuer.requests().len() - before;
    assert!(fetched <= 3, "{fetched} fetches for 200 made-up key ids");
}

#[test]
fn old_keys_stay_while_the_issuer_is_down() {
    let origin = Origin::saying("in");
    let signer = Signer::es256("e1");
    let keys = key_set(&[&signer]);
    let down = Arc::new(Mutex::new(false));
    let is_down = Arc::clone(&down);
    let issuer = Origin::script(move |_| {
        let broken = *is_down.lock().unwrap();
        vec![Step::Send(if broken { answer(500, &[], b"{}") } else { ok(&keys) })]
    });
    let gateway = from_issuer(&issuer, &origin).start();
    eventually("the keys", || ask(&gateway, &signer.sign(&claims("1"))).status == 200);
    *down.lock().unwrap() = true;
    // An unknown key makes it ask the broken issuer; what it had stays.
    ask(&gateway, &Signer::es256("unknown").sign(&claims("1")));
    for subject in 0..20 {
        let token = signer.sign(&claims(&subject.to_string()));
        assert_eq!(ask(&gateway, &token).status, 200);
    }
}

#[test]
fn without_keys_at_start_the_route_is_closed_and_opens_with_them() {
    let origin = Origin::saying("in");
    let signer = Signer::es256("e1");
    let keys = key_set(&[&signer]);
    let up = Arc::new(Mutex::new(false));
    let is_up = Arc::clone(&up);
    let issuer = Origin::script(move |_| {
        let healthy = *is_up.lock().unwrap();
        vec![Step::Send(if healthy { ok(&keys) } else { answer(500, &[], b"{}") })]
    });
    let mut gateway = from_issuer(&issuer, &origin).spawn();
    eventually("the listener", || {
        crate::support::wire::Wire::try_connect(gateway.address).is_some()
    });
    assert!(!gateway.has_ended());
    let token = signer.sign(&claims("1"));
    ask(&gateway, &token).expect_problem(503);
    assert_eq!(origin.requests().len(), 0);
    *up.lock().unwrap() = true;
    eventually("the keys", || ask(&gateway, &token).status == 200);
}

#[test]
fn a_token_for_one_issuer_does_not_open_the_others_route() {
    let origin = Origin::saying("in");
    let config = r#"
[upstream.app]
endpoints = ["@app@"]
[jwt.one]
secret = "0123456789abcdef0123456789abcdef"
[jwt.two]
secret = "fedcba9876543210fedcba9876543210"
[[route]]
match = "/one"
forward = "app"
jwt = "one"
[[route]]
match = "/two"
forward = "app"
jwt = "two"
[[route]]
match = "/open"
forward = "app"
"#;
    let gateway = gateway(config).with("app", origin.address).start();
    let token = Signer::hs256("k", SECRET).sign(&claims("42"));
    let (name, value) = bearer(&token);
    let mut client = gateway.connect();
    for _ in 0..2 {
        // On one connection, so on one core: the memory of verified tokens must know whose keys proved them.
        client.get("/one", &[(name, &value)]).expect(200);
        client.get("/two", &[(name, &value)]).expect_problem(401);
        client.get("/open", &[]).expect(200);
    }
}

#[test]
fn default_policies_hold_for_routes_that_say_nothing() {
    let origin = Origin::saying("in");
    let config = r#"
[default]
jwt = "key"
[upstream.app]
endpoints = ["@app@"]
[jwt.key]
secret = "0123456789abcdef0123456789abcdef"
[[route]]
match = "/closed"
forward = "app"
[[route]]
match = "/open"
forward = "app"
jwt = "none"
"#;
    let gateway = gateway(config).with("app", origin.address).start();
    gateway.get("/closed").expect_problem(401);
    gateway.get("/open").expect(200);
}

fn from_issuer(issuer: &Origin, origin: &Origin) -> Setup {
    let config = FROM_FILE.replace("@DIR@/keys.json", "http://@issuer@/jwks.json");
    gateway(&format!("{config}{ROUTE}")).with("issuer", issuer.address).with("app", origin.address)
}
