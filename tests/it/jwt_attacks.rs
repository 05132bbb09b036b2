//! The attacks of RFC 8725 over real sockets: each token is made by somebody who has everything but the key.
//!
//! A test that signs with the attacker's own key and shows it along cannot be passed by a gateway that looks at what
//! a token brings; one that names an address counts who came there.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;
use crate::support::tokens::{Signer, bearer, claims, encode, key_set};

const CONFIG: &str = r#"
[upstream.app]
endpoints = ["@app@"]
[jwt.idp]
jwks = "keys.json"
[[route]]
match = "/{*rest}"
forward = "app"
jwt = "idp"
"#;

struct House {
    gateway: Gateway,
    origin: Origin,
    own: Signer,
}

fn house() -> House {
    let (origin, own) = (Origin::saying("in"), Signer::rs256("own"));
    let setup = gateway(CONFIG).with("app", origin.address);
    let gateway = setup.file("keys.json", &key_set(&[&own])).start();
    House { gateway, origin, own }
}

impl House {
    fn status(&self, token: &str) -> u16 {
        let field = format!("Bearer {token}");
        self.gateway.get_with("/", &[("Authorization", &field)]).status
    }

    /// Nobody came in but by the gateway's own key.
    fn is_closed(&self) {
        assert!(self.origin.requests().is_empty());
        assert_eq!(self.status(&self.own.sign(&claims("42"))), 200, "the right key still opens");
    }
}

#[test]
fn a_token_never_says_that_it_needs_no_key() {
    let house = house();
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256 ", "null"] {
        let message = format!(
            "{}.{}",
            encode(json!({"alg": alg}).to_string()),
            encode(claims("42").to_string())
        );
        for end in ["", ".", ".AA"] {
            assert!([400, 401].contains(&house.status(&format!("{message}{end}"))), "{alg} {end}");
        }
    }
    house.is_closed();
}

#[test]
fn a_public_key_is_never_a_secret() {
    let house = house();
    let jwk = house.own.jwk();
    let texts = [key_set(&[&house.own]), jwk.to_string(), jwk["n"].as_str().unwrap().to_owned()];
    for text in texts {
        let token = Signer::hs256("own", &text).sign(&claims("42"));
        assert_eq!(house.status(&token), 401);
    }
    house.is_closed();
}

#[test]
fn a_key_that_a_token_brings_or_names_is_never_used_nor_fetched() {
    let house = house();
    let evil = Signer::rs256("own");
    let lure = Origin::saying(&key_set(&[&evil]));
    let url = format!("http://{}/jwks.json", lure.address);
    for (member, value) in [
        ("jwk", evil.jwk()),
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("kid", json!(url)),
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("own' OR '1'='1")),
        ("kid", json!("own\u{0}")),
    ] {
        let mut header = json!({"alg": "RS256", "typ": "JWT", "kid": "own"});
        header[member] = value;
        assert_eq!(house.status(&evil.sign_with(&header, &claims("42"))), 401, "{member}");
        if member != "kid" {
            // Not even with the right key: what is not understood is not passed over.
            assert_eq!(house.status(&house.own.sign_with(&header, &claims("42"))), 401, "{member}");
        }
    }
    assert!(lure.requests().is_empty(), "nobody went where a token points");
    house.is_closed();
}

#[test]
fn no_second_reading_of_a_token_is_taken() {
    let house = house();
    let good = house.own.sign(&claims("42"));
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let admin = encode(claims("admin").to_string());
    for token in [
        format!("{header}.{admin}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}."),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}.{}", signature.replace(['-', '_'], "+")),
        format!("{header}.{payload}.{signature}A"),
        format!("{header}.{payload}. {signature}"),
        format!("{{\"payload\":\"{payload}\"}}"),
    ] {
        if token != good {
            assert!([400, 401].contains(&house.status(&token)), "{token}");
        }
    }
    let twice = |text: &str| text.replacen('{', "{\"sub\":\"admin\",", 1);
    let double = house.own.sign_text(
        &json!({"alg": "RS256", "kid": "own"}).to_string(),
        &twice(&claims("42").to_string()),
    );
    assert_eq!(house.status(&double), 401, "a member twice");
    let double = house.own.sign_text(
        "{\"alg\":\"none\",\"alg\":\"RS256\",\"kid\":\"own\"}",
        &claims("42").to_string(),
    );
    assert_eq!(house.status(&double), 401, "an algorithm twice");
    house.is_closed();
}

#[test]
fn huge_and_nested_tokens_are_refused_and_cost_little() {
    let house = house();
    let nested = |depth: usize| {
        let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let mut claims = claims("42");
        claims["deep"] = serde_json::from_str::<Value>(&text).unwrap();
        claims
    };
    assert_eq!(house.status(&house.own.sign(&nested(100))), 401);
    let mut large = claims("42");
    large["x"] = json!("a".repeat(14 * 1024));
    assert!([401, 431].contains(&house.status(&house.own.sign(&large))));
    let (name, value) = bearer(&"A".repeat(15_000));
    assert!([401, 431].contains(&house.gateway.get_with("/", &[(name, &value)]).status));
    house.is_closed();
}
