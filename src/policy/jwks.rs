//! Key sets: reading them and choosing from them (RFC 7517, 7518 §6, 8037; RFC 8725 §3.1 and §3.5).
//!
//! A key decides what it is for. Its `alg`, or its type, says with which algorithm it verifies, and a
//! configured list can only narrow that (or, for an RSA key or a secret that says nothing, name it). A
//! key set never falls back: what is doubtful is left out with a reason (encryption keys, weak or
//! mismatched ones, two with one id), and a set that mixes secrets with public keys is refused whole.
//! Nothing of a key ever stands in an error, an event or a Debug text.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::base::limits::{KEY_SET_BYTES_MAX, KEY_SET_KEYS_MAX, TOKEN_KEYS_TRIED_MAX};
use crate::base::shared::unique;
use crate::policy::jose::{Algorithm, Check, Token, object};

/// The keys of one issuer at one time.
pub struct KeySet {
    keys: Vec<Key>,
    left_out: Vec<LeftOut>,
    generation: u64,
}

/// One key for one algorithm.
struct Key {
    kid: Option<Box<str>>,
    algorithm: Algorithm,
    check: Check,
}

/// A key of a set that is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place in the set, from zero.
    pub index: usize,
    /// Why.
    pub why: Unfit,
}

/// Why a key is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its `use` or `key_ops` is not about verifying signatures.
    OtherUse,
    /// Its `alg` is unknown, does not fit its type or curve, or is not among the configured ones.
    Algorithm,
    /// Its type or curve is not one that we know.
    Type,
    /// A member is missing, not strict base64url, or of a wrong length.
    Malformed,
    /// RSA under 2048 bits, an exponent below 3, a modulus with the ROCA weakness (CVE-2017-15361), or
    /// a secret shorter than its hash (RFC 7518 §3.2).
    Weak,
    /// Another key has the same id and algorithm: none of them is used.
    DuplicateId,
}

impl Unfit {
    /// The word in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::OtherUse => "other_use",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Malformed => "malformed",
            Self::Weak => "weak",
            Self::DuplicateId => "duplicate_id",
        }
    }
}

/// Why there is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetError {
    /// Longer than `KEY_SET_BYTES_MAX`, or more than `KEY_SET_KEYS_MAX` keys.
    TooLarge,
    /// Not a JSON object with a list `keys`, or a member stands twice.
    NotAKeySet,
    /// Secrets and public keys in one set: whoever can read the public half must not learn to sign.
    Mixed,
    /// Not one key can be used; the first one's reason, if there was a key.
    NoUsableKey(Option<Unfit>),
    /// Not a public key in PEM (`PUBLIC KEY` or `RSA PUBLIC KEY`) of a type that we know.
    NotAPublicKey,
}

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self {
            Self::TooLarge => "the key set is too large",
            Self::NotAKeySet => "not a JSON Web Key Set",
            Self::Mixed => "the key set mixes secrets with public keys",
            Self::NotAPublicKey => "not a public key in PEM of a type that is supported",
            Self::NoUsableKey(why) => match why {
                None => "the key set is empty",
                Some(Unfit::Weak) => "no usable key: the key is too weak for its algorithm",
                Some(Unfit::Algorithm) => "no usable key: the key does not fit the algorithm",
                Some(Unfit::DuplicateId) => "no usable key: two keys have the same id",
                Some(Unfit::OtherUse) => "no usable key: not meant for signatures",
                Some(Unfit::Type | Unfit::Malformed) => "no usable key: malformed or unknown type",
            },
        };
        f.write_str(reason)
    }
}

impl std::error::Error for KeySetError {}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// What a set says to one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// A key verified it.
    Verified,
    /// Keys were tried and none did, or the key named is for another algorithm.
    Refused,
    /// The set has no key of that id.
    KeyUnknown,
}

impl KeySet {
    /// From the text of a JSON Web Key Set. `permitted` narrows the algorithms; empty: what the keys say.
    pub fn from_jwks(text: &[u8], permitted: &[Algorithm]) -> Result<KeySet, KeySetError> {
        if text.len() > KEY_SET_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let set = object(text).ok_or(KeySetError::NotAKeySet)?;
        let Some(Value::Array(list)) = set.get("keys") else {
            return Err(KeySetError::NotAKeySet);
        };
        if list.len() > KEY_SET_KEYS_MAX {
            return Err(KeySetError::TooLarge);
        }
        let secrets = list.iter().filter(|key| key.get("kty") == Some(&"oct".into())).count();
        if secrets != 0 && secrets != list.len() {
            return Err(KeySetError::Mixed);
        }
        let mut keys = Vec::new();
        let mut left_out = Vec::new();
        for (index, jwk) in list.iter().enumerate() {
            match jwk.as_object().ok_or(Unfit::Malformed).and_then(|jwk| read_jwk(jwk, permitted)) {
                Ok(read) => keys.extend(read.into_iter().map(|key| (index, key))),
                Err(why) => left_out.push(LeftOut { index, why }),
            }
        }
        let broken: Vec<&Value> = left_out
            .iter()
            .filter(|one: &&LeftOut| one.why != Unfit::OtherUse)
            .map(|one| &list[one.index])
            .collect();
        let (keys, doubles) = without_doubles(keys, &broken);
        left_out.extend(doubles);
        Self::of(keys, left_out)
    }

