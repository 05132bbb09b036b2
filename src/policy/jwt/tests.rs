//! What is accepted, what is refused and why (RFC 8725's attacks among it), and what is remembered.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;
use crate::base::buffer::{Buf, BufferPool};
use crate::base::limits::{KEY_FETCH_INTERVAL, TOKEN_BYTES_MAX};
use crate::base::random::Rng;
use crate::base::span::Span;
use crate::base::time::{Instant, Wall};
use crate::exchange::Exchange;
use crate::http::headers::Field;
use crate::http::names::FieldName;
use crate::policy::Verdict;
use crate::policy::bearer::Bearer;
use crate::policy::jose::{Algorithm, fuzz_token};
use crate::policy::jwks::KeySet;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_700_000_000;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn mac(message: &str, secret: &[u8]) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    b64(aws_lc_rs::hmac::sign(&key, message.as_bytes()))
}

/// A token of these texts, signed with HS256.
fn signed(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", b64(header), b64(payload));
    let signature = mac(&message, SECRET);
    format!("{message}.{signature}")
}

fn token(claims: Value) -> String {
    signed("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", &claims.to_string())
}

fn good() -> Value {
    json!({"sub": "42", "iss": "https://idp", "aud": ["other", "dashboard"], "exp": NOW + 300})
}

fn with(name: &str, value: Value) -> String {
    let mut claims = good();
    claims[name] = value;
    token(claims)
}

/// One core with one policy.
struct Core {
    jwt: Jwt,
    slots: Slots,
    rng: Rng,
    now: Instant,
    wall: u64,
    buffers: BufferPool,
}

impl Core {
    fn new(keys: KeyCell) -> Core {
        let rules = JwtRules {
            name: Name::new("idp"),
            keys: Arc::new(keys),
            issuers: vec!["https://idp".into()],
            audiences: vec!["dashboard".into()],
            leeway: Duration::from_secs(30),
            required: vec!["sub".into()],
            places: Vec::new(),
            rfc9068: false,
            revoked: None,
            store: None,
        };
        let jwt = Jwt::new(rules);
        let now = Instant::from_nanos(50_000_000_000);
        let (slots, rng) = (Slots::new(1), Rng::new(1));
        Core { jwt, slots, rng, now, wall: NOW, buffers: BufferPool::new(16) }
    }

    fn with_secret() -> Core {
        Core::new(KeyCell::fixed(KeySet::from_secret(SECRET, &[]).unwrap()))
    }

    fn ask_with(&mut self, authorization: &[&str]) -> (Verdict, Exchange) {
        let mut x = Exchange::default();
        let mut bytes: Buf = self.buffers.take().unwrap();
        let mut at = 0;
        for value in authorization {
            assert!(bytes.put(value.as_bytes()));
            let value = Span::new(at, at + value.len());
            at = value.end as usize;
            x.head.fields.push(Field { id: FieldName::Authorization, name: Span::EMPTY, value });
        }
        x.bytes = Some(bytes);
        let wall = Wall::from_micros(self.wall * 1_000_000);
        let env = &mut Env { now: self.now, wall, rng: &mut self.rng, slots: &mut self.slots };
        (Bearer::new(vec![self.jwt.clone()]).on_request(&mut x, env), x)
    }

    fn ask(&mut self, token: &str) -> (Verdict, Exchange) {
        self.ask_with(&[&format!("Bearer {token}")])
    }

    fn passes(&mut self, token: &str) -> bool {
        self.ask(token).0 == Verdict::Continue
    }

    fn reason(&mut self, token: &str) -> &'static str {
        let (verdict, x) = self.ask(token);
        assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?} for {token}");
        assert!(x.identity.is_none());
        x.reason
    }
}

fn fields(x: &Exchange) -> &str {
    std::str::from_utf8(x.reply_fields.as_bytes()).unwrap()
}

#[test]
fn a_good_token_proves_its_claims() {
    let mut core = Core::with_secret();
    let (verdict, x) = core.ask(&token(good()));
    assert_eq!(verdict, Verdict::Continue);
    assert_eq!(x.identity.unwrap().subject(), Some("42"));
    assert!(core.passes(&with("aud", json!("dashboard"))));
}

