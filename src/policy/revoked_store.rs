//! Whether a store knows a token, or its subject, as revoked: what is asked, and for how long the answer holds.
//!
//! The store is Redis or Valkey, in which others write: `ringway:revoked:jti:ID` revokes one token,
//! `ringway:revoked:sub:ID` everything of a subject or, where its value is a number, what was issued until that
//! second. A core asks once for a token and remembers the answer for `ttl`, which bounds how long a revoked one may
//! still pass. While the store is away nobody passes whose answer is not remembered, unless the operator says
//! otherwise. A token without `jti` and `sub` is refused: nobody could revoke it. A core asks itself (`serve/store.rs`).

use std::time::Duration;

use serde_json::Value;

use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::policy::jwt::{Jwt, Refusal};
use crate::policy::{Env, Verdict};

/// Asked with the keys of the token and its subject, and the second at which it was issued or nothing. It answers as the
/// script of the limits does about one key that is never ahead.
pub const SCRIPT: &str = "if redis.call('EXISTS', KEYS[1]) == 1 then return {1, 0} end \
    local said = redis.call('GET', KEYS[2]) if not said then return {0, 0} end \
    local till, issued = tonumber(said), tonumber(ARGV[1]) \
    if till and issued and math.floor(issued) > till then return {0, 0} end return {1, 0}";

/// What an operator says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreRules {
    /// How long an answer is remembered.
    pub ttl: Duration,
    /// Whether tokens pass while the store is away.
    pub passes_without: bool,
}

/// What is asked about one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedQuestion {
    /// The token's key.
    pub token: Vec<u8>,
    /// Its subject's key.
    pub subject: Vec<u8>,
    /// When it was issued.
    pub issued: String,
}

/// What the store said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedSaid {
    /// It knows of nothing.
    Fine,
    /// It is revoked.
    Revoked,
    /// Nothing in time.
    Away,
}

/// Decides about a proven token by what is remembered of it.
pub(crate) fn recall(issuer: &Jwt, claims: &Value, x: &mut Exchange, env: &mut Env<'_>) -> Verdict {
    if issuer.rules().store.is_none() {
        return Verdict::Continue;
    }
    let mut key = std::mem::take(&mut env.slots.auth_key);
    let named = write_key(claims, &mut key);
    let known = env.slots.revocations().find(issuer.space(), &key).copied();
    env.slots.auth_key = key;
    match known.filter(|(_, until)| env.now < *until) {
        _ if !named => refuse(x, Refusal::ClaimMissing),
        Some((true, _)) => refuse(x, Refusal::Revoked),
        Some((false, _)) => Verdict::Continue,
        None => Verdict::AskStore,
    }
}

/// What to ask about the token of an exchange.
pub(crate) fn question(claims: &Value) -> RevokedQuestion {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let key = |kind: &str, id: &str| format!("ringway:revoked:{kind}:{id}").into_bytes();
    let issued = claims.get("iat").and_then(Value::as_f64);
    RevokedQuestion {
        token: key("jti", text("jti")),
        subject: key("sub", text("sub")),
        issued: issued.map(|issued| issued.to_string()).unwrap_or_default(),
    }
}

/// Acts on what the store said.
pub(crate) fn settle(
    issuer: &Jwt,
    claims: &Value,
    said: RevokedSaid,
    x: &mut Exchange,
    env: &mut Env<'_>,
) -> Verdict {
    let Some(rules) = issuer.rules().store else { return Verdict::Continue };
    if said == RevokedSaid::Away {
        if rules.passes_without {
            return Verdict::Continue;
        }
        x.reason = "revocation_store_away";
        x.reply_fields.add("retry-after", b"1");
        let kind = FaultKind::LimitStoreAway;
        return Verdict::Refuse(Fault { kind, side: Side::Gateway, again: Again::Never });
    }
    let revoked = said == RevokedSaid::Revoked;
    let mut key = std::mem::take(&mut env.slots.auth_key);
    write_key(claims, &mut key);
    let weight = key.len() + 64;
    let until = env.now + rules.ttl;
    env.slots.revocations().insert(issuer.space(), &key, (revoked, until), weight);
    env.slots.auth_key = key;
    if revoked { refuse(x, Refusal::Revoked) } else { Verdict::Continue }
}

fn refuse(x: &mut Exchange, refusal: Refusal) -> Verdict {
    x.reason = refusal.name();
    if let Some(challenge) = refusal.challenge() {
        x.reply_fields.add("www-authenticate", challenge);
    }
    Verdict::Refuse(refusal.fault())
}

/// What tells one token from another here; `false` when nothing does.
fn write_key(claims: &Value, key: &mut Vec<u8>) -> bool {
    key.clear();
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let (token, subject) = (text("jti"), text("sub"));
    let issued = claims.get("iat").and_then(Value::as_f64).unwrap_or(f64::NAN);
    key.extend_from_slice(&issued.to_bits().to_ne_bytes());
    key.extend_from_slice(&token.len().to_ne_bytes());
    key.extend_from_slice(token.as_bytes());
    key.extend_from_slice(subject.as_bytes());
    // Both are texts (RFC 7519 §4.1.2, §4.1.7): what is none could not be looked up as it was revoked.
    let is_odd = |name: &str| claims.get(name).is_some_and(|value| !value.is_string());
    (!token.is_empty() || !subject.is_empty()) && !is_odd("jti") && !is_odd("sub")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_token_is_one_key_and_one_question() {
        let key = |claims: Value| {
            let mut key = Vec::new();
            (write_key(&claims, &mut key), key)
        };
        assert_eq!(key(json!({"jti": "a", "sub": "b"})), key(json!({"jti": "a", "sub": "b"})));
        assert_ne!(key(json!({"jti": "a", "sub": "bc"})), key(json!({"jti": "ab", "sub": "c"})));
        assert_ne!(key(json!({"jti": "a", "iat": 1})), key(json!({"jti": "a", "iat": 2})));
        assert!(!key(json!({"iat": 1, "sub": 7})).0, "nobody could revoke it");
        assert!(!key(json!({"jti": 7, "sub": "a"})).0, "nor by its id");
        let asked = question(&json!({"jti": "a", "sub": "b\r\n", "iat": 1_700_000_000}));
        assert_eq!(asked.token, b"ringway:revoked:jti:a");
        assert_eq!(
            (asked.subject.as_slice(), &*asked.issued),
            (&b"ringway:revoked:sub:b\r\n"[..], "1700000000")
        );
        assert_eq!(question(&json!({"jti": "a"})).issued, "");
    }
}
