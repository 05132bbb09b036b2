//! Signs the tokens that tests send, and shows the matching keys as a JWK Set.
//!
//! Signatures are made with aws-lc-rs directly, never with the library that the gateway verifies with, so
//! that one mistake cannot hide the other (RFC 7515, 7517, 7518, 8037). Keys are new for each test run.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key that can sign, with its `kid`.
pub struct Signer {
    kid: String,
    key: Key,
}

enum Key {
    Hmac(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    pub fn hs256(kid: &str, secret: &str) -> Signer {
        Signer { kid: kid.into(), key: Key::Hmac(secret.as_bytes().to_vec()) }
    }

    pub fn rs256(kid: &str) -> Signer {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Signer { kid: kid.into(), key: Key::Rsa(Box::new(key)) }
    }

    pub fn es256(kid: &str) -> Signer {
        let key = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Signer { kid: kid.into(), key: Key::Ecdsa(key) }
    }

    pub fn eddsa(kid: &str) -> Signer {
        Signer { kid: kid.into(), key: Key::Ed25519(Ed25519KeyPair::generate().unwrap()) }
    }

    pub fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Hmac(_) => "HS256",
            Key::Rsa(_) => "RS256",
            Key::Ecdsa(_) => "ES256",
            Key::Ed25519(_) => "EdDSA",
        }
    }

    /// A token with these claims and the header that fits the key.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.kid}), claims)
    }

    /// A token with this header, whatever it says.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A token of these two texts, whatever they are.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        format!("{message}.{}", encode(self.signature(message.as_bytes())))
    }

    /// The public half as a JWK; for HMAC the secret itself, as a jwks file holds it.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Hmac(secret) => json!({"kty": "oct", "k": encode(secret)}),
            Key::Rsa(pair) => {
                let (n, e) = rsa_numbers(pair.public_key().as_ref());
                json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
            }
            Key::Ecdsa(pair) => {
                let point = pair.public_key().as_ref();
                assert_eq!((point.len(), point[0]), (65, 4), "an uncompressed point");
                let (x, y) = point[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Key::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        jwk
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Hmac(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Key::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut out).unwrap();
                out
            }
            Key::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// A JWK Set of these keys.
pub fn key_set(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Seconds since 1970, as NumericDate is counted (RFC 7519 §2).
pub fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// Claims of a token that is valid for an hour.
pub fn claims(subject: &str) -> Value {
    json!({"iss": "https://idp.test", "aud": "dashboard", "sub": subject, "exp": unix_now() + 3600})
}

pub fn bearer(token: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {token}"))
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Modulus and exponent of an RSAPublicKey (RFC 8017 appendix A.1.1) of 2048 bits, whose DER has one shape.
fn rsa_numbers(der: &[u8]) -> (&[u8], &[u8]) {
    assert_eq!(der[..9], [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00], "2048 bits");
    let (n, e) = der[9..].split_at(256);
    assert_eq!(e, [0x02, 0x03, 0x01, 0x00, 0x01], "the exponent 65537");
    (n, &e[2..])
}

#[test]
fn a_library_accepts_what_these_signers_sign() {
    use jsonwebtoken::{DecodingKey, Validation, decode, jwk::Jwk};
    let secret = "0123456789abcdef0123456789abcdef";
    for signer in
        [Signer::hs256("h", secret), Signer::rs256("r"), Signer::es256("e"), Signer::eddsa("d")]
    {
        let jwk: Jwk = serde_json::from_value(signer.jwk()).unwrap();
        let mut validation = Validation::new(signer.algorithm().parse().unwrap());
        validation.set_audience(&["dashboard"]);
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        decode::<Value>(signer.sign(&claims("42")), &key, &validation).unwrap();
    }
}