    /// From one shared secret. Without `permitted` it is for HS256. The secret must be as long as the hash.
    pub fn from_secret(secret: &[u8], permitted: &[Algorithm]) -> Result<KeySet, KeySetError> {
        let key = secret_key(secret, &choose(Family::Secret, permitted), None);
        Self::of_one(key)
    }

    /// From one public key in PEM. Without `permitted` an RSA key is for RS256.
    pub fn from_pem(text: &[u8], permitted: &[Algorithm]) -> Result<KeySet, KeySetError> {
        let text = text.trim_ascii();
        let public = [&b"-----BEGIN PUBLIC KEY-----"[..], b"-----BEGIN RSA PUBLIC KEY-----"];
        if text.len() > KEY_SET_BYTES_MAX || !public.iter().any(|label| text.starts_with(label)) {
            return Err(KeySetError::NotAPublicKey);
        }
        let bytes = |key: &DecodingKey| key.try_get_as_bytes().map(<[u8]>::to_vec).ok();
        if let Some(der) = DecodingKey::from_rsa_pem(text).ok().as_ref().and_then(bytes) {
            return Self::of_one(rsa_der_key(&der, permitted));
        }
        if let Some(point) = DecodingKey::from_ec_pem(text).ok().as_ref().and_then(bytes) {
            let curve = Curve::of_point(&point).ok_or(KeySetError::NotAPublicKey)?;
            return Self::of_one(point_key(curve, &point, permitted, None));
        }
        if let Some(point) = DecodingKey::from_ed_pem(text).ok().as_ref().and_then(bytes) {
            return Self::of_one(point_key(Curve::Ed25519, &point, permitted, None));
        }
        Err(KeySetError::NotAPublicKey)
    }

    fn of_one(keys: Result<Vec<Key>, Unfit>) -> Result<KeySet, KeySetError> {
        match keys {
            Ok(keys) => Self::of(keys, Vec::new()),
            Err(why) => Err(KeySetError::NoUsableKey(Some(why))),
        }
    }

    fn of(keys: Vec<Key>, left_out: Vec<LeftOut>) -> Result<KeySet, KeySetError> {
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey(left_out.first().map(|one| one.why)));
        }
        Ok(KeySet { keys, left_out, generation: unique() })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a set without a usable key is an error.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that are not used, and why.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// A number that no other key set of this process has.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Checks a token's signature. A key without an id fits any token of its algorithm; a token without
    /// an id is tried with `TOKEN_KEYS_TRIED_MAX` keys of its algorithm.
    pub(crate) fn check(&self, token: &Token<'_>) -> Checked {
        let named = |key: &&Key| match (&token.kid, &key.kid) {
            (Some(wanted), Some(kid)) => **wanted == **kid,
            _ => true,
        };
        let mut known = self.keys.iter().filter(named).peekable();
        if known.peek().is_none() {
            return Checked::KeyUnknown;
        }
        let mut fit =
            known.filter(|key| key.algorithm == token.algorithm).take(TOKEN_KEYS_TRIED_MAX);
        match fit.any(|key| key.check.verifies(token.message, &token.signature)) {
            true => Checked::Verified,
            false => Checked::Refused,
        }
    }
}

/// Takes out all keys that have their id and algorithm in common with another one, be it a broken one.
fn without_doubles(keys: Vec<(usize, Key)>, broken: &[&Value]) -> (Vec<Key>, Vec<LeftOut>) {
    let same = |one: &Key, other: &Key| {
        one.kid.is_some() && one.kid == other.kid && one.algorithm == other.algorithm
    };
    let like = |one: &Key, other: &Value| {
        let algorithm = other.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
        one.kid.as_deref().is_some_and(|kid| other.get("kid").and_then(Value::as_str) == Some(kid))
            && algorithm.is_none_or(|algorithm| algorithm == one.algorithm)
    };
    let double: Vec<bool> = keys
        .iter()
        .map(|(_, key)| {
            keys.iter().filter(|(_, other)| same(key, other)).count() > 1
                || broken.iter().any(|other| like(key, other))
        })
        .collect();
    let mut single = Vec::new();
    let mut left_out = Vec::new();
    for ((index, key), double) in keys.into_iter().zip(double) {
        match double {
            true => left_out.push(LeftOut { index, why: Unfit::DuplicateId }),
            false => single.push(key),
        }
    }
    (single, left_out)
}