#[test]
fn a_missing_token_is_a_bare_challenge() {
    let mut core = Core::with_secret();
    for fields_sent in [&[][..], &["Basic dTpw"]] {
        let (verdict, x) = core.ask_with(fields_sent);
        let Verdict::Refuse(fault) = verdict else { panic!("refused") };
        assert_eq!((fault.kind, x.reason), (FaultKind::Unauthorized, "token_missing"));
        assert_eq!(fields(&x), "www-authenticate: Bearer\r\n");
    }
}

#[test]
fn malformed_credentials_are_a_bad_request() {
    let mut core = Core::with_secret();
    let good = format!("Bearer {}", token(good()));
    for sent in [&["Bearer"][..], &["Bearer a b"], &["Bearer a,b"], &[good.as_str(), good.as_str()]]
    {
        let (verdict, x) = core.ask_with(sent);
        let Verdict::Refuse(fault) = verdict else { panic!("refused") };
        assert_eq!(fault.kind, FaultKind::HttpRequestError);
        assert!(fields(&x).contains("invalid_request"));
    }
}

#[test]
fn the_scheme_is_compared_without_case() {
    let mut core = Core::with_secret();
    assert_eq!(core.ask_with(&[&format!("bEARER  {}", token(good()))]).0, Verdict::Continue);
}

#[test]
fn times_are_kept_with_leeway() {
    let mut core = Core::with_secret();
    assert!(core.passes(&with("exp", json!(NOW - 29))));
    assert_eq!(core.reason(&with("exp", json!(NOW - 30))), "token_expired");
    assert!(core.passes(&with("nbf", json!(NOW + 30))));
    assert_eq!(core.reason(&with("nbf", json!(NOW + 31))), "token_not_yet_valid");
    assert_eq!(core.reason(&with("nbf", json!(NOW as f64 + 30.5))), "token_not_yet_valid");
    assert_eq!(core.reason(&with("iat", json!(NOW + 31))), "token_issued_ahead");
    let (_, x) = core.ask(&with("exp", json!(1)));
    assert!(
        fields(&x).contains("error=\"invalid_token\", error_description=\"the token has expired\"")
    );
}

#[test]
fn senseless_times_are_refused() {
    let mut core = Core::with_secret();
    for exp in
        [json!("1800000000"), json!(-1), json!(null), json!(NOW * 1000), json!(1e300), json!([])]
    {
        assert_eq!(core.reason(&with("exp", exp)), "claim_malformed");
    }
    let mut claims = good();
    claims.as_object_mut().unwrap().remove("exp");
    assert_eq!(core.reason(&token(claims)), "claim_missing");
}

#[test]
fn issuer_audience_and_required_claims_are_looked_at() {
    let mut core = Core::with_secret();
    assert_eq!(core.reason(&with("iss", json!("https://evil"))), "issuer");
    assert_eq!(core.reason(&with("iss", json!(["https://idp"]))), "claim_malformed");
    assert_eq!(core.reason(&with("aud", json!("other"))), "audience");
    assert_eq!(core.reason(&with("aud", json!([]))), "audience");
    assert_eq!(core.reason(&with("aud", json!(["dashboard", 7]))), "claim_malformed");
    assert_eq!(core.reason(&with("sub", json!(7))), "claim_malformed");
    let mut claims = good();
    claims.as_object_mut().unwrap().remove("sub");
    assert_eq!(core.reason(&token(claims)), "claim_missing");
}

#[test]
fn the_none_algorithm_is_refused() {
    let mut core = Core::with_secret();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({"alg": alg}).to_string();
        let bare = format!("{}.{}.", b64(&header), b64(good().to_string()));
        assert_eq!(core.reason(&bare), "token_not_three_parts");
        assert_eq!(core.reason(&format!("{bare}AA")), "token_algorithm");
        assert_eq!(core.reason(&signed(&header, &good().to_string())), "token_algorithm");
    }
}

#[test]
fn the_key_decides_about_the_algorithm() {
    let (public, _) = ec_pair();
    let pem = pem("PUBLIC KEY", &public);
    let set = KeySet::from_pem(pem.as_bytes(), &[]).unwrap();
    let mut core = Core::new(KeyCell::fixed(set));
    // The public key's text as an HMAC secret: the classic confusion.
    let message = format!("{}.{}", b64("{\"alg\":\"HS256\"}"), b64(good().to_string()));
    for secret in [pem.as_bytes(), &public] {
        assert_eq!(core.reason(&format!("{message}.{}", mac(&message, secret))), "signature");
    }
    assert_eq!(Core::with_secret().reason(&signed("{\"alg\":\"HS384\"}", "{}")), "signature");
}

