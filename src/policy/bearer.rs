//! Bearer tokens of a request: where they stand, and which issuer is asked about one (RFC 6750 §2).
//!
//! A token is looked for in `Authorization` and, where the operator opted in, in a field, a cookie or the
//! query; the first that is there decides, so that a bad one is never made good by another. Of several
//! issuers the token's own `iss` only says whose keys are tried: what it claims is believed when those keys
//! have verified it, and never before. The text of a token must never stand in a field, an error or the log.

use std::fmt;

use serde_json::Value;

use crate::base::limits::TOKEN_BYTES_MAX;
use crate::exchange::Exchange;
use crate::exchange::identity::Identity;
use crate::http::head::Request;
use crate::http::names::FieldName;
use crate::policy::jose::{Token, TokenError};
use crate::policy::jwt::{Jwt, Outcome, Refusal};
use crate::policy::revoked_store::{self, RevokedQuestion, RevokedSaid};
use crate::policy::{Env, Verdict};

/// A place where a token may stand besides `Authorization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// A field, by its name in lower case.
    Header(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// A parameter of the query.
    Query(Box<str>),
}

/// The policy of a route: tokens of one of these issuers are asked for.
pub struct Bearer {
    issuers: Box<[Jwt]>,
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.issuers).finish()
    }
}

impl Bearer {
    /// Tokens of any of `issuers`, at least one.
    pub fn new(issuers: Vec<Jwt>) -> Bearer {
        Bearer { issuers: issuers.into() }
    }

    /// The issuers.
    pub fn issuers(&self) -> &[Jwt] {
        &self.issuers
    }

    /// Decides about a request.
    pub fn on_request(&self, x: &mut Exchange, env: &mut Env<'_>) -> Verdict {
        let outcome = match &*self.issuers {
            [only] => match find(&x.request(), &only.rules().places) {
                Ok(token) => only.look(token, env),
                Err(refusal) => Outcome::Refused(refusal),
            },
            several => one_of(several, &x.request(), env),
        };
        match outcome {
            Outcome::Proven(claims) => {
                let before = x.identity.take();
                x.identity = Some(Identity::from_verified(claims.clone()).and(before));
                match self.issuer_of(&claims) {
                    Some(issuer) => revoked_store::recall(issuer, &claims, x, env),
                    None => Verdict::Continue,
                }
            }
            Outcome::Wait => Verdict::Wait,
            Outcome::Refused(refusal) => {
                x.reason = refusal.name();
                if let Some(challenge) = refusal.challenge() {
                    x.reply_fields.add("www-authenticate", challenge);
                }
                Verdict::Refuse(refusal.fault())
            }
        }
    }
}

impl Bearer {
    /// Whose token these claims are from.
    fn issuer_of(&self, claims: &Value) -> Option<&Jwt> {
        match &*self.issuers {
            [only] => Some(only),
            several => {
                let named = claims.get("iss").and_then(Value::as_str)?;
                several.iter().find(|one| one.rules().issuers.iter().any(|name| name == named))
            }
        }
    }

    /// What the store is asked about the token of an exchange.
    pub fn revocation_question(&self, x: &Exchange) -> Option<RevokedQuestion> {
        let claims = x.identity.as_ref()?.claims()?;
        Some(revoked_store::question(claims))
    }

    /// Acts on what the store said of the token of an exchange.
    pub fn settle_revocation(
        &self,
        x: &mut Exchange,
        said: RevokedSaid,
        env: &mut Env<'_>,
    ) -> Verdict {
        let claims = x.identity.as_ref().and_then(Identity::claims).cloned();
        let asked = claims.as_ref().and_then(|claims| Some((claims, self.issuer_of(claims)?)));
        match asked {
            Some((claims, issuer)) => revoked_store::settle(issuer, claims, said, x, env),
            None => Verdict::Continue,
        }
    }
}

/// The outcome by the issuer that remembers the token or, of a new one, by the issuer it names.
fn one_of(issuers: &[Jwt], request: &Request<'_>, env: &mut Env<'_>) -> Outcome {
    let mut refusal = Refusal::TokenMissing;
    for issuer in issuers {
        match find(request, &issuer.rules().places) {
            Ok(token) => {
                if let Some(claims) = issuer.recall(token, env) {
                    return Outcome::Proven(claims);
                }
            }
            Err(found) if refusal == Refusal::TokenMissing => refusal = found,
            Err(_) => {}
        }
    }
    for issuer in issuers {
        let Ok(text) = find(request, &issuer.rules().places) else { continue };
        let parsed = Token::parse(text).and_then(|token| token.claims());
        refusal = match parsed {
            Err(error) => Refusal::Token(error),
            Ok(claims) => {
                let named = claims.get("iss").and_then(serde_json::Value::as_str);
                if named.is_some_and(|named| issuer.rules().issuers.iter().any(|one| one == named))
                {
                    return issuer.look(text, env);
                }
                Refusal::Issuer
            }
        };
    }
    Outcome::Refused(refusal)
}