/// What kinds of keys there are, as far as algorithms are concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Secret,
    Rsa,
    Point(Curve),
}

/// Curves whose public keys are points.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
    Ed25519,
}

impl Curve {
    fn named(name: &str) -> Option<Curve> {
        match name {
            "P-256" => Some(Self::P256),
            "P-384" => Some(Self::P384),
            "P-521" => Some(Self::P521),
            "Ed25519" => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// The curve of an uncompressed point (SEC 1 §2.3.3), by its length.
    fn of_point(point: &[u8]) -> Option<Curve> {
        match point.len() {
            65 => Some(Self::P256),
            97 => Some(Self::P384),
            133 => Some(Self::P521),
            _ => None,
        }
    }

    /// Bytes of one coordinate.
    fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 | Self::Ed25519 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

impl Family {
    fn of(algorithm: Algorithm) -> Family {
        use Algorithm as A;
        match algorithm {
            A::HS256 | A::HS384 | A::HS512 => Self::Secret,
            A::RS256 | A::RS384 | A::RS512 | A::PS256 | A::PS384 | A::PS512 => Self::Rsa,
            A::ES256 => Self::Point(Curve::P256),
            A::ES384 => Self::Point(Curve::P384),
            A::ES512 => Self::Point(Curve::P521),
            A::EdDSA => Self::Point(Curve::Ed25519),
        }
    }

    /// What a key is for that does not say so: the one algorithm of its curve; for RSA and secrets the
    /// one that RFC 7518 §3.1 requires or recommends.
    fn usual(self) -> Algorithm {
        match self {
            Self::Secret => Algorithm::HS256,
            Self::Rsa => Algorithm::RS256,
            Self::Point(Curve::P256) => Algorithm::ES256,
            Self::Point(Curve::P384) => Algorithm::ES384,
            Self::Point(Curve::P521) => Algorithm::ES512,
            Self::Point(Curve::Ed25519) => Algorithm::EdDSA,
        }
    }
}

/// The algorithms of a key that does not name its own.
fn choose(family: Family, permitted: &[Algorithm]) -> Vec<Algorithm> {
    if permitted.is_empty() {
        return vec![family.usual()];
    }
    permitted.iter().copied().filter(|algorithm| Family::of(*algorithm) == family).collect()
}

/// Reads one JSON Web Key: one [`Key`] for each algorithm that it may be used with.
fn read_jwk(jwk: &Map<String, Value>, permitted: &[Algorithm]) -> Result<Vec<Key>, Unfit> {
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err(Unfit::OtherUse);
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(uses)) if uses.iter().any(|one| one == "verify") => {}
        Some(_) => return Err(Unfit::OtherUse),
    }
    let curve = jwk.get("crv").and_then(Value::as_str);
    let family = match (text(jwk, "kty")?, curve) {
        ("oct", _) => Family::Secret,
        ("RSA", None) => Family::Rsa,
        ("EC", Some(curve)) if curve != "Ed25519" => {
            Family::Point(Curve::named(curve).ok_or(Unfit::Type)?)
        }
        ("OKP", Some("Ed25519")) => Family::Point(Curve::Ed25519),
        _ => return Err(Unfit::Type),
    };
    let narrowed;
    let permitted = match jwk.get("alg") {
        None => permitted,
        Some(name) => {
            let own = name.as_str().and_then(Algorithm::named).ok_or(Unfit::Algorithm)?;
            if !permitted.is_empty() && !permitted.contains(&own) {
                return Err(Unfit::Algorithm);
            }
            narrowed = [own];
            &narrowed
        }
    };
    let kid: Option<Box<str>> = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.as_str().into()),
        Some(_) => return Err(Unfit::Malformed),
    };
    match family {
        Family::Secret => secret_key(&base64(jwk, "k")?, &choose(family, permitted), kid),
        Family::Rsa => rsa_key(&base64(jwk, "n")?, &base64(jwk, "e")?, permitted, kid),
        Family::Point(curve) => point_key(curve, &point(jwk, curve)?, permitted, kid),
    }
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, Unfit> {
    jwk.get(name).and_then(Value::as_str).ok_or(Unfit::Malformed)
}

fn base64(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Unfit> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).map_err(|_| Unfit::Malformed)
}

/// The public point of an EC or OKP key in the form that aws-lc reads.
fn point(jwk: &Map<String, Value>, curve: Curve) -> Result<Vec<u8>, Unfit> {
    let mut point = Vec::new();
    let names: &[&str] = if curve == Curve::Ed25519 { &["x"] } else { &["x", "y"] };
    if names.len() == 2 {
        point.push(4);
    }
    for name in names {
        let coordinate = base64(jwk, name)?;
        if coordinate.len() != curve.coordinate_bytes() {
            return Err(Unfit::Malformed);
        }
        point.extend_from_slice(&coordinate);
    }
    Ok(point)
}

