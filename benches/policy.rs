//! What policies cost: a bearer token remembered and not, and a hit of a rate limit.
//!
//! It never reads the network or a file. Run with `cargo bench --bench policy`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use criterion::{Criterion, criterion_group, criterion_main};

use ringway::base::buffer::BufferPool;
use ringway::base::gcra::Rule;
use ringway::base::name::Name;
use ringway::base::random::Rng;
use ringway::base::shared::Cells;
use ringway::base::span::Span;
use ringway::base::time::{Instant, Wall};
use ringway::exchange::Exchange;
use ringway::exchange::template::{Template, TemplateKind};
use ringway::http::headers::Field;
use ringway::http::names::FieldName;
use ringway::policy::bearer::Bearer;
use ringway::policy::jwks::KeySet;
use ringway::policy::jwt::{Jwt, JwtRules};
use ringway::policy::key_cell::KeyCell;
use ringway::policy::rate_limit::{Cost, Limits, RateLimit, RateLimitRules};
use ringway::policy::slots::Slots;
use ringway::policy::{Env, Verdict};

const NOW_SECS: u64 = 1_700_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn message(algorithm: &str) -> String {
    let header = format!("{{\"alg\":\"{algorithm}\",\"typ\":\"JWT\"}}");
    let payload = format!(
        "{{\"sub\":\"42\",\"iss\":\"https://idp.internal\",\"aud\":\"dashboard\",\"exp\":{},\
         \"iat\":{NOW_SECS},\"scope\":\"orders:read profile\",\"realm\":{{\"roles\":[\"user\",\"admin\"]}}}}",
        NOW_SECS + 3600
    );
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

/// A token of each algorithm with the key set that verifies it.
fn tokens() -> Vec<(&'static str, KeySet, String)> {
    let random = SystemRandom::new();
    let token = |message: String, signature: &[u8]| {
        format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let mut all = Vec::new();

    let text = message("HS256");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    let signature = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    let set = KeySet::from_secret(SECRET, &[]).expect("a good secret");
    all.push(("HS256", set, token(text, signature.as_ref())));

    let text = message("RS256");
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).expect("a signature");
    let der = pair.public_key().as_der().expect("DER");
    let set = KeySet::from_pem(pem(der.as_ref()).as_bytes(), &[]).expect("a good key");
    all.push(("RS256", set, token(text, &signature)));

    let text = message("ES256");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let signature = pair.sign(&random, text.as_bytes()).expect("a signature");
    let der = pair.public_key().as_der().expect("DER");
    let set = KeySet::from_pem(pem(der.as_ref()).as_bytes(), &[]).expect("a good key");
    all.push(("ES256", set, token(text, signature.as_ref())));
    all
}

fn exchange(authorization: &str) -> Exchange {
    let mut x = Exchange::default();
    let mut bytes = BufferPool::new(1).take().expect("a buffer");
    assert!(bytes.put(authorization.as_bytes()));
    let value = Span::new(0, authorization.len());
    x.head.fields.push(Field { id: FieldName::Authorization, name: Span::EMPTY, value });
    x.bytes = Some(bytes);
    x
}

fn bearer(c: &mut Criterion) {
    let mut rng = Rng::new(1);
    let now = Instant::from_nanos(1);
    let wall = Wall::from_micros(NOW_SECS * 1_000_000);
    for (name, keys, token) in tokens() {
        let jwt = Bearer::new(vec![Jwt::new(JwtRules {
            places: Vec::new(),
            rfc9068: false,
            revoked: None,
            store: None,
            name: Name::new("idp"),
            keys: Arc::new(KeyCell::fixed(keys)),
            issuers: vec!["https://idp.internal".to_owned()],
            audiences: vec!["dashboard".to_owned()],
            leeway: Duration::from_secs(30),
            required: Vec::new(),
        })]);
        let mut x = exchange(&token);
        let mut slots = Slots::new(1);
        c.bench_function(&format!("jwt/{name}/remembered"), |b| {
            b.iter(|| {
                let env = &mut Env { now, wall, rng: &mut rng, slots: &mut slots };
                let verdict = jwt.on_request(black_box(&mut x), env);
                assert_eq!(verdict, Verdict::Continue);
            });
        });
        // A policy made anew remembers nothing of what another one verified.
        c.bench_function(&format!("jwt/{name}/verified"), |b| {
            b.iter_batched(
                || Bearer::new(vec![Jwt::new(jwt.issuers()[0].rules().clone())]),
                |fresh| {
                    let env = &mut Env { now, wall, rng: &mut rng, slots: &mut slots };
                    assert_eq!(fresh.on_request(black_box(&mut x), env), Verdict::Continue);
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
}

fn limiter(c: &mut Criterion) {
    let rule = Rule::new(1_000_000, Duration::from_secs(1), 1_000_000).expect("a rule");
    let key = Template::parse("{client.address}", TemplateKind::Plain, &[]).expect("a template");
    let cells = Arc::new(Cells::new(rule, 1 << 20, 7));
    let (name, cost) = (Name::new("per_client"), Cost::default());
    let rules = RateLimitRules { name, place: 0, key, cost, dry_run: false, fleet: None };
    let limit = Limits::new(vec![RateLimit::new(rules, cells.clone())]);
    let (mut rng, mut slots) = (Rng::new(1), Slots::new(1));
    let wall = Wall::from_micros(0);
    let mut x = Exchange::default();
    let mut nanos = 1_000_000_000;
    c.bench_function("limit/policy", |b| {
        b.iter(|| {
            nanos += 1000;
            x.reply_fields.clear();
            x.limits.clear();
            let now = Instant::from_nanos(nanos);
            let env = &mut Env { now, wall, rng: &mut rng, slots: &mut slots };
            limit.on_request(black_box(&mut x), env)
        });
    });
    c.bench_function("limit/cell", |b| {
        b.iter(|| {
            nanos += 1000;
            cells.take(black_box(0x1234_5678_9abc_def0), 1, Instant::from_nanos(nanos))
        });
    });
    let mut hashes = Rng::new(9);
    c.bench_function("limit/cell of a million keys", |b| {
        b.iter(|| {
            nanos += 100;
            let hash = hashes.bits() % 1_000_000 * 0x9e37_79b9_7f4a_7c15;
            cells.take(hash, 1, Instant::from_nanos(nanos))
        });
    });
}

criterion_group!(benches, bearer, limiter);
criterion_main!(benches);
