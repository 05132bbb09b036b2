//! Signed tokens in compact form: taking one apart and checking its signature (RFC 7515, 7518, 8725).
//!
//! The text of a token comes from anybody. It must never choose its own key or algorithm: the key decides
//! (`policy/jwks.rs`), and a header that brings a key, a place to fetch one, an extension it calls
//! critical or a member twice is refused, even where ignoring it would be safe. Base64url is read
//! strictly (no padding, no other alphabet, no stray bits), JSON with bounds and without duplicates.
//!
//! Keys are parsed once, when a set is loaded, into aws-lc's own form. `jsonwebtoken` reads the PEM files
//! and its `Algorithm` is ours; its `JwtVerifier` was refused for checking: it parses the key and
//! allocates again for each token, cannot be shared between threads, and lacks ES512.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::base::limits::{TOKEN_BYTES_MAX, TOKEN_DEPTH_MAX, TOKEN_HEADER_BYTES_MAX};

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1). `none` is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the algorithm of that registered name")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: &'static [Algorithm] = &[
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of a registered name. Names are compared with case (RFC 7515 §4.1.1). `Ed25519`
    /// (RFC 9864) is the same as `EdDSA` here, where no other curve of it is taken.
    pub fn named(name: &str) -> Option<Algorithm> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }
}

/// How a signature is checked: a key in aws-lc's form, for one algorithm.
pub(crate) enum Check {
    /// A shared secret.
    Secret(Box<hmac::Key>),
    /// A public key.
    Public(ParsedPublicKey),
}

impl Check {
    /// Whether `signature` is the signature of `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// A token taken apart. Nothing in it is believed before a key has verified it.
pub struct Token<'a> {
    /// What the signature is about: header, dot, payload, as received.
    pub(crate) message: &'a [u8],
    /// What the token says its algorithm is.
    pub(crate) algorithm: Algorithm,
    /// Which key it names.
    pub(crate) kid: Option<String>,
    /// Whether its type says that it is an access token (RFC 9068 §2.1).
    pub(crate) is_access_token: bool,
    /// The signature.
    pub(crate) signature: Vec<u8>,
    payload: &'a [u8],
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Why a token is not one that could be verified. Carries nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Longer than `TOKEN_BYTES_MAX`, or its header than `TOKEN_HEADER_BYTES_MAX`.
    TooLong,
    /// Not three parts with dots between.
    NotThreeParts,
    /// A part is not strict base64url.
    Base64,
    /// The header is not JSON, has a member twice, nests too deep, or a member has a wrong type.
    Header,
    /// The algorithm is not one that is ever taken (`none` among them).
    Algorithm,
    /// The header brings a key or a place to fetch one, or asks for an extension.
    HeaderMember,
    /// The type says that this is another kind of token (RFC 8725 §3.11).
    Type,
    /// The payload is not a JSON object, has a member twice, or nests too deep.
    Payload,
}

/// Header members that are refused: keys and places of keys (RFC 8725 §3.10), critical extensions and
/// unencoded payloads (RFC 7515 §4.1.11, RFC 7797), and the marks of an encrypted or packed token.
const REFUSED_MEMBERS: [&str; 8] = ["jwk", "jku", "x5u", "x5c", "crit", "b64", "enc", "zip"];
/// Types of tokens that are bearer tokens: unsaid, plain, and access tokens (RFC 9068 §2.1).
const TYPES: [&str; 3] = ["jwt", "at+jwt", "jose"];

impl<'a> Token<'a> {
    /// Takes a compact token apart.
    pub fn parse(text: &'a [u8]) -> Result<Token<'a>, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let mut dots = memchr::memchr_iter(b'.', text);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(TokenError::NotThreeParts);
        };
        let (header, payload) = (&text[..first], &text[first + 1..second]);
        if header.is_empty() || second + 1 == text.len() {
            return Err(TokenError::NotThreeParts);
        }
        if header.len() > TOKEN_HEADER_BYTES_MAX * 4 / 3 {
            return Err(TokenError::TooLong);
        }
        let header = object(&decode(header)?).ok_or(TokenError::Header)?;
        let Header { algorithm, kid, is_access_token } = read_header(&header)?;
        let signature = decode(&text[second + 1..])?;
        let message = &text[..second];
        Ok(Token { message, algorithm, kid, is_access_token, signature, payload })
    }

    /// The payload's bytes.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.payload)
    }

    /// The claims: the payload as a JSON object.
    pub(crate) fn claims(&self) -> Result<Value, TokenError> {
        object(&self.payload()?).map(Value::Object).ok_or(TokenError::Payload)
    }
}

/// What the fuzzer calls: takes any bytes apart as a token and reads the claims as if it were verified.
/// Returns whether both succeeded.
pub fn fuzz_token(bytes: &[u8]) -> bool {
    Token::parse(bytes).is_ok_and(|token| token.claims().is_ok())
}

/// What a header says.
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    is_access_token: bool,
}

fn read_header(header: &Map<String, Value>) -> Result<Header, TokenError> {
    if REFUSED_MEMBERS.iter().any(|name| header.contains_key(*name)) {
        return Err(TokenError::HeaderMember);
    }
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(TokenError::Header)?;
    let algorithm = Algorithm::named(algorithm).ok_or(TokenError::Algorithm)?;
    let mut is_access_token = false;
    if let Some(kind) = header.get("typ") {
        let kind = kind.as_str().ok_or(TokenError::Header)?.to_ascii_lowercase();
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        if !TYPES.contains(&kind) {
            return Err(TokenError::Type);
        }
        is_access_token = kind == "at+jwt";
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err(TokenError::Header),
    };
    Ok(Header { algorithm, kid, is_access_token })
}

fn decode(part: &[u8]) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Base64)
}

/// A JSON object, whole, without duplicate members and nested at most `TOKEN_DEPTH_MAX` deep.
pub(crate) fn object(text: &[u8]) -> Option<Map<String, Value>> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: TOKEN_DEPTH_MAX }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// A JSON value in which no object has a member twice: two readers of one token must never see two
/// different values (RFC 8725 §2.4, RFC 7519 §4).
#[derive(Clone, Copy)]
struct Strict {
    depth: u32,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Strict, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Strict { depth }),
            None => Err(E::custom("nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(members))
    }
}