#[test]
fn a_header_may_bring_no_key_and_no_extension() {
    let mut core = Core::with_secret();
    for member in ["jwk", "jku", "x5u", "x5c", "crit", "b64", "enc", "zip"] {
        let header = json!({"alg": "HS256", member: "https://evil"}).to_string();
        assert_eq!(core.reason(&signed(&header, &good().to_string())), "token_header_member");
    }
    assert!(core.passes(&signed("{\"alg\":\"HS256\",\"x5t\":\"abc\"}", &good().to_string())));
}

#[test]
fn tokens_of_another_kind_are_refused() {
    let mut core = Core::with_secret();
    for kind in ["logout+jwt", "dpop+jwt", "secevent+jwt"] {
        let header = json!({"alg": "HS256", "typ": kind}).to_string();
        assert_eq!(core.reason(&signed(&header, &good().to_string())), "token_type");
    }
    for kind in ["jwt", "at+jwt", "application/at+jwt"] {
        let header = json!({"alg": "HS256", "typ": kind}).to_string();
        assert!(core.passes(&signed(&header, &good().to_string())));
    }
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    let mut core = Core::with_secret();
    let payload = good().to_string();
    assert_eq!(
        core.reason(&signed("{\"alg\":\"HS256\",\"alg\":\"HS256\"}", &payload)),
        "token_header"
    );
    let twice = payload.replacen('{', "{\"sub\":\"admin\",", 1);
    assert_eq!(core.reason(&signed("{\"alg\":\"HS256\"}", &twice)), "token_payload");
    let deep = payload.replacen('{', "{\"realm\":{\"a\":1,\"\\u0061\":2},", 1);
    assert_eq!(core.reason(&signed("{\"alg\":\"HS256\"}", &deep)), "token_payload");
}

#[test]
fn odd_base64_is_refused() {
    let mut core = Core::with_secret();
    let good = token(good());
    let parts: Vec<&str> = good.split('.').collect();
    for (at, part) in parts.iter().enumerate() {
        for odd in [format!("{part}="), format!("{part}=="), format!("{part}+"), format!("{part}A")]
        {
            let mut parts = parts.clone();
            parts[at] = &odd;
            let token = parts.join(".");
            let (verdict, _) = core.ask(&token);
            assert!(matches!(verdict, Verdict::Refuse(_)), "{token}");
        }
    }
    // 32 bytes end in a character with two unused bits: setting one must not give a second spelling.
    let last = good.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    assert_eq!(core.reason(&format!("{}{next}", &good[..good.len() - 1])), "token_base64");
}

#[test]
fn huge_and_nested_tokens_are_refused() {
    let mut core = Core::with_secret();
    assert_eq!(core.reason(&with("x", json!("a".repeat(TOKEN_BYTES_MAX)))), "token_too_long");
    let header = json!({"alg": "HS256", "x": "a".repeat(3000)}).to_string();
    assert_eq!(core.reason(&signed(&header, "{}")), "token_too_long");
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(core.reason(&signed("{\"alg\":\"HS256\"}", &nested(16))), "token_payload");
    assert_eq!(core.reason(&signed("{\"alg\":\"HS256\"}", &nested(3000))), "token_payload");
    assert_eq!(core.reason(&signed("{\"alg\":\"HS256\"}", &nested(15))), "claim_missing");
    for payload in ["[]", "7", "", "{}{}", "{\"a\":1}x", "\u{feff}{}", "\"x\""] {
        assert_eq!(core.reason(&signed("{\"alg\":\"HS256\"}", payload)), "token_payload");
    }
}

#[test]
fn a_kid_is_a_name_and_nothing_else() {
    let jwks = json!({"keys": [{"kty": "oct", "kid": "a", "k": b64(SECRET)}]}).to_string();
    let set = KeySet::from_jwks(jwks.as_bytes(), &[]).unwrap();
    let mut core = Core::new(KeyCell::fixed(set));
    let payload = good().to_string();
    for kid in ["../../dev/null", "' OR 1=1 --", "A", ""] {
        let header = json!({"alg": "HS256", "kid": kid}).to_string();
        assert_eq!(core.reason(&signed(&header, &payload)), "key_unknown");
    }
    assert_eq!(core.reason(&signed("{\"alg\":\"HS256\",\"kid\":null}", &payload)), "token_header");
    assert!(core.passes(&signed("{\"alg\":\"HS256\",\"kid\":\"a\"}", &payload)));
    assert!(core.passes(&signed("{\"alg\":\"HS256\"}", &payload)));
}

