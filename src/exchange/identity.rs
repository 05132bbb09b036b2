//! What authentication proved about the client.
//!
//! An `Identity` is only ever made by a policy that proved it, and is shared by reference count, so that a
//! remembered token and a known key cost no copy.

use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use crate::exchange::client_cert::ClientCert;

/// A proven identity: the claims of a verified token, whoever an API key belongs to, who knew a password, whom
/// a certificate is about, or several of them.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    claims: Option<Rc<Value>>,
    caller: Option<Arc<Caller>>,
    user: Option<Arc<str>>,
    client_cert: Option<Rc<ClientCert>>,
}

/// Whoever an API key belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The owner's name.
    pub owner: Box<str>,
    /// What the key may be used for.
    pub scopes: Box<[Box<str>]>,
    /// First second since 1970 at which the key does not hold any more; `u64::MAX` for never.
    pub until: u64,
}

impl Identity {
    /// From the claims of a token that was verified.
    pub fn from_verified(claims: Rc<Value>) -> Self {
        Self { claims: Some(claims), ..Self::default() }
    }

    /// From a key that is known.
    pub fn of_caller(caller: Arc<Caller>) -> Self {
        Self { caller: Some(caller), ..Self::default() }
    }

    /// From a password that was right.
    pub fn of_user(user: Arc<str>) -> Self {
        Self { user: Some(user), ..Self::default() }
    }

    /// From a certificate whose key the client has.
    pub fn of_client_cert(cert: Rc<ClientCert>) -> Self {
        Self { client_cert: Some(cert), ..Self::default() }
    }

    /// Both: what is proven here, and what was proven before.
    pub fn and(self, before: Option<Identity>) -> Self {
        let before = before.unwrap_or_default();
        Self {
            claims: self.claims.or(before.claims),
            caller: self.caller.or(before.caller),
            user: self.user.or(before.user),
            client_cert: self.client_cert.or(before.client_cert),
        }
    }

    /// All claims of the token.
    pub fn claims(&self) -> Option<&Rc<Value>> {
        self.claims.as_ref()
    }

    /// The claim at `path` (`["realm", "roles"]`), or `None`.
    pub fn claim<S: AsRef<str>>(&self, path: &[S]) -> Option<&Value> {
        let claims = self.claims.as_deref()?;
        path.iter().try_fold(claims, |value, name| value.get(name.as_ref()))
    }

    /// The user whose password was right.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The certificate of the client.
    pub fn client_cert(&self) -> Option<&ClientCert> {
        self.client_cert.as_deref()
    }

    /// The owner of the key that was shown.
    pub fn key_owner(&self) -> Option<&str> {
        self.caller.as_ref().map(|caller| &*caller.owner)
    }

    /// Whether `scope` is among its scopes: those of its key, and the words of the claim `scope`
    /// (RFC 8693 §4.2, RFC 9068 §2.2.3) or, as some issuers call it, of `scp`; a text with blanks between, or a
    /// list.
    pub fn has_scope(&self, scope: &str) -> bool {
        if let Some(caller) = &self.caller
            && caller.scopes.iter().any(|had| **had == *scope)
        {
            return true;
        }
        let Some(claims) = &self.claims else { return false };
        match claims.get("scope").or_else(|| claims.get("scp")) {
            Some(Value::String(text)) => text.split(' ').any(|word| word == scope),
            Some(Value::Array(list)) => list.iter().any(|word| word.as_str() == Some(scope)),
            _ => false,
        }
    }

    /// The `sub` claim, if it is a string.
    pub fn subject(&self) -> Option<&str> {
        self.claims.as_ref()?.get("sub").and_then(Value::as_str)
    }
}
