//! Bearer tokens: accept or refuse, and keep the claims (RFC 6750, 7519; RFC 8725 and 9068 as profile).
//!
//! A token is verified once per core: its text is then remembered with its claims until it expires, the keys
//! change or it is revoked, compared in full each time. Nothing is ever accepted because something is
//! missing: no keys yet is 503, no `exp` is a refusal, an unknown key id is asked for once and then refused.
//! The reason stands in the log; the client is told no more than RFC 6750 §3 asks for. The text of a
//! token must never stand in a field, an error or the log.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::limits::{TOKEN_EXP_MAX, UNKNOWN_KID_KEPT};
use crate::base::name::Name;
use crate::base::shared::unique;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::policy::Env;
use crate::policy::bearer::TokenPlace;
use crate::policy::file_cell::FileCell;
use crate::policy::jose::{Token, TokenError};
use crate::policy::jwks::Checked;
use crate::policy::key_cell::KeyCell;
use crate::policy::revocation::Revoked;
use crate::policy::revoked_store::StoreRules;
use crate::policy::slots::{Remembered, Slots};

/// What the tokens of one issuer must say, and where its keys are.
#[derive(Clone, Debug)]
pub struct JwtRules {
    /// The issuer's name in the configuration.
    pub name: Name,
    /// Its keys.
    pub keys: Arc<KeyCell>,
    /// `iss` must be one of these; empty: not looked at.
    pub issuers: Vec<String>,
    /// `aud` must name one of these; empty: not looked at.
    pub audiences: Vec<String>,
    /// How far clocks may differ for `exp`, `nbf` and `iat`.
    pub leeway: Duration,
    /// Claims that must be there, by path with dots; `exp` always must.
    pub required: Vec<String>,
    /// Where a token may stand besides `Authorization`.
    pub places: Vec<TokenPlace>,
    /// Whether tokens must be access tokens after RFC 9068.
    pub rfc9068: bool,
    /// Tokens and subjects that are refused.
    pub revoked: Option<Arc<FileCell<Revoked>>>,
    /// Whether a store is asked besides.
    pub store: Option<StoreRules>,
}

/// What RFC 9068 §2.2 requires of an access token besides `exp`.
const ACCESS_TOKEN_CLAIMS: [&str; 6] = ["iss", "aud", "sub", "client_id", "iat", "jti"];

/// The compiled policy. Clones share what they remember.
#[derive(Clone)]
pub struct Jwt {
    inner: Arc<Inner>,
}

struct Inner {
    rules: JwtRules,
    required: Vec<Vec<String>>,
    /// What this policy remembers is apart from what others remember.
    space: u64,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("rules", &self.inner.rules).finish()
    }
}

/// Why a request is refused. The names stand in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No bearer token was sent.
    TokenMissing,
    /// More than one Authorization field, or one that is no `Bearer` with one token.
    CredentialsMalformed,
    /// The token cannot be taken apart, or brings what no token may bring.
    Token(TokenError),
    /// The key set has no key of the token's id.
    KeyUnknown,
    /// No key verifies the signature, or the key is for another algorithm.
    Signature,
    /// `exp`, `nbf`, `iat`, `iss`, `sub` or `aud` has a wrong type or a senseless value.
    ClaimMalformed,
    /// `exp` or a required claim is not there.
    ClaimMissing,
    /// `exp` is past.
    Expired,
    /// `nbf` is yet to come.
    NotYetValid,
    /// `iat` is yet to come.
    IssuedAhead,
    /// `iss` is another.
    Issuer,
    /// `aud` names others only.
    Audience,
    /// The list of revoked tokens has it, or its subject.
    Revoked,
    /// There are no keys yet.
    KeysUnavailable,
}

impl Refusal {
    /// The word in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::CredentialsMalformed => "credentials_malformed",
            Self::Token(TokenError::TooLong) => "token_too_long",
            Self::Token(TokenError::NotThreeParts) => "token_not_three_parts",
            Self::Token(TokenError::Base64) => "token_base64",
            Self::Token(TokenError::Header) => "token_header",
            Self::Token(TokenError::Algorithm) => "token_algorithm",
            Self::Token(TokenError::HeaderMember) => "token_header_member",
            Self::Token(TokenError::Type) => "token_type",
            Self::Token(TokenError::Payload) => "token_payload",
            Self::KeyUnknown => "key_unknown",
            Self::Signature => "signature",
            Self::ClaimMalformed => "claim_malformed",
            Self::ClaimMissing => "claim_missing",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::IssuedAhead => "token_issued_ahead",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Revoked => "token_revoked",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }

    /// The challenge (RFC 6750 §3); `None` when the client could not do better.
    pub(crate) fn challenge(self) -> Option<&'static [u8]> {
        macro_rules! invalid {
            ($why:literal) => {
                concat!("Bearer error=\"invalid_token\", error_description=\"", $why, "\"")
            };
        }
        let challenge = match self {
            Self::KeysUnavailable => return None,
            Self::TokenMissing => "Bearer",
            Self::CredentialsMalformed => {
                "Bearer error=\"invalid_request\", error_description=\"one bearer token is expected\""
            }
            Self::Token(_) | Self::ClaimMalformed => invalid!("the token is malformed"),
            Self::KeyUnknown | Self::Signature => invalid!("the token could not be verified"),
            Self::ClaimMissing => invalid!("a claim is missing"),
            Self::Expired => invalid!("the token has expired"),
            Self::NotYetValid | Self::IssuedAhead => invalid!("the token is not valid yet"),
            Self::Issuer => invalid!("the issuer is not accepted"),
            Self::Audience => invalid!("the audience is not accepted"),
            Self::Revoked => invalid!("the token was revoked"),
        };
        Some(challenge.as_bytes())
    }

    /// The fault: 400 for a malformed request (RFC 6750 §3.1), 503 without keys, else 401.
    pub(crate) fn fault(self) -> Fault {
        let (kind, side) = match self {
            Self::KeysUnavailable => (FaultKind::KeysUnavailable, Side::Gateway),
            Self::CredentialsMalformed => (FaultKind::HttpRequestError, Side::Downstream),
            _ => (FaultKind::Unauthorized, Side::Downstream),
        };
        Fault { kind, side, again: Again::Never }
    }
}