fn secret_key(
    secret: &[u8],
    algorithms: &[Algorithm],
    kid: Option<Box<str>>,
) -> Result<Vec<Key>, Unfit> {
    let mut keys = Vec::new();
    for &algorithm in algorithms {
        let (hash, bytes_min) = match algorithm {
            Algorithm::HS256 => (hmac::HMAC_SHA256, 32),
            Algorithm::HS384 => (hmac::HMAC_SHA384, 48),
            Algorithm::HS512 => (hmac::HMAC_SHA512, 64),
            _ => return Err(Unfit::Algorithm),
        };
        if secret.len() < bytes_min {
            return Err(Unfit::Weak);
        }
        let check = Check::Secret(Box::new(hmac::Key::new(hash, secret)));
        keys.push(Key { kid: kid.clone(), algorithm, check });
    }
    if keys.is_empty() { Err(Unfit::Algorithm) } else { Ok(keys) }
}

/// An RSA key from its parts as in DER of PKCS #1.
fn rsa_der_key(der: &[u8], permitted: &[Algorithm]) -> Result<Vec<Key>, Unfit> {
    let key = aws_lc_rs::rsa::PublicKey::from_der(der).map_err(|_| Unfit::Malformed)?;
    let parts = RsaPublicKeyComponents::<Vec<u8>>::from(&key);
    rsa_key(&parts.n, &parts.e, permitted, None)
}

fn rsa_key(
    n: &[u8],
    e: &[u8],
    permitted: &[Algorithm],
    kid: Option<Box<str>>,
) -> Result<Vec<Key>, Unfit> {
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    if bits < 2048 || !odd || e == [1] || has_roca_weakness(n) {
        return Err(Unfit::Weak);
    }
    let der = RsaPublicKeyComponents { n, e }.as_der().map_err(|_| Unfit::Malformed)?;
    public_keys(der.as_ref(), &choose(Family::Rsa, permitted), kid)
}

fn point_key(
    curve: Curve,
    point: &[u8],
    permitted: &[Algorithm],
    kid: Option<Box<str>>,
) -> Result<Vec<Key>, Unfit> {
    public_keys(point, &choose(Family::Point(curve), permitted), kid)
}

fn public_keys(
    bytes: &[u8],
    algorithms: &[Algorithm],
    kid: Option<Box<str>>,
) -> Result<Vec<Key>, Unfit> {
    let mut keys = Vec::new();
    for &algorithm in algorithms {
        let key = parse(algorithm, bytes).ok_or(Unfit::Malformed)?;
        keys.push(Key { kid: kid.clone(), algorithm, check: Check::Public(key) });
    }
    if keys.is_empty() { Err(Unfit::Algorithm) } else { Ok(keys) }
}

fn parse(algorithm: Algorithm, bytes: &[u8]) -> Option<ParsedPublicKey> {
    use signature as s;
    let key = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return None,
        Algorithm::RS256 => ParsedPublicKey::new(&s::RSA_PKCS1_2048_8192_SHA256, bytes),
        Algorithm::RS384 => ParsedPublicKey::new(&s::RSA_PKCS1_2048_8192_SHA384, bytes),
        Algorithm::RS512 => ParsedPublicKey::new(&s::RSA_PKCS1_2048_8192_SHA512, bytes),
        Algorithm::PS256 => ParsedPublicKey::new(&s::RSA_PSS_2048_8192_SHA256, bytes),
        Algorithm::PS384 => ParsedPublicKey::new(&s::RSA_PSS_2048_8192_SHA384, bytes),
        Algorithm::PS512 => ParsedPublicKey::new(&s::RSA_PSS_2048_8192_SHA512, bytes),
        Algorithm::ES256 => ParsedPublicKey::new(&s::ECDSA_P256_SHA256_FIXED, bytes),
        Algorithm::ES384 => ParsedPublicKey::new(&s::ECDSA_P384_SHA384_FIXED, bytes),
        Algorithm::ES512 => ParsedPublicKey::new(&s::ECDSA_P521_SHA512_FIXED, bytes),
        Algorithm::EdDSA => ParsedPublicKey::new(&s::ED25519, bytes),
    };
    key.ok()
}

/// Whether a modulus was made by the library with the ROCA weakness (Nemec et al., CCS 2017 §3): modulo
/// every small prime it lies in the group that 65537 generates, which a sound one does once in 2^27.
fn has_roca_weakness(n: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89,
        97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|&prime| {
        let rest = n.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let mut power = 1;
        (0..prime).any(|_| {
            power = power * (65_537 % prime) % prime;
            power == rest
        })
    })
}

#[cfg(test)]
mod tests;