#[test]
fn without_keys_a_route_is_closed() {
    let mut core = Core::new(KeyCell::empty());
    let (verdict, x) = core.ask(&token(good()));
    let Verdict::Refuse(fault) = verdict else { panic!("refused") };
    assert_eq!((fault.kind, x.reason), (FaultKind::KeysUnavailable, "keys_unavailable"));
    assert_eq!(fields(&x), "");
}

#[test]
fn an_unknown_key_is_waited_for_once() {
    let jwks =
        |kid: &str| json!({"keys": [{"kty": "oct", "kid": kid, "k": b64(SECRET)}]}).to_string();
    let set = |kid: &str| KeySet::from_jwks(jwks(kid).as_bytes(), &[]).unwrap();
    let mut core = Core::new(KeyCell::fixed(set("old")));
    let keys = core.jwt.rules().keys.clone();
    keys.set_fetcher(std::thread::current());
    let fresh = signed("{\"alg\":\"HS256\",\"kid\":\"new\"}", &good().to_string());
    assert_eq!(core.ask(&fresh).0, Verdict::Wait);
    assert_eq!(core.ask(&fresh).0, Verdict::Wait);
    keys.publish(set("new"));
    keys.refresh_is_done();
    assert!(core.passes(&fresh));
    let bogus = signed("{\"alg\":\"HS256\",\"kid\":\"bogus\"}", &good().to_string());
    assert_eq!(core.reason(&bogus), "key_unknown");
    assert!(!keys.refresh_is_wanted());
}

/// A fetch for somebody's made-up id once closed the door for a minute to a new key that came just after it.
#[test]
fn a_fetch_says_nothing_of_a_key_id_that_was_first_seen_after_it() {
    let jwks =
        |kid: &str| json!({"keys": [{"kty": "oct", "kid": kid, "k": b64(SECRET)}]}).to_string();
    let set = |kid: &str| KeySet::from_jwks(jwks(kid).as_bytes(), &[]).unwrap();
    let mut core = Core::new(KeyCell::fixed(set("old")));
    let keys = core.jwt.rules().keys.clone();
    keys.set_fetcher(std::thread::current());
    let of = |kid: &str| {
        signed(&format!("{{\"alg\":\"HS256\",\"kid\":\"{kid}\"}}"), &good().to_string())
    };
    assert_eq!(core.ask(&of("bogus")).0, Verdict::Wait);
    keys.refresh_is_done();
    core.now = core.now + Duration::from_secs(1);
    assert_eq!(core.reason(&of("bogus")), "key_unknown");
    assert_eq!(core.reason(&of("new")), "key_unknown", "so soon nobody is asked again");
    core.now = core.now + KEY_FETCH_INTERVAL;
    assert_eq!(core.reason(&of("bogus")), "key_unknown", "a fetch did not bring it");
    assert!(!keys.refresh_is_wanted());
    assert_eq!(core.ask(&of("new")).0, Verdict::Wait);
    keys.publish(set("new"));
    keys.refresh_is_done();
    assert!(core.passes(&of("new")));
}

#[test]
fn a_verified_token_is_remembered_until_it_expires() {
    let mut core = Core::with_secret();
    let token = token(good());
    let claims = |core: &mut Core| {
        let identity = core.ask(&token).1.identity.unwrap();
        std::ptr::from_ref(identity.claim::<&str>(&[]).unwrap())
    };
    let first = claims(&mut core);
    assert_eq!((claims(&mut core), core.slots.tokens_remembered()), (first, 1));
    core.wall = NOW + 329;
    assert_eq!(claims(&mut core), first);
    core.wall = NOW + 330;
    assert_eq!(core.reason(&token), "token_expired");
    assert_eq!(core.slots.tokens_remembered(), 0);
}

#[test]
fn a_refused_token_is_not_remembered_and_its_neighbour_is_compared_in_full() {
    let mut core = Core::with_secret();
    let good = token(good());
    assert!(core.passes(&good));
    let forged = format!("{}{}", &good[..good.len() - 5], "AAAAA");
    for _ in 0..2 {
        assert!(!core.passes(&forged));
    }
    assert_eq!(core.slots.tokens_remembered(), 1);
}