/// The token of a request: of `Authorization: Bearer TOKEN` (RFC 6750 §2.1, RFC 9110 §11.4), else of the
/// first of `places` that has one.
pub fn find<'a>(request: &Request<'a>, places: &[TokenPlace]) -> Result<&'a [u8], Refusal> {
    match authorization(request) {
        Err(Refusal::TokenMissing) => {}
        found => return found,
    }
    for place in places {
        let token = match place {
            TokenPlace::Header(name) => field(request, name)?,
            TokenPlace::Cookie(name) => cookie(request, name)?,
            TokenPlace::Query(name) => parameter(request, name)?,
        };
        if let Some(token) = token {
            return checked(token);
        }
    }
    Err(Refusal::TokenMissing)
}

fn authorization<'a>(request: &Request<'a>) -> Result<&'a [u8], Refusal> {
    let mut fields = request.head.fields.all(FieldName::Authorization, request.raw);
    let Some(value) = fields.next() else {
        return Err(Refusal::TokenMissing);
    };
    if fields.next().is_some() {
        return Err(Refusal::CredentialsMalformed);
    }
    match credentials(value, b"bearer") {
        Some(token) => checked(token),
        None => Err(Refusal::TokenMissing),
    }
}

/// What stands behind the scheme, if it is this one; schemes are compared without case.
pub(crate) fn credentials<'a>(value: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let had = value.split(|byte| *byte == b' ').next().unwrap_or(value);
    had.eq_ignore_ascii_case(scheme).then(|| value[had.len()..].trim_ascii_start())
}

fn checked(token: &[u8]) -> Result<&[u8], Refusal> {
    match token.len() {
        0 => Err(Refusal::CredentialsMalformed),
        bytes if bytes > TOKEN_BYTES_MAX => Err(Refusal::Token(TokenError::TooLong)),
        _ => Ok(token),
    }
}

/// A field with a token alone, or behind `Bearer`. Twice is once too often: which one would count?
fn field<'a>(request: &Request<'a>, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
    let value = single(request, name)?;
    Ok(value.map(|value| credentials(value, b"bearer").unwrap_or(value)))
}

/// The value of a field that may stand once.
pub(crate) fn single<'a>(request: &Request<'a>, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
    let fields = request.head.fields.iter();
    let mut found =
        fields.filter(|field| field.name.of(request.raw).eq_ignore_ascii_case(name.as_bytes()));
    let value = found.next().map(|field| field.value.of(request.raw));
    if found.next().is_some() { Err(Refusal::CredentialsMalformed) } else { Ok(value) }
}

/// The value of a cookie (RFC 6265 §4.2.1); two of one name are one too many.
fn cookie<'a>(request: &Request<'a>, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
    let mut value = None;
    let fields = request.head.fields.iter();
    let cookies = fields.filter(|field| field.name.of(request.raw).eq_ignore_ascii_case(b"cookie"));
    for pair in cookies.flat_map(|field| field.value.of(request.raw).split(|byte| *byte == b';')) {
        let pair = pair.trim_ascii();
        let Some(rest) = pair.strip_prefix(name.as_bytes()) else { continue };
        let Some(found) = rest.strip_prefix(b"=") else { continue };
        if value.replace(found).is_some() {
            return Err(Refusal::CredentialsMalformed);
        }
    }
    Ok(value)
}

/// The value of a query parameter. A token and a key need no percent-encoding, so that one that has it is
/// taken as it stands and verifies nothing.
pub(crate) fn parameter<'a>(
    request: &Request<'a>,
    name: &str,
) -> Result<Option<&'a [u8]>, Refusal> {
    let mut value = None;
    for pair in request.query().unwrap_or(&[]).split(|byte| *byte == b'&') {
        let Some(rest) = pair.strip_prefix(name.as_bytes()) else { continue };
        let Some(found) = rest.strip_prefix(b"=") else { continue };
        if value.replace(found).is_some() {
            return Err(Refusal::CredentialsMalformed);
        }
    }
    Ok(value)
}