/// What a look at one token came to.
pub(crate) enum Outcome {
    /// These are its claims.
    Proven(Rc<Value>),
    /// It proves nothing.
    Refused(Refusal),
    /// A key may be on its way.
    Wait,
}

impl Jwt {
    /// Compiles the rules.
    pub fn new(rules: JwtRules) -> Jwt {
        let split = |path: &String| path.split('.').map(str::to_owned).collect();
        let mut required: Vec<Vec<String>> = rules.required.iter().map(split).collect();
        if rules.rfc9068 {
            required.extend(ACCESS_TOKEN_CLAIMS.map(|name| vec![name.to_owned()]));
        }
        Jwt { inner: Arc::new(Inner { rules, required, space: unique() }) }
    }

    /// What it remembers is apart from what others remember.
    pub(crate) fn space(&self) -> u64 {
        self.inner.space
    }

    /// The rules.
    pub fn rules(&self) -> &JwtRules {
        &self.inner.rules
    }

    /// Looks the token up, or verifies it and remembers it.
    pub(crate) fn look(&self, text: &[u8], env: &mut Env<'_>) -> Outcome {
        if !self.inner.rules.keys.is_loaded() {
            return Outcome::Refused(Refusal::KeysUnavailable);
        }
        if let Some(claims) = self.recall(text, env) {
            return Outcome::Proven(claims);
        }
        env.slots.tokens_checked += 1;
        // Here and not before the look-up: what is remembered has been through this.
        let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        if !text.iter().all(fine) {
            return Outcome::Refused(Refusal::CredentialsMalformed);
        }
        let token = match Token::parse(text) {
            Ok(token) => token,
            Err(error) => return Outcome::Refused(Refusal::Token(error)),
        };
        match self.verify(&token, env.wall.as_secs()) {
            Ok(fresh) => {
                let claims = fresh.claims.clone();
                self.remember(env.slots, text, fresh);
                Outcome::Proven(claims)
            }
            Err(Refusal::KeyUnknown) => self.miss(&token, env),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// The claims of a token that was verified before, if it still holds: not expired, verified by keys that
    /// are still the issuer's, not revoked since.
    pub(crate) fn recall(&self, text: &[u8], env: &mut Env<'_>) -> Option<Rc<Value>> {
        let rules = &self.inner.rules;
        let now = env.wall.as_secs();
        let known = env.slots.tokens.find(self.inner.space, text)?;
        let valid = (known.valid_from..known.valid_until).contains(&now);
        let current = valid && known.generation == rules.keys.generation();
        if current && rules.revoked.as_ref().is_none_or(|list| list.generation() == known.listed) {
            let claims = known.claims.clone();
            env.slots.tokens_found += 1;
            return Some(claims);
        }
        let mut known = known.clone();
        env.slots.tokens.remove(self.inner.space, text);
        if !current || self.is_revoked(&mut known) {
            return None;
        }
        let claims = known.claims.clone();
        env.slots.tokens_found += 1;
        self.remember(env.slots, text, known);
        Some(claims)
    }

    /// Whether the current list of revoked tokens holds this one; it is looked at by that list then.
    fn is_revoked(&self, token: &mut Remembered) -> bool {
        let Some(cell) = &self.inner.rules.revoked else { return false };
        // The generation before the list: a newer list in between is looked at again, never missed.
        token.listed = cell.generation();
        cell.current().as_ref().is_none_or(|list| list.holds(&token.claims))
    }

    /// No key has the token's id: waits for a fetch, unless one that was asked for since this id was first seen did
    /// not bring it. A fetch from before says nothing of it: the key may be a new one.
    fn miss(&self, token: &Token<'_>, env: &mut Env<'_>) -> Outcome {
        let keys = &self.inner.rules.keys;
        let kid = token.kid.as_deref().unwrap_or("").as_bytes();
        let (space, generation) = (self.inner.space, keys.generation());
        let seen = env.slots.unknown_kids.find(space, kid).copied().filter(|(known, since)| {
            *known == generation && env.now.since(*since) < UNKNOWN_KID_KEPT
        });
        let (_, first_seen) = seen.unwrap_or((generation, env.now));
        if seen.is_none() {
            let weight = kid.len() + 64;
            env.slots.unknown_kids.insert(space, kid, (generation, first_seen), weight);
        }
        if !keys.was_fetched_since(first_seen) && keys.request_refresh(env.now) {
            return Outcome::Wait;
        }
        Outcome::Refused(Refusal::KeyUnknown)
    }

    fn remember(&self, slots: &mut Slots, token: &[u8], fresh: Remembered) {
        // Parsed claims weigh about twice their text, and the text is most of the token.
        let weight = token.len() * 3 + 256;
        slots.tokens.insert(self.inner.space, token, fresh, weight);
    }

    /// Checks signature and claims at `now`, in seconds since 1970.
    fn verify(&self, token: &Token<'_>, now: u64) -> Result<Remembered, Refusal> {
        if self.inner.rules.rfc9068 && !token.is_access_token {
            return Err(Refusal::Token(TokenError::Type));
        }
        let keys = self.inner.rules.keys.current().ok_or(Refusal::KeysUnavailable)?;
        match keys.check(token) {
            Checked::Verified => {}
            Checked::Refused => return Err(Refusal::Signature),
            Checked::KeyUnknown => return Err(Refusal::KeyUnknown),
        }
        let claims = token.claims().map_err(Refusal::Token)?;
        let Value::Object(members) = &claims else {
            return Err(Refusal::Token(TokenError::Payload));
        };
        let (valid_from, valid_until) = self.judge(members, now)?;
        let generation = keys.generation();
        let claims = Rc::new(claims);
        let mut fresh = Remembered { generation, listed: 0, valid_from, valid_until, claims };
        if self.is_revoked(&mut fresh) {
            return Err(Refusal::Revoked);
        }
        Ok(fresh)
    }

    /// Judges the claims; the seconds from and until which they hold.
    fn judge(&self, claims: &Map<String, Value>, now: u64) -> Result<(u64, u64), Refusal> {
        let rules = &self.inner.rules;
        let leeway = rules.leeway.as_secs();
        let exp = seconds(claims, "exp", f64::floor)?.ok_or(Refusal::ClaimMissing)?;
        let nbf = seconds(claims, "nbf", f64::ceil)?.unwrap_or(0);
        let iat = seconds(claims, "iat", f64::floor)?.unwrap_or(0);
        let (valid_from, valid_until) = (nbf.saturating_sub(leeway), exp + leeway);
        if now >= valid_until {
            return Err(Refusal::Expired);
        }
        if now < valid_from {
            return Err(Refusal::NotYetValid);
        }
        if iat > now + leeway {
            return Err(Refusal::IssuedAhead);
        }
        let issuer = text(claims, "iss")?;
        let one_of = |wanted: &[String], had: &str| wanted.iter().any(|one| one == had);
        if !rules.issuers.is_empty() && !issuer.is_some_and(|had| one_of(&rules.issuers, had)) {
            return Err(Refusal::Issuer);
        }
        text(claims, "sub")?;
        let audiences = texts(claims, "aud")?;
        let wanted = &rules.audiences;
        if !wanted.is_empty() && !audiences.iter().any(|had| one_of(wanted, had)) {
            return Err(Refusal::Audience);
        }
        let there = |path: &[String]| {
            let (first, rest) = path.split_first()?;
            rest.iter().try_fold(claims.get(first)?, |value, name| value.get(name))
        };
        let missing = |path: &&Vec<String>| there(path).is_none_or(Value::is_null);
        if self.inner.required.iter().find(missing).is_some() {
            return Err(Refusal::ClaimMissing);
        }
        Ok((valid_from, valid_until))
    }
}

/// A NumericDate (RFC 7519 §2) in whole seconds, rounded against the token.
fn seconds(
    claims: &Map<String, Value>,
    name: &str,
    round: fn(f64) -> f64,
) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let whole = value.as_u64().or_else(|| {
        let fraction = round(value.as_f64()?);
        (0.0..=TOKEN_EXP_MAX as f64).contains(&fraction).then_some(fraction as u64)
    });
    whole.filter(|whole| *whole <= TOKEN_EXP_MAX).map(Some).ok_or(Refusal::ClaimMalformed)
}

/// A claim that is text, if it is there.
fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Option<&'c str>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::ClaimMalformed),
    }
}

/// A claim that is text or a list of texts.
fn texts<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Vec<&'c str>, Refusal> {
    match claims.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(list)) => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.ok_or(Refusal::ClaimMalformed)
        }
        Some(_) => Err(Refusal::ClaimMalformed),
    }
}

#[cfg(test)]
mod tests;