#[test]
fn new_keys_forget_what_the_old_ones_verified() {
    let mut core = Core::with_secret();
    let token = token(good());
    assert!(core.passes(&token));
    core.jwt.rules().keys.publish(KeySet::from_secret(&[9; 32], &[]).unwrap());
    assert_eq!(core.reason(&token), "signature");
}

#[test]
fn policies_do_not_share_what_they_remember() {
    let mut core = Core::with_secret();
    let token = token(good());
    assert!(core.passes(&token));
    let mut rules = core.jwt.rules().clone();
    rules.audiences = vec!["admin".into()];
    core.jwt = Jwt::new(rules);
    assert_eq!(core.reason(&token), "audience");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut core = Core::with_secret();
    for number in 0..300 {
        let padding = "x".repeat(10_000);
        assert!(core.passes(&with("pad", json!(format!("{number}{padding}")))));
    }
    for number in 0..(crate::base::limits::TOKENS_REMEMBERED_MAX + 100) {
        assert!(core.passes(&with("jti", json!(number.to_string()))));
    }
    assert!(core.slots.tokens_remembered() <= crate::base::limits::TOKENS_REMEMBERED_MAX);
    assert!(core.slots.tokens.weight() <= crate::base::limits::TOKENS_REMEMBERED_BYTES_MAX);
}

#[test]
fn nothing_of_a_token_is_told() {
    let mut core = Core::with_secret();
    let (_, x) = core.ask(&with("iss", json!("SENTINEL")));
    assert!(!fields(&x).contains("SENTINEL") && !x.reason.contains("SENTINEL"));
    let debug = format!("{:?} {:?}", core.jwt, core.slots);
    assert!(!debug.contains("0123456789abcdef") && !debug.contains("SENTINEL"));
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A P-256 key: its public half in DER, its private half in PKCS #8.
fn ec_pair() -> (Vec<u8>, Vec<u8>) {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = pair.public_key().as_der().unwrap().as_ref().to_vec();
    (public, pair.to_pkcs8v1().unwrap().as_ref().to_vec())
}

#[test]
fn pem_keys_of_every_kind_verify() {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{self as s, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
    let random = SystemRandom::new();
    let message =
        |alg: &str| format!("{}.{}", b64(json!({"alg": alg}).to_string()), b64(good().to_string()));
    let check = |pem: String, permitted: &[Algorithm], message: &str, signature: &[u8]| {
        let set = KeySet::from_pem(pem.as_bytes(), permitted).unwrap();
        assert!(Core::new(KeyCell::fixed(set)).passes(&format!("{message}.{}", b64(signature))));
    };
    for (alg, curve) in [
        ("ES256", &s::ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", &s::ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", &s::ECDSA_P521_SHA512_FIXED_SIGNING),
    ] {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        let text = message(alg);
        let signature = pair.sign(&random, text.as_bytes()).unwrap();
        let public = pair.public_key().as_der().unwrap();
        check(pem("PUBLIC KEY", public.as_ref()), &[], &text, signature.as_ref());
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = pair.public_key().as_der().unwrap().as_ref().to_vec();
    for alg in ["EdDSA", "Ed25519"] {
        let text = message(alg);
        check(pem("PUBLIC KEY", &public), &[], &text, pair.sign(text.as_bytes()).as_ref());
    }
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let public = pair.public_key().as_der().unwrap().as_ref().to_vec();
    let algorithms: [(&str, &[Algorithm], &s::RsaSignatureEncoding); 3] = [
        ("RS256", &[], &s::RSA_PKCS1_SHA256),
        ("RS512", &[Algorithm::RS512, Algorithm::ES256], &s::RSA_PKCS1_SHA512),
        ("PS384", &[Algorithm::RS256, Algorithm::PS384], &s::RSA_PSS_SHA384),
    ];
    for (alg, permitted, encoding) in algorithms {
        let text = message(alg);
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &random, text.as_bytes(), &mut signature).unwrap();
        check(pem("PUBLIC KEY", &public), permitted, &text, &signature);
        check(pem("RSA PUBLIC KEY", pair.public_key().as_ref()), permitted, &text, &signature);
    }
}

#[test]
fn any_bytes_can_be_taken_apart() {
    let mut whole = 0;
    let mut rng = Rng::new(4);
    let good = token(good());
    for _ in 0..20_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u32) as usize;
            bytes[at] = rng.bits() as u8;
        }
        whole += u32::from(fuzz_token(&bytes));
    }
    assert!(fuzz_token(good.as_bytes()));
    assert!(whole < 20_000);
}
